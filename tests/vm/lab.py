# SPDX-License-Identifier: Apache-2.0
"""What a scenario works with: a host that runs 1.0.0, servers, and what must not have changed.

    def run(lab):
        server = lab.serve()
        host = lab.host(server)
        host.check("proactl update")
        host.reboot()
        host.wait_boot("1.1.0")
"""
import contextlib
import hashlib
import inspect
import json
import re
import shutil
import time

import harness
import image
import page
import provision
import release
import server as servers

CONF = """[Source]
URL=http://10.0.2.2:{port}/
[Update]
Channel={channel}
Tries={tries}
"""
USR_A, TREE_A, USR_B, TREE_B = 2, 3, 4, 5  # partition numbers
UPDATE = 300  # seconds an update may take under emulation


class Lab:
    def __init__(self, name, folder, stack):
        self.name, self.folder, self.stack = name, folder, stack
        self.work = image.VM / "runs" / (name + ".lab")
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        stack.callback(shutil.rmtree, self.work, ignore_errors=True)
        self.served = 0

    # -- servers ----------------------------------------------------------------------------------

    def serve(self, repo=None, **options):
        """nginx on a repository (default: the good one); see Nginx for the options."""
        self.served += 1
        s = servers.Nginx(self.work / ("nginx%d" % self.served), repo or self.folder / "repo",
                          **options)
        self.stack.callback(s.close)
        return s

    def proxy(self, server, **options):
        c = servers.Cutter(server.port, **options)
        self.stack.callback(c.close)
        return c

    def copy_repo(self):
        """A private copy of the good repository, for a scenario to spoil."""
        copy = self.work / "repo"
        image.sh("cp", "-al", self.folder / "repo", copy)  # links: spoil by replacing, not writing
        return copy

    def manifest(self, repo, version):
        (path,) = repo.glob("targets/*/*proa_%s.json" % version)
        return json.loads(path.read_text())

    def bulk(self, repo, version):
        """Bytes of the blob that brings most of /usr to a host that runs 1.0.0."""
        blobs = self.manifest(repo, version)["blobs"]
        return min(b["bytes"] for b in blobs if b["role"] in ("usr-delta", "usr-full"))

    def blob(self, repo, version, role):
        """The path of a release's blob by its role in the manifest."""
        for b in self.manifest(repo, version)["blobs"]:
            if b["role"] == role:
                return repo / "blobs/sha256" / b["sha256"]
        raise AssertionError("%s has no blob %s" % (version, role))

    def etcd(self):
        e = servers.Etcd(self.work / "etcd")
        self.stack.callback(e.close)
        return e

    # -- hosts ------------------------------------------------------------------------------------

    def host(self, server, channel="stable", tries=3, disk="plain.img", prepare=None, cold=False,
             name=None, **options):
        """A host that runs 1.0.0, blessed, and follows a channel of a server.

        prepare(guest) may change its disk before it is first switched on. Where nothing asks for a
        cold start, it continues from one that had booted (make_warm). A second host needs a name.
        """
        if disk == "plain.img" and not (prepare or cold or options):
            g = Host(name or self.name, warm=make_warm(self.folder))
        else:
            g = Host(name or self.name, self.folder / disk, **options)
        self.stack.enter_context(g)
        if prepare:
            prepare(g)
        g.start()
        g.wait_boot("1.0.0")
        g.configure(server, channel, tries)
        if name:
            g.become(name)
        g.wait_blessed("1.0.0")
        g.wait_settled()
        return g


    def first_boot(self, home):
        """A host off and never switched on, for a first boot from a provision.Home."""
        g = Host(self.name, self.folder / "plain.img", extra=home.args())
        self.stack.enter_context(g)
        provision.blank(g, self.folder)
        return g


def make_warm(folder):
    """A host that has booted 1.0.0 and found it good, saved while it runs: saves each scenario a
    boot. Secure Boot and prepared disks start cold, so the cold chain stays tried."""
    key = image.key_of(folder.name, inspect.getsource(harness.Guest.args), harness.CPU,
                       image.sh("qemu-system-x86_64", "--version"))
    with image.cached("warm", key) as (final, new):
        if new:
            with Host("warm", folder / "plain.img") as g:
                g.start()
                g.wait_boot("1.0.0")
                g.wait_blessed("1.0.0")
                g.wait_settled()
                g.save(new)
    return final


class Host(harness.Guest):
    """A guest with Proa on it."""

    def configure(self, server, channel="stable", tries=3):
        conf = CONF.format(port=server.port, channel=channel, tries=tries)
        # A host continued from memory believes it is still the time of its saving.
        self.check("date -s @%d >/dev/null; mkdir -p /etc/proa/proa.conf.d\n"
                   "cat >/etc/proa/proa.conf.d/50-test.conf <<'E'\n%sE\n"
                   "sync; systemctl try-restart proad.service" % (time.time(), conf))

    def wait_settled(self):
        """Wait until the boot is over, and with it what Proa notes about it."""
        self.run("systemctl is-system-running --wait", 300)  # also where a unit failed
        self.until("test -z \"$(systemctl list-jobs --no-legend)\"")

    # -- what an operator puts into /etc ----------------------------------------------------------

    def put(self, path, text, mode=0o644):
        """A file in the guest."""
        self.check("mkdir -p %s; cat >%s <<'EndOfFile'\n%s\nEndOfFile\nchmod %o %s; sync" % (
            path.rsplit("/", 1)[0], path, text.rstrip("\n"), mode, path))

    def conf(self, name, text):
        """A drop-in of proa.conf, heeded from the next verb on."""
        self.put("/etc/proa/proa.conf.d/%s.conf" % name, text)
        self.check("systemctl try-restart proad.service")

    def health_check(self, name, script):
        self.put("/etc/proa/health/required.d/" + name, script, 0o755)

    def hook(self, stage, name, script):
        self.put("/etc/proa/hooks/%s.d/%s" % (stage, name), script, 0o755)

    def clock(self, when):
        """Set the guest's clock, as `date -s` reads it."""
        self.check("date -s '%s' >/dev/null" % when)

    def become(self, name):
        """Another machine than the one all guests continue from."""
        self.check("rm /etc/machine-id; printf '%%s' %s >/etc/machine-id; chmod 444 /etc/machine-id;"
                   " echo %s | tee /etc/hostname >/proc/sys/kernel/hostname; sync;"
                   " systemctl try-restart proad.service" % (hashlib.sha256(name.encode()).hexdigest()[:32], name))

    # -- what they are told -----------------------------------------------------------------------

    def why(self):
        """`proactl why`, whatever its exit status."""
        return self.run("proactl why", 200).out

    def why_json(self):
        return json.loads(self.run("proactl --json why", 200).out)

    def shows(self, situation, *commands):
        """What an operator types and gets here is what docs/operating.md shows. Returned in one
        line: where a sentence is folded depends on the length of a date."""
        out = "\n\n".join("# %s\n%s" % (c, self.run(c, 300).out.strip("\n")) for c in commands)
        wrong = page.compare(situation, out)
        if wrong:
            raise self.failure(wrong)
        return " ".join(out.split())

    def update(self):
        """Stage and apply the newest release; it runs after the next reboot."""
        return self.check("proactl update", UPDATE)

    def refused(self, pattern, command="proactl update"):
        """The command must fail with a sentence that matches, and change nothing that matters."""
        before = self.picture()
        out = self.refuse(command, pattern, UPDATE)
        self.unchanged(before)
        return out

    def status(self):
        return json.loads(self.check("proactl status --json"))

    def history(self):
        return self.check("proactl history")

    def events(self, kind):
        """What the record holds of one kind, oldest first."""
        return [e for e in json.loads(self.check("proactl history --json")) if e["event"] == kind]

    def record(self):
        """What this host remembers, without what every look at the repository brings."""
        copies = self.check("cd /var/lib/proa; tail -qn +2 record.0; echo '#'; tail -qn +2 record.1")
        newest = max((json.loads(c) for c in copies.split("#\n") if c.strip()),
                     key=lambda c: c["seq"])
        return {k: v for k, v in newest.items() if k not in (
            "seq", "last_check", "last_check_ok", "last_error", "newest", "metadata_time", "totals")}

    def expect(self, text, pattern):
        """Text a person reads must say this."""
        if not re.search(pattern, text, re.S | re.I):
            raise self.failure("expected /%s/ in:\n%s" % (pattern, text))

    def picture(self):
        """What an update that is refused must leave alone, as one hash for each part."""
        self.check("sync; echo 3 >/proc/sys/vm/drop_caches", 60)
        table = image.sh("sfdisk", "-d", self.disk)
        look = {"table": table, "esp": " ".join(self.check("cd /efi; find . -type f -exec md5sum"
                                                           " {} + | sort -k2").split("\n")),
                "next": self.status_next(), "record": self.record()}
        for number in (USR_A, TREE_A, USR_B, TREE_B):
            look["partition %d" % number] = hashlib.sha256(self.part(number)).hexdigest()
        return look

    def status_next(self):
        return self.check("proa-bootctl next --esp /efi")

    def unchanged(self, before):
        after = self.picture()
        for what, was in before.items():
            if after[what] != was:
                raise self.failure("%s changed\nfrom %s\nto   %s" % (what, was, after[what]))

    def applied(self, version, tries=3):
        """The release is proved and applied: a fresh boot entry, and it boots next."""
        self.check("test -e /efi/EFI/Linux/proa_%s+%d-0.efi" % (version, tries))
        self.expect(self.check("proa-bootctl next --esp /efi"), re.escape("proa_" + version))

    def no_failed_units(self):
        """Nothing of ours has failed, and systemd took every line of our units."""
        failed = self.check("systemctl list-units --failed --no-legend --plain 'proa*'")
        assert not failed, failed
        said = self.run("journalctl -b _PID=1 | grep -E '/proa[^ ]*(service|socket|timer):[0-9]+:'")
        assert not said.out, said.out

    def first_boot_of(self, version):
        """Reboot into a release just applied and wait until it is found good."""
        self.reboot()
        boot = self.wait_boot(version)
        self.wait_blessed(version)
        return boot


@contextlib.contextmanager
def lab(name, folder):
    with contextlib.ExitStack() as stack:
        yield Lab(name, folder, stack)
