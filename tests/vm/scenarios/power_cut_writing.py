# SPDX-License-Identifier: Apache-2.0
"""Power cut while the slot is written: the host comes back, resumes and finishes, and does not
fetch again what it had proved."""
import re
import time

import image

# The slot is synced each time this much was written; what came later may go with the power.
UNSYNCED = 16 * image.MIB
SLACK = 4 * image.MIB  # what was under way: groups being proved, the buffers of three sockets


def run(lab):
    repo = lab.folder / "repo"
    bulk, uki = lab.bulk(repo, "1.1.0"), lab.blob(repo, "1.1.0", "uki-delta")
    slow, quick = lab.serve(rate=max(bulk // 30, 1_000_000)), lab.serve()
    proxy = lab.proxy(slow)  # counts what passes; nginx's log only knows finished answers
    host = lab.host(proxy)
    host.spawn("proactl stage")
    written = cut_at(host)
    host.power_cut()
    first = proxy.passed
    proxy.target = quick.port
    host.start()
    host.wait_boot("1.0.0")
    host.wait_settled()
    host.expect(host.shows("half-written", "proactl status"), r"1\.1\.0 is half written")
    out = host.update()
    kept = re.search(r"([0-9.]+) MB kept", out)
    assert kept, "nothing was kept:\n" + out
    assert float(kept[1]) * 1e6 >= written - UNSYNCED - SLACK, "%d were written, then: %s" % (
        written, out)
    # Only what the power took comes twice; the UKI was whole before the slot was touched.
    second = proxy.passed - first
    most = bulk + uki.stat().st_size + UNSYNCED + SLACK
    assert first + second <= most, "%d bytes, then %d, for %d" % (first, second, bulk)
    assert not [r for r in quick.requests() if uki.name in r[3]], "the UKI came twice"
    full = lab.blob(repo, "1.1.0", "usr-full").name
    assert not [r for r in slow.requests() + quick.requests() if full in r[3]], "no delta"
    host.first_boot_of("1.1.0")


def cut_at(host):
    """Wait until much of the slot is written; returns how many bytes at least."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        found = re.findall(r"writing .* (\d+) % +([0-9.]+)/", host.check("cat /run/spawned.log"))
        if found and int(found[-1][0]) >= 45:
            return float(found[-1][1]) * 1e6
        time.sleep(0.3)
    raise host.failure("the slot does not fill")
