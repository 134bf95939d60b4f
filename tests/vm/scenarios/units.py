# SPDX-License-Identifier: Apache-2.0
"""The units on a real host: who may ask what, the timer, the bus, the journal's explanations."""
import re

READERS = "runuser -u nobody -- "
OBJECT = "org.proa.Host1 /org/proa/Host1 org.proa.Host1"
# the methods that everybody may call: they read, and ask nobody
ANYONE = {"Describe", "GetHistory", "GetHealth", "Explain"}
# How exposed each unit may be, by systemd-analyze security; lower is better.
EXPOSURE = {"proad.service": 2.0, "proa-fetch@x.service": 1.5, "proa-update.service": 1.5,
            "proa-settle.service": 2.0, "proa-health.service": 2.0, "proa-health-stuck.service": 2.0,
            "proa-metrics@x.service": 2.0}


def run(lab):
    host = lab.host(lab.serve())
    anyone(host)
    timer(host)
    tree = host.check("busctl introspect org.proa.Host1 /org/proa/Host1 --no-pager")
    for member in ("Check", "Stage", "Apply", "Describe", "GetHistory", "GetHealth", "Rollback"):
        host.expect(tree, r"\.%s +method" % member)
    host.check("mkdir -p /var/lib/systemd/catalog; journalctl --update-catalog")
    host.expect(host.check("journalctl -b -x -u proad --no-pager"), r"man:proad\(8\)")
    host.expect(host.check("journalctl -b -x -u proa-health --no-pager"), r"health checks of this")
    for prom in ("cat /run/proa/metrics.prom",
                 READERS + "curl -sSf --unix-socket /run/proa/metrics.sock http://proa/metrics"):
        host.expect(host.check(prom), r'proa_\w+\{[^}]*version="1\.1\.0"')
    for unit, most in EXPOSURE.items():
        out = host.check("systemd-analyze security --no-pager %s | tail -n 1" % unit)
        found = re.search(r"level for \S+: ([0-9.]+)", out)
        assert found and float(found[1]) <= most, out
    host.no_failed_units()


def anyone(host):
    """Everyone may look; only root may change anything."""
    host.expect(host.check(READERS + "proactl status"), r"runs 1\.0\.0.*healthy")
    host.check(READERS + "proactl history")
    for verb in ("update", "stage", "rollback", "forgive 1.0.0", "reboot"):
        host.refuse(READERS + "proactl " + verb, r"denied|not allowed|permi|root|sudo")
    methods(host)
    host.expect(host.check("proactl status"), r"never looked|Nothing to do")


def methods(host):
    """Whatever the interface has, called by a user without rights."""
    table = host.check("busctl introspect %s --no-pager --no-legend" % OBJECT)
    found = re.findall(r"^\.(\w+) +method +(\S+)", table, re.M)
    assert len(found) >= 13, table
    values = {"s": "1.0.0", "b": "false", "u": "1", "t": "1", "i": "1", "x": "1", "-": ""}
    calls = "".join("echo == %s; busctl call %s %s %s 2>&1\n" % (
        name, OBJECT, name, "" if args == "-" else args + " " + " ".join(values[a] for a in args))
        for name, args in found)
    host.put("/run/calls.sh", calls, 0o755)
    before = host.picture()
    out = host.check(READERS + "sh /run/calls.sh; true", 200)
    for answer in out.split("== ")[1:]:
        name, said = answer.split("\n", 1)
        denied = re.search("denied|not allowed|authori|permi", said, re.I)
        assert bool(denied) == (name not in ANYONE), answer
    for name in re.findall(r"^\.(\w+) +property", table, re.M):
        host.check(READERS + "busctl get-property %s %s" % (OBJECT, name))
        host.refuse(READERS + "busctl set-property %s %s s x" % (OBJECT, name), "denied|read-only")
    host.unchanged(before)


def timer(host):
    """As on a product, where nothing masks the timer: what it starts installs the newest."""
    host.check("rm /etc/systemd/system/proa-update.timer; systemctl daemon-reload;"
               " systemctl preset proa-update.timer; systemctl start proa-update.timer")
    host.check("systemctl is-enabled proa-update.timer; systemctl is-active proa-update.timer")
    host.expect(host.check("systemctl list-timers --no-pager --no-legend"), "proa-update.timer")
    host.check("systemctl start proa-update.service", 300)
    host.applied("1.1.0")
    # Nothing more to do is no failure.
    host.check("systemctl start proa-update.service", 60)
