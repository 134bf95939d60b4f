#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an update takes of memory, page cache included: proactl, proad and proa-fetch in a memory
cgroup of their own, an image file as disk, nginx outside. PROA_MEMORY_MIB sets the size of the
image; the limits are those for 1024."""
import os, pathlib, random, shutil, subprocess, sys, tempfile, threading, time, unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import test_agent as agent

MIB = 1 << 20
SIZE = int(os.environ.get("PROA_MEMORY_MIB", "256"))
CGROUP_MAX, RSS_MAX = 64 * MIB, 16 * MIB
FRAME_WINDOW = 4 * MIB  # a frame of 2 MiB, packed and not: beside RSS_MAX


def sanitized():
    return b"libasan" in subprocess.run(["ldd", agent.BIN / "proad"], stdout=subprocess.PIPE).stdout


class Cgroup:
    """A child of the memory controller's root, version 1 or 2."""

    def __init__(self):
        self.dir, self.peak_file = None, None
        for root, peak in (("/sys/fs/cgroup", "memory.peak"),
                           ("/sys/fs/cgroup/memory", "memory.max_usage_in_bytes")):
            d = pathlib.Path(root) / f"proa-test-{os.getpid()}"
            try:
                d.mkdir()
            except OSError:
                continue
            if (d / peak).exists():
                self.dir, self.peak_file = d, d / peak
                return
            d.rmdir()

    def enter(self):
        (self.dir / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self):
        return int(self.peak_file.read_text())

    def close(self):
        agent.wait_for(lambda: not (self.dir / "cgroup.procs").read_text())
        self.dir.rmdir()


def forget(path):
    """Nothing of it stays in the page cache, where it would be on another's account."""
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Watch(threading.Thread):
    """The largest resident size that proad and proa-fetch had."""

    def __init__(self, cgroup):
        super().__init__(daemon=True)
        self.cgroup, self.most, self.over = cgroup, {}, False

    def run(self):
        while not self.over:
            for pid in (self.cgroup.dir / "cgroup.procs").read_text().split():
                try:
                    text = pathlib.Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                s = dict(l.split(":\t", 1) for l in text.splitlines() if ":\t" in l)
                if "VmHWM" in s:
                    n = int(s["VmHWM"].split()[0]) * 1024
                    self.most[s["Name"]] = max(n, self.most.get(s["Name"], 0))
            time.sleep(0.02)


@unittest.skipIf(sanitized(), "sanitizers take memory of their own")
class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.probe = Cgroup()
        if not cls.probe.dir:
            raise unittest.SkipTest("no memory cgroup can be made here")
        cls.probe.close()
        agent.work = pathlib.Path(tempfile.mkdtemp(prefix="proa-memory."))
        cls.addClassCleanup(shutil.rmtree, agent.work)
        cls.pub = agent.Publisher(agent.work / "pub", deltas=True)
        cls.pub.init()
        rnd = random.Random(agent.SEED)
        blocks = [rnd.randbytes(4096) for _ in range(SIZE * 256)]
        for version in ("1.0.0", "1.1.0"):
            (cls.pub.root / f"usr-{version}").write_bytes(b"".join(blocks))
            cls.pub.release(version, usr=cls.pub.root / f"usr-{version}")
            at = rnd.randrange(len(blocks))
            blocks = blocks[at:] + blocks[:at]  # every block has moved
            for _ in range(len(blocks) // 100):
                blocks[rnd.randrange(len(blocks))] = rnd.randbytes(4096)

    def update(self, **conf):
        web = agent.Nginx(self.pub.repo)
        h = agent.Host(self.pub, url=web.url(), slot=SIZE + SIZE // 50 + 4,
                       parts=[(f"{SIZE}M", agent.DATA, "_empty"),
                              (f"{SIZE // 100 + 1}M", agent.HASH, "_empty")] * 2)
        h.install("1.0.0", self.pub)
        forget(h.disk)
        group = Cgroup()
        self.addCleanup(group.close)
        self.addCleanup(web.stop)
        watch = Watch(group)
        watch.start()
        p = subprocess.run(h.args("--json", "update"), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, preexec_fn=group.enter)
        watch.over = True
        watch.join()
        self.assertEqual(p.returncode, 0, p.stderr)
        peak = group.peak()
        print(f"{SIZE} MiB: cgroup {peak / MIB:.1f} MiB; "
              + ", ".join(f"{k} {v / MIB:.1f} MiB" for k, v in sorted(watch.most.items())))
        self.assertLess(peak, CGROUP_MAX)
        self.assertLess(watch.most["proad"], RSS_MAX + FRAME_WINDOW)
        self.assertLess(watch.most["proa-fetch"], RSS_MAX)

    def test_delta(self):
        self.update()

    def test_without_delta(self):
        for d in ("usr-delta", "uki-delta"):
            self.pub.blob("1.1.0", d).rename(agent.work / d)
        self.update()
        for d in ("usr-delta", "uki-delta"):
            (agent.work / d).rename(self.pub.blob("1.1.0", d))


if __name__ == "__main__":
    unittest.main()
