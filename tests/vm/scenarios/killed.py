# SPDX-License-Identifier: Apache-2.0
"""SIGKILL for the agent in each state: idle, checking, staging, staged, applying, applied,
rebooting, assessing. The next start knows the state, and the update ends well."""

# Kills proad as soon as its Progress signals name a phase of an update.
IN_PHASE = """exec 3< <(exec busctl monitor --json=short --match \\
	"type='signal',interface='org.proa.Host1',member='Progress'" 2>&1)
monitor=$!
read -r line <&3 # it listens
setsid bash -c 'proactl update; echo exit $?' >/run/verb.log 2>&1 </dev/null &
while read -rt 300 line <&3; do
	case $line in *'"%s"'*) break ;; esac
done
systemctl kill -s KILL proad.service
kill $monitor"""
KILL = "systemctl kill -s KILL proad.service"


def run(lab):
    host = lab.host(lab.serve(rate=1500))  # metadata takes seconds
    host.check("proactl status; " + KILL)
    assert host.status()["state"] == "idle"
    host.spawn("proactl check; echo exit $?", log="/run/verb.log")
    host.until("busctl get-property org.proa.Host1 /org/proa/Host1 org.proa.Host1 State |"
               " grep checking && " + KILL)
    host.expect(host.until("grep -B9 ^exit /run/verb.log"), r"proad ended before it answered\nexit 1")
    assert host.status()["state"] == "idle"

    host.configure(lab.serve())
    for phase, state in (("write", "interrupted"), ("prove", "interrupted"), ("esp", "staged")):
        host.check(IN_PHASE % phase, 400)
        host.expect(host.until("grep -B9 ^exit /run/verb.log"), r"proad ended before it answered\nexit 1")
        assert host.status()["state"] == state, (phase, host.status())
        assert "1.1.0" not in host.check("proa-bootctl next --esp /efi"), phase
    host.check(KILL)
    host.update()
    host.applied("1.1.0")
    host.check(KILL)
    assert host.status()["state"] == "applied"

    # a hook keeps it in that state until the kill has come
    host.hook("pre-reboot", "10-slow", "#!/bin/sh\nsleep 600\n")
    host.spawn("proactl reboot; echo exit $?", log="/run/verb.log")
    host.until("busctl get-property org.proa.Host1 /org/proa/Host1 org.proa.Host1 State |"
               " grep rebooting && " + KILL)
    host.expect(host.until("grep -B9 ^exit /run/verb.log"), r"proad ended before it answered\nexit 1")
    assert host.status()["state"] == "applied"
    host.check("rm /etc/proa/hooks/pre-reboot.d/10-slow")

    # while the new release is judged, and once more when it was
    host.health_check("10-kill.sh", "#!/bin/sh\nproactl status --json | grep state\n"
                      "systemctl kill -s KILL proad.service || exit 1\nexit 0\n")
    host.send("proactl reboot", 20)
    host.wait_boot("1.1.0")
    host.wait_blessed("1.1.0")
    host.wait_settled()
    host.expect(host.check("journalctl -b -u proa-health --no-pager"), "assessing")
    host.check("proactl status; " + KILL)
    host.expect(host.check("proactl status"), r"runs 1\.1\.0.*healthy")
    host.expect(host.history(), r"1\.1\.0 +good")
    host.no_failed_units()
