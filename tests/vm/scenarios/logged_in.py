# SPDX-License-Identifier: Apache-2.0
"""The real logind: a backup inhibits shutdown, and the reboot waits for it; somebody is logged in,
reads at login that a release waits, is told on the terminal, and given time."""

CONF = "[Update]\nReboot=immediate\n[Reboot]\nRetry=2s\nNotice=40s\n"
BACKUP = "systemd-inhibit --what=shutdown --who=backup --why='copies /var' sleep infinity"
# a terminal of its own, and what appears on it in a file
LOGIN = "sh -c 'sleep infinity | script -qfc \"login -f root\" /run/terminal'"


def run(lab):
    host = lab.host(lab.serve())
    host.conf("60-reboot", CONF)
    host.check("systemd-run --quiet --unit=backup " + BACKUP)
    result = host.run("proactl update --unattended", 300)
    assert result.status == 4, result
    host.applied("1.1.0")
    host.until("proactl --json status | grep -q '\"code\": \"inhibitor\"'")
    host.expect(host.shows("inhibited", "proactl status", "proactl why"),
                r"inhibited by backup \(pid \d+\): copies /var")

    host.check("systemd-run --quiet --unit=terminal " + LOGIN)
    host.until("loginctl list-sessions --no-legend | grep root")
    host.until("who | grep root")  # whom a wall reaches
    host.expect(host.until("grep -a Proa: /run/terminal"), r"Proa: 1\.1\.0 boots next")

    # a try that is due may have met a verb that ran: this looks once more, as the timer would
    host.check("systemctl stop backup.service")
    host.until("proactl reboot --unattended; r=$?; [ $r = 0 ] || [ $r = 4 ]")
    host.expect(host.until("grep -aA9 'system is going down' /run/terminal || "
                           "grep -aB9 -A9 'save your work' /run/terminal"),
                r"system update is ready.*save your work")
    host.expect(host.check("systemctl status systemd-logind --no-pager; busctl get-property"
                           " org.freedesktop.login1 /org/freedesktop/login1"
                           " org.freedesktop.login1.Manager ScheduledShutdown"), r'\(st\) "reboot"')
    host.wait_boot("1.1.0")
    host.wait_blessed("1.1.0")
    host.no_failed_units()
