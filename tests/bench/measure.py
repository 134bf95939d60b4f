# SPDX-License-Identifier: Apache-2.0
"""What a command costs: wall, CPU of all its processes, and the peak memory of each."""
import ctypes
import os
import resource
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
TICK = 0.004  # VmHWM only rises, so no more than the growth of a process's last 4 ms is missed
HERTZ = os.sysconf("SC_CLK_TCK")
# the shell of a pipeline, and the program that only shows what proad does
NOT_COUNTED = ("bash", "proactl")


def adopt_orphans():
    """So that processes whose parent ends first are still waited for here, and counted."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_cost():
    """CPU seconds, and bytes written to storage (Linux counts them in blocks of 512)."""
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime, u.ru_oublock * 512


def read_stat(pid):
    """(name, parent, CPU seconds so far) or None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            text = f.read()
    except OSError:
        return None
    end = text.rindex(")")
    field = text[end + 2:].split()
    return text[text.index("(") + 1:end], int(field[1]), (int(field[11]) + int(field[12])) / HERTZ


class Watch:
    """The processes below `root`, and per name the largest of what was seen of them."""

    def __init__(self, root, before):
        self.family, self.strangers = {root}, before - {str(root)}
        self.seen = {}

    def find(self):
        there = [name for name in os.listdir("/proc") if name.isdigit()]
        self.strangers &= set(there)  # a pid may be given again
        new = {}
        for name in there:
            if name not in self.strangers and int(name) not in self.family:
                stat = read_stat(int(name))
                if stat:
                    new[int(name)] = stat[1]
        ours = self.family | {os.getpid()}  # an orphan's parent is this process
        while True:
            found = {pid for pid, parent in new.items() if parent in ours} - ours
            if not found:
                break
            ours |= found
            self.family |= found
        self.strangers |= {str(pid) for pid in new if pid not in ours}

    def look(self, pid):
        stat = read_stat(pid)
        if not stat:
            return
        s = self.seen.setdefault((pid, stat[0]), {"rss_kib": 0, "anon_kib": 0, "cpu_s": 0.0})
        s["cpu_s"] = max(s["cpu_s"], stat[2])
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
                for line in f:
                    key, _, value = line.partition(":")
                    if key == "VmHWM":
                        s["rss_kib"] = max(s["rss_kib"], int(value.split()[0]))
                    elif key == "RssAnon":
                        s["anon_kib"] = max(s["anon_kib"], int(value.split()[0]))
        except (OSError, ValueError):
            pass  # it has just ended, or (proa-fetch without root) does not let itself be read

    def tick(self):
        self.find()
        for pid in self.family:
            self.look(pid)

    def by_name(self):
        ret = {}
        for (_, name), s in self.seen.items():
            have = ret.setdefault(name, dict.fromkeys(s, 0))
            for key, value in s.items():
                have[key] = (round(have[key] + value, 2) if key == "cpu_s" else
                             max(have[key], value))
        return ret


def run(command, env, log, cut=None):
    """Runs a shell command; its standard output is returned, its standard error goes to `log`.

    cut: called every few milliseconds; true kills every process at once (then rc is not 0).
    """
    os.sync()  # what others have written does not fall into this measurement
    before = set(os.listdir("/proc"))
    (cpu, written), start = children_cost(), time.monotonic()
    with open(log, "wb") as err, open(f"{log}.out", "w+b") as out:
        child = subprocess.Popen(["/bin/bash", "-c", f"set -o pipefail; {command}"], env=env,
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        watch = Watch(child.pid, before)
        try:
            # left unreaped until it is counted, so that the pid cannot be taken by another
            while not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                watch.tick()
                if cut and cut():
                    kill(watch)
                time.sleep(TICK)
        except BaseException:
            kill(watch)
            raise
        wall = time.monotonic() - start
        rc = child.wait()
        reap(watch.family - {child.pid})
        out.seek(0)
        text = out.read().decode(errors="replace")
    after = children_cost()
    return {"rc": rc, "wall_s": round(wall, 3), "cpu_s": round(after[0] - cpu, 3),
            "written": after[1] - written, "processes": watch.by_name(), "stdout": text}


def kill(watch):
    for pid in watch.family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def reap(left):
    """Waits for what outlived the command, so that its CPU is counted too."""
    deadline = time.monotonic() + 10
    for pid in left:
        while time.monotonic() < deadline:
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    break
            except ChildProcessError:
                if not os.path.exists(f"/proc/{pid}"):
                    break
            time.sleep(TICK)
