# SPDX-License-Identifier: Apache-2.0
"""A release that is paused, one that is behind a barrier, and a host that is pinned: nothing is
staged, `why` says what stands in the way, and what is taken away no longer counts."""
import release


def run(lab):
    repo = lab.copy_repo()
    host = lab.host(lab.serve(repo))
    before = host.picture()

    def channel(verb, *args):
        release.publish("channel", verb, repo, "stable", "1.1.0", "--keys",
                        lab.folder / "repo-keys", *args)

    channel("pause")
    waits(host, "paused")
    host.expect(host.shows("paused", "proactl why"), r"1\.1\.0.*paused")
    channel("resume")

    channel("set", "--minimum-from", "1.0.5")
    waits(host, "barrier")
    host.expect(host.shows("barrier", "proactl why"), r"1\.1\.0.*1\.0\.5")
    channel("set", "--minimum-from", "none")

    host.conf("60-pin", "[Update]\nPin=1.0\n")
    assert host.run("proactl update", 300).status == 3
    host.expect(host.shows("pinned", "proactl why"),
                r"pinned to 1\.0 \(/etc/proa/proa\.conf\.d/60-pin\.conf, line 2\)")
    host.unchanged(before)

    host.conf("60-pin", "[Update]\nPin=1.1\n")
    host.expect(host.shows("offered", "proactl why"), r"should run 1\.1\.0.*proactl update")


def waits(host, code):
    assert host.run("proactl update", 300).status == 4
    reasons = host.why_json()["decision"]["reasons"]
    assert reasons[0]["code"] == code, reasons
