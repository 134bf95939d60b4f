# SPDX-License-Identifier: Apache-2.0
"""A guest in QEMU on real firmware: its console, a command channel that survives reboots, its disk.

    with Guest("clean", disk) as g:
        g.start()
        g.wait_boot("1.0.0")
        g.check("proactl update")
        g.power_cut()

Commands run through an agent on the second serial port (guest/agent.sh). Every wait has a limit;
a wait that fails names the log and shows the console's last lines.
"""
import base64
import collections
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import image

LOGS = image.VM / "logs"
RUNS = image.VM / "runs"
# Emulation is slow and the machine may be busy: every limit is stretched by this factor.
PATIENCE = float(os.environ.get("PROA_VM_PATIENCE", "2"))
MAX_RESETS = 20
# The plainest x86-64: with AVX2, emulated, SHA-256 takes three times as long, an update 1.5 times.
CPU = "qemu64,+rdrand"

OVMF = pathlib.Path("/usr/share/OVMF")
SNAKEOIL_KEY = pathlib.Path("/usr/share/ovmf/PkKek-1-snakeoil.key")
SNAKEOIL_CERT = pathlib.Path("/usr/share/ovmf/PkKek-1-snakeoil.pem")

Result = collections.namedtuple("Result", "status out")
Boot = collections.namedtuple("Boot", "id version entry at")


class Failed(AssertionError):
    """What was waited for did not come, or a command did not do what it should."""


class Guest:
    def __init__(self, name, disk=None, memory=512, secure_boot=False, extra=(), warm=None):
        """Takes a private copy of disk; nothing a guest does reaches the original.

        warm: a folder made by save(); the guest goes on from there instead of from a disk.
        """
        self.name, self.memory, self.secure, self.extra = name, memory, secure_boot, list(extra)
        self.dir = RUNS / name
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        self.disk = self.dir / "disk.img"
        self.vars = self.dir / "vars.fd"
        self.log_path = LOGS / (name + ".log")
        image.copy_image(warm / "disk.img" if warm else disk, self.disk)
        shutil.copyfile(warm / "vars.fd" if warm else OVMF / (
            "OVMF_VARS_4M.snakeoil.fd" if secure_boot else "OVMF_VARS_4M.fd"), self.vars)
        self.warm = warm
        self.sockets = pathlib.Path(tempfile.mkdtemp(prefix="proa-vm-"))  # short path: sun_path
        self.log = open(self.log_path, "w", encoding="utf-8")
        self.born = time.monotonic()
        self.lines = []  # (seconds, text) from the console, over all starts
        self.boots = []  # Boot, one for each HELLO of the agent
        self.done = {}  # command id -> Result
        self.changed = threading.Condition()
        self.power = threading.RLock()  # held while QEMU is started or ended
        self.on = False
        self.qemu = self.channel = None
        self.resets = 0
        self.next_id = 0
        self.booting_since = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.power_cut()
        self.log.close()
        shutil.rmtree(self.sockets, ignore_errors=True)
        if exc[0] is None and not os.environ.get("PROA_VM_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- power ------------------------------------------------------------------------------------

    def args(self):
        code = "OVMF_CODE_4M.secboot.fd" if self.secure else "OVMF_CODE_4M.fd"
        return ["qemu-system-x86_64", "-M", "q35,smm=on" if self.secure else "q35",
                "-accel", "tcg", "-cpu", CPU, "-m", str(self.memory), "-smp", "1",
                "-nodefaults", "-display", "none", "-no-reboot",
                *(["-global", "driver=cfi.pflash01,property=secure,value=on"]
                  if self.secure else []),
                "-drive", "if=pflash,format=raw,unit=0,readonly=on,file=%s" % (OVMF / code),
                "-drive", "if=pflash,format=raw,unit=1,file=%s" % self.vars,
                "-drive", "file=%s,format=raw,if=none,id=d0,cache=unsafe" % self.disk,
                "-device", "virtio-blk-pci,drive=d0,bootindex=0",
                "-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile=",
                "-chardev", "socket,id=agent,path=%s,server=on,wait=off" % (self.sockets / "a"),
                "-serial", "stdio", "-serial", "chardev:agent",
                "-monitor", "unix:%s,server=on,wait=off" % (self.sockets / "m"), *self.extra]

    def start(self):
        """Power on. Returns at once; wait_boot tells when the guest is up.

        A reset ends QEMU and a fresh one takes over: after a warm reset, emulated firmware needs
        20 s to load a UKI that a fresh one loads in 2, because the old code is still translated.
        """
        assert not self.on, "already on"
        self.on = True
        threading.Thread(target=self.keep, daemon=True).start()
        self.wait("QEMU process", lambda: self.channel, 90)

    def keep(self):
        """One power-on, over all its resets. The thread outlives each QEMU: PDEATHSIG asks that."""
        try:
            while True:
                qemu = self.launch()
                if qemu is None:
                    return
                self.read_console(qemu)
                status = qemu.wait()
                with self.power:
                    if not self.on or self.qemu is not qemu:
                        return  # switched off, and perhaps on again since
                    if status or self.resets >= MAX_RESETS:
                        raise self.failure("QEMU ended with status %d after %d resets" % (
                            status, self.resets))
                    self.resets += 1
                    self.note("reset %d" % self.resets)
        except Failed as e:
            self.on = False
            self.note(str(e).split("\n", 1)[0])

    def launch(self):
        with self.power:
            if not self.on:
                return None
            (self.sockets / "a").unlink(missing_ok=True)
            self.booting_since = time.monotonic()
            warm, self.warm = self.warm, None  # only the first power-on continues
            incoming = ["-incoming", "exec:cat %s" % (warm / "memory")] if warm else []
            if warm:
                self.boots.append(Boot(*json.loads((warm / "boot.json").read_text())))
            self.qemu = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.args(),
                                          *incoming],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT)
            self.note("power on, pid %d" % self.qemu.pid)
            channel = self.connect(self.qemu)
            end = time.monotonic() + 60 * PATIENCE
            while warm and "inmigrate" in self.monitor("info status"):
                if time.monotonic() > end:  # what is sent to a guest not yet there is lost
                    raise self.failure("the saved guest did not go on")
                time.sleep(0.1)
            if warm:
                self.monitor("cont")
            self.channel = channel
            threading.Thread(target=self.read_agent, args=(self.channel,), daemon=True).start()
            return self.qemu

    def connect(self, qemu, name="a"):
        """QEMU makes its sockets one after the other when it starts."""
        end = time.monotonic() + 20 * PATIENCE
        while time.monotonic() < end and qemu.poll() is None:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(str(self.sockets / name))
                return s
            except OSError:
                s.close()
                time.sleep(0.05)
        out = qemu.stdout.read().decode(errors="replace") if qemu.poll() is not None else ""
        raise self.failure("QEMU did not start: " + out)

    def monitor(self, *commands):
        """Give commands to QEMU's monitor; returns what it says to the last."""
        with self.connect(self.qemu, "m") as s:
            s.settimeout(120 * PATIENCE)
            for line in ("", *commands):
                s.sendall(line.encode() + b"\n" if line else b"")
                text = b""
                while not text.endswith(b"(qemu) "):
                    text += s.recv(4096)
        return text.decode(errors="replace")

    def save(self, folder):
        """Write the running guest, disk and firmware variables to a folder, and end it."""
        boot = self.boots[-1]
        self.check("sync", 60)
        self.monitor("stop", "migrate_set_parameter max-bandwidth 10G",
                     'migrate "exec:cat >%s"' % (folder / "memory"))
        self.power_cut()
        image.copy_image(self.disk, folder / "disk.img")
        shutil.copyfile(self.vars, folder / "vars.fd")
        (folder / "boot.json").write_text(json.dumps([*boot[:3], 0.0]))

    def power_cut(self):
        """Kill QEMU: what the guest had only in its memory is gone."""
        with self.power:
            self.on = False
            if self.qemu is None:
                return
            self.qemu.kill()
            self.off("power cut")

    def power_off(self, seconds=60):
        """Shut down in order and wait until QEMU has ended."""
        self.on = False
        self.send("systemctl poweroff --no-block", 10)
        try:
            self.qemu.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise self.failure("the guest did not power off") from None
        with self.power:
            self.off("powered off")

    def off(self, why):
        self.qemu.wait()
        self.note(why)
        if self.channel:
            self.channel.close()
        self.qemu = self.channel = None

    # -- what the guest says ----------------------------------------------------------------------

    def note(self, text):
        with self.changed:
            self.lines.append((time.monotonic() - self.born, text))
            if not self.log.closed:
                self.log.write("%8.2f %s\n" % self.lines[-1])
                self.log.flush()
            self.changed.notify_all()

    def read_console(self, qemu):
        rest = b""
        while True:
            data = os.read(qemu.stdout.fileno(), 65536)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                text = re.sub(rb"\x1b\[[0-9;=?]*[a-zA-Z]|\x1bc|\r", b"", line)
                if text.strip():
                    self.note(text.decode(errors="replace").rstrip())
        qemu.stdout.close()

    def read_agent(self, channel):
        try:
            with channel.makefile("r", encoding="utf-8", errors="replace", newline="\n") as f:
                for line in f:
                    self.heard(line.split())
        except (OSError, ValueError):
            pass  # closed by off()

    def heard(self, words):
        if len(words) == 4 and words[0] == "HELLO":
            boot = Boot(words[1], words[2], words[3], time.monotonic() - self.born)
            if self.boots and self.boots[-1].id == boot.id:
                return  # the agent was restarted within one boot
            self.note("agent: boot %d, version %s, entry %s, %.1f s after power on" % (
                len(self.boots) + 1, boot.version, boot.entry,
                time.monotonic() - self.booting_since))
            with self.changed:
                self.boots.append(boot)
                self.changed.notify_all()
        elif len(words) in (3, 4) and words[0] == "DONE":
            out = base64.b64decode(words[3] if len(words) == 4 else "").decode(errors="replace")
            with self.changed:
                self.done[int(words[1])] = Result(int(words[2]), out)
                self.changed.notify_all()

    def failure(self, what):
        tail = "\n".join("%8.2f %s" % line for line in self.lines[-40:])
        return Failed("%s: %s\nlast console lines (%s):\n%s" % (self.name, what, self.log_path,
                                                                tail))

    def wait(self, what, ready, seconds):
        """Wait until ready() is true; what names it in the failure. Returns ready()'s value."""
        end = time.monotonic() + seconds * PATIENCE
        with self.changed:
            while True:
                value = ready()
                if value:
                    return value
                left = end - time.monotonic()
                if not self.on:
                    raise self.failure("the guest is off, so no " + what)
                if left <= 0:
                    raise self.failure("no %s within %d s" % (what, seconds * PATIENCE))
                self.changed.wait(min(left, 0.5))

    def mark(self):
        """A point in the console to search from."""
        return len(self.lines)

    def wait_line(self, pattern, seconds=120, since=0):
        """Wait for a console line that matches; returns its text."""
        seen = [since]

        def find():
            for i in range(seen[0], len(self.lines)):
                if re.search(pattern, self.lines[i][1]):
                    return self.lines[i][1]
            seen[0] = len(self.lines)
            return None
        return self.wait("console line /%s/" % pattern, find, seconds)

    def wait_boot(self, version=None, seconds=240, number=None):
        """Wait for the boot with this number, or for one not yet waited for; check its version."""
        number = number or getattr(self, "waited", 0) + 1
        boot = self.wait("boot %d" % number,
                         lambda: len(self.boots) >= number and self.boots[number - 1], seconds)
        self.waited = number
        if version is not None and boot.version != version:
            raise self.failure("boot %d runs %s, expected %s" % (number, boot.version, version))
        return boot

    def wait_version(self, version, seconds=400):
        """Wait until a boot not yet waited for runs this version, over as many reboots as needed.

        Returns all the boots seen on the way.
        """
        first = getattr(self, "waited", 0)

        def find():
            for i in range(first, len(self.boots)):
                if self.boots[i].version == version:
                    return i + 1
            return None
        self.waited = self.wait("boot of version " + version, find, seconds)
        return self.boots[first:self.waited]

    # -- commands ---------------------------------------------------------------------------------

    def send(self, script, seconds):
        self.next_id += 1
        text = base64.b64encode(script.encode()).decode()
        assert len(text) < 3800, "longer than the serial line's buffer: use the disk"
        self.channel.sendall(("RUN %d %d %s\n" % (self.next_id, seconds * PATIENCE, text)).encode())
        return self.next_id

    def run(self, script, seconds=120):
        """Run a bash script in the guest; returns (exit status, stdout and stderr)."""
        boots = len(self.boots)
        assert boots, "wait_boot first"
        number = self.send(script, seconds)
        result = self.wait("end of `%s`" % script.strip()[:70],
                           lambda: self.done.get(number) or len(self.boots) > boots, seconds + 20)
        if result is True:
            raise self.failure("the guest rebooted during `%s`" % script.strip()[:70])
        self.note("ran `%s`: %d" % (script.strip().replace("\n", "; ")[:200], result.status))
        for line in result.out.splitlines()[:40]:
            self.note("    " + line)
        return result

    def check(self, script, seconds=120):
        """Run and insist on exit status 0; returns the output without its last newline."""
        result = self.run(script, seconds)
        if result.status:
            raise self.failure("`%s` gave %d:\n%s" % (script, result.status, result.out))
        return result.out.rstrip("\n")

    def refuse(self, script, pattern, seconds=120):
        """Run and insist that it fails with a text that matches; returns the output."""
        result = self.run(script, seconds)
        if result.status == 0 or not re.search(pattern, result.out, re.S | re.I):
            raise self.failure("`%s` should fail with /%s/, gave %d:\n%s" % (
                script, pattern, result.status, result.out))
        return result.out

    def spawn(self, script, log="/run/spawned.log"):
        """Start a script in the guest that goes on by itself, its output in a file there."""
        self.check("setsid bash -c %s >%s 2>&1 </dev/null & disown" % (quote(script), log), 20)

    def until(self, script, seconds=120, pause=1):
        """Repeat a script in the guest until it gives 0; returns its output."""
        end = time.monotonic() + seconds * PATIENCE
        while True:
            result = self.run(script, 60)
            if result.status == 0:
                return result.out.rstrip("\n")
            if time.monotonic() > end:
                raise self.failure("`%s` never gave 0:\n%s" % (script, result.out))
            time.sleep(pause)

    def reboot(self):
        """Ask for a reboot in order; wait_boot tells when it is done."""
        self.send("systemctl reboot --no-block", 10)

    def wait_blessed(self, version, seconds=180):
        """Wait until the running entry has lost its counter; returns the names in EFI/Linux."""
        # waited for in there, without a process: each look from outside costs the guest half a second
        result = self.run("exec 9<> <(:); for ((i = 0; i < %d; i++)); do"
                          " [ ! -e /efi/EFI/Linux/proa_%s.efi ] || exec ls /efi/EFI/Linux;"
                          " read -rt 1 -u 9; done; exit 1" % (seconds * PATIENCE, version),
                          seconds + 20)
        if result.status:
            raise self.failure("%s was not blessed\n%s" % (version, self.run(
                "ls /efi/EFI/Linux; systemctl --failed --no-legend; systemctl list-jobs;"
                " journalctl -b -p warning | tail -n 20").out))
        return result.out.split()

    # -- the disk while the guest is off ----------------------------------------------------------

    def esp(self, folder="EFI/Linux"):
        return image.esp_list(self.disk, folder)

    def parts(self):
        return image.parts(self.disk)

    def part(self, number):
        """The bytes of a partition, to compare before and after (number from 1)."""
        p = self.parts()[number - 1]
        with open(self.disk, "rb") as f:
            f.seek(p["start"])
            return f.read(p["size"])

    def flip(self, number, offset):
        """Turn over one byte of a partition."""
        assert not self.on, "only while the guest is off"
        at = self.parts()[number - 1]["start"] + offset
        with open(self.disk, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 0xff]))


def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"
