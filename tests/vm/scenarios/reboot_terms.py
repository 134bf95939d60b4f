# SPDX-License-Identifier: Apache-2.0
"""A release that is applied and may not run yet: the window is closed, then a hook refuses, the lock
server is down, another host has the place. Each is said by `why`, and when nothing is left in the
way the host reboots and gives its place back."""
import json
import time

CONF = """[Update]
Reboot=window
RebootWindow=%s UTC for 3h
[Lock]
Type=etcd
URL=http://10.0.2.2:%d/
Group=web
[Reboot]
Retry=40min
"""
HOOK = """#!/bin/sh
echo "$PROA_FROM $PROA_VERSION" >>/run/hook
[ ! -e /etc/proa/refuse ] || { echo "web-17 still serves 12 customers"; exit 1; }
"""
AFTER = "#!/bin/sh\necho \"after $PROA_FROM $PROA_VERSION\" >>/run/hook\n"


def held(etcd):
    """Who holds places of the group, by what etcd says."""
    return [h for v in etcd.values().values() for h in json.loads(v).get("holders") or []]


def run(lab):
    etcd = lab.etcd()
    host = lab.host(lab.serve())
    opens = (int(time.time()) // 3600 + 5) * 3600
    host.conf("60-reboot", CONF % (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(opens)),
                                   etcd.port))
    host.hook("pre-reboot", "10-drain", HOOK)
    host.hook("post-boot", "10-undrain", AFTER)
    host.put("/etc/proa/refuse", "")

    host.run("proactl update --unattended", 300)
    host.applied("1.1.0")
    waits(host, "window", r"window")
    host.shows("window", "proactl status", "proactl why")
    assert not held(etcd) and host.run("test -e /run/hook").status, "begun before its window"

    # nobody asks it to look again: the window opens
    host.clock("@%d" % (opens + 5))
    waits(host, "hook", r"10-drain.*12 customers")
    host.shows("hook", "proactl status", "proactl why")
    given_back(etcd)

    etcd.stop()
    host.check("rm /etc/proa/refuse")
    host.clock("@%d" % (opens + 3700))  # the next try is due, and inside the window
    waits(host, "lock-server", r"10\.0\.2\.2")
    host.shows("lock-server", "proactl why")

    etcd.start()
    host.clock("@%d" % (opens + 7400))
    host.wait_boot("1.1.0")
    host.wait_blessed("1.1.0")
    host.until("grep after /run/hook")
    assert host.check("cat /run/hook") == "after 1.0.0 1.1.0"
    given_back(etcd)
    host.no_failed_units()


def given_back(etcd):
    end = time.monotonic() + 120
    while held(etcd):
        assert time.monotonic() < end, held(etcd)
        time.sleep(0.5)


def waits(host, code, words):
    """It does not reboot, for that reason, and says so; a try that runs is waited for."""
    host.until("proactl --json status | grep -q '\"code\": \"%s\"'" % code)
    host.expect(" ".join(host.until("proactl why").split()), words)
