# SPDX-License-Identifier: Apache-2.0
"""A first boot provisioned by ignition-lite from fw_cfg: a wrong hash stops it with the sentence; a
right config is applied, once, and what it made outlives an update and a fallback."""
import json

import provision

SENTENCE = r"sha256|hash"


def run(lab):
    home = provision.Home(lab.work, lab.stack)
    server = lab.serve()
    host = lab.first_boot(home)
    stopped(host, home, server)
    home.config(server)
    host.start()
    host.wait_boot("1.0.0")
    provisioned(host)
    once = host.check("cat /etc/.ignition-result.json; echo; stat -c %Y.%Z /etc/.ignition-lite.done")
    applied = json.loads(once.rsplit("\n", 1)[0])
    assert applied["userConfigProvided"] is True, applied
    asked = home.asked()
    assert asked == 2, "the greeting was fetched %d times: by both boots so far?" % asked
    host.wait_blessed("1.0.0")
    host.wait_settled()
    host.no_failed_units()

    # the channel that the config named is followed
    assert host.status()["channel"] == "stable"
    host.update()
    host.applied("1.1.0")
    host.first_boot_of("1.1.0")
    same(host, once)

    # and a fallback does not touch it either
    host.configure(server, "sick")
    host.update()
    host.reboot()
    boots = host.wait_version("1.1.0")
    assert [b.version for b in boots][0] == "1.2.0", boots
    same(host, once)
    assert home.asked() == asked, "the greeting was fetched again"


def stopped(host, home, server):
    """A file that is not what the config says: nothing of the host starts, nothing is done."""
    home.config(server, wrong=True)
    host.start()
    host.wait_line(r"ignition-lite.*: .*/etc/greeting.*(%s)" % SENTENCE, 120)
    host.wait_line("initrd failed", 60)
    host.power_cut()
    assert not host.boots, host.boots
    listing = provision.listing(host, "/etc")
    assert ".ignition-lite.done" not in listing and "greeting" not in listing, listing


def provisioned(host):
    """What provision.Home.config() asked for, as the running host sees it."""
    assert host.check("cat /etc/hostname; hostname") == "node-7\nnode-7"
    assert host.check("cat /etc/greeting; stat -c %a:%U:%G /etc/greeting") == \
        "hello from afar\n640:core:core"
    assert host.check("cat ~core/.ssh/authorized_keys.d/ignition").startswith(provision.KEY)
    assert host.check("stat -c %a:%U ~core/.ssh ~core/.ssh/authorized_keys.d/ignition") == \
        "700:core\n600:core"
    host.check("id -nG core | grep -qw users; getent shadow core | grep -q '^core:[*!]'")
    host.expect(host.check("systemctl show -p Environment containerd"), "PROA_FIRST_BOOT=yes")
    host.expect(host.check("tr '\\0' '\\n' </proc/$(pidof containerd)/environ"),
                "PROA_FIRST_BOOT=yes")
    host.check("systemctl is-enabled greet.service")
    host.until("systemctl is-active greet.service", 60)
    host.expect(host.check("cat /etc/proa/proa.conf.d/40-channel.conf"), "Channel=stable")
    assert host.check("cat /run/greeted") == "hello from afar"


def same(host, once):
    """Nothing ran again, and all is there."""
    provisioned(host)
    now = host.check("cat /etc/.ignition-result.json; echo; stat -c %Y.%Z /etc/.ignition-lite.done")
    assert now == once, "it was applied again:\n%s\n%s" % (once, now)
    host.refuse("journalctl -b --no-pager -u ignition-lite.service | grep Provisioned", "")
