# SPDX-License-Identifier: Apache-2.0
"""An update by delta: what is fetched is what changed, and what is said before is what is done."""
import json

import image
import release


def run(lab):
    server = lab.serve()
    host = lab.host(server)
    repo = lab.folder / "repo"
    full = lab.blob(repo, "1.1.0", "usr-full")
    host.expect(host.check("proactl stage --dry-run", 100), r"1\.0\.0 -> 1\.1\.0.*/usr.*by delta")
    plan = json.loads(host.check("proactl --json stage --dry-run", 100))["plan"]
    assert plan["usr"]["way"] == "delta" and plan["uki"]["way"] == "delta", plan
    host.update()
    staged = host.events("staged")[-1]
    assert staged["fetched"] <= plan["fetch"], (staged, plan)
    # what 1.1.0 has and nothing before it comes over the network however clever the update is
    assert staged["fetched"] < release.NEWS + 4 * image.MIB, staged
    assert staged["fetched"] < full.stat().st_size // 2, staged
    for role in ("usr-full", "uki-full"):
        name = lab.blob(repo, "1.1.0", role).name
        assert not [r for r in server.requests() if name in r[3]], role + " was asked for"
    host.applied("1.1.0")
    host.first_boot_of("1.1.0")
    host.no_failed_units()
