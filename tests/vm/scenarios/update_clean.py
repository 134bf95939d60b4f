# SPDX-License-Identifier: Apache-2.0
"""A clean update: 1.0.0 fetches what changed over HTTP and no more, as it had said before, reboots
into 1.1.0, and it is blessed."""
import json

import image
import release


def run(lab):
    server = lab.serve()
    host = lab.host(server)
    host.expect(host.check("proactl check"), r"1\.1\.0")
    host.expect(host.check("proactl stage --dry-run", 100), r"1\.0\.0 -> 1\.1\.0.*/usr.*by delta")
    plan = json.loads(host.check("proactl --json stage --dry-run", 100))["plan"]
    host.update()
    by_delta(lab, server, plan, host.events("staged")[-1])
    host.applied("1.1.0")
    host.shows("applied", "proactl status", "proactl why")
    boot = host.first_boot_of("1.1.0")
    assert boot.entry == "proa_1.1.0+3-0.efi", boot
    host.wait_settled()
    host.check("journalctl -b -u proa-settle --no-pager | grep -q Finished")
    host.expect(host.check("journalctl -b -o json MESSAGE_ID=a4c2e6f80b1d4f3a9e7c5b3d1f0a8e62"),
                r"1\.1\.0")
    host.check("proactl check || test $? = 3")
    host.expect(host.shows("good", "proactl status", "proactl why", "proactl history"),
                r"runs 1\.1\.0.*healthy")
    host.expect(host.history(), r"1\.1\.0 +good")
    host.no_failed_units()
    # The way back stays: 1.0.0 is still on the disk and can boot.
    assert "proa_1.0.0.efi" in host.check("ls /efi/EFI/Linux")


def by_delta(lab, server, plan, staged):
    assert plan["usr"]["way"] == "delta" and plan["uki"]["way"] == "delta", plan
    assert staged["fetched"] <= plan["fetch"], (staged, plan)
    # what 1.1.0 has and nothing before it comes over the network however clever the update is
    assert staged["fetched"] < release.NEWS + 4 * image.MIB, staged
    repo = lab.folder / "repo"
    assert staged["fetched"] < lab.blob(repo, "1.1.0", "usr-full").stat().st_size // 2, staged
    for role in ("usr-full", "uki-full"):
        name = lab.blob(repo, "1.1.0", role).name
        assert not [r for r in server.requests() if name in r[3]], role + " was asked for"
