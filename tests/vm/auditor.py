# SPDX-License-Identifier: Apache-2.0
"""For scenarios of the audit: a host with Secure Boot and a TPM of a maker, and an auditor elsewhere
who has its enrolment, the publisher's repository, and nothing else."""
import base64
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import image
import release


class Tpm:
    """swtpm with an EK certificate, made by a maker with a CA of his own."""

    def __init__(self, lab):
        self.dir = tempfile.mkdtemp(prefix="proa-tpm-")  # short path: sun_path
        lab.stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
        d, conf = self.dir, self.dir + "/setup.conf"
        with open(d + "/ca.conf", "w") as f:
            f.write("statedir=%s\nsigningkey=%s/key.pem\nissuercert=%s/issuer.pem\n"
                    "certserial=%s/serial\n" % (d, d, d, d))
        with open(d + "/options", "w") as f:
            f.write("--platform-manufacturer x\n--platform-version 1\n--platform-model y\n")
        with open(conf, "w") as f:
            f.write("create_certs_tool=/usr/bin/swtpm_localca\ncreate_certs_tool_config=%s/ca.conf\n"
                    "create_certs_tool_options=%s/options\nactive_pcr_banks=sha256\n" % (d, d))
        image.sh("swtpm_setup", "--tpm2", "--tpmstate", d, "--create-ek-cert", "--config", conf)
        with open(d + "/cas.pem", "w") as f:
            for name in ("issuer.pem", "swtpm-localca-rootca-cert.pem"):
                f.write(open(d + "/" + name).read())
        # swtpm ends with its QEMU, and each start of the machine is another QEMU: the socket stays
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(d + "/s")
        self.door.listen(8)
        self.p, self.over = None, False
        self.turn = threading.Thread(target=self.attend, daemon=True)
        self.turn.start()
        lab.stack.callback(self.stop)

    def attend(self):
        fd = str(self.door.fileno())
        while not self.over:
            self.p = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "swtpm", "socket", "--tpm2",
                                       "--tpmstate", "dir=" + self.dir, "--ctrl",
                                       "type=unixio,fd=" + fd], stderr=subprocess.DEVNULL,
                                      pass_fds=[int(fd)])
            self.p.wait()
            time.sleep(0.1)

    def stop(self):
        self.over = True
        if self.p:
            self.p.kill()
        self.turn.join(10)
        self.door.close()

    def qemu(self):
        return ["-chardev", "socket,id=tpm,path=%s/s" % self.dir, "-tpmdev",
                "emulator,id=t0,chardev=tpm", "-device", "tpm-crb,tpmdev=t0"]


def fetch(host, script, path):
    """Exit status of the script, and the file that it made; packed, as the line is slow."""
    out = host.run("%s; echo $?; gzip -c %s | base64 -w0" % (script, path), 300).out
    status, packed = out.split(None, 1)
    return int(status), subprocess.run("base64 -d | gzip -d", shell=True, check=True,
                                       input=packed.strip().encode(),
                                       stdout=subprocess.PIPE).stdout


def put(host, data, path):
    text = base64.b64encode(data).decode()
    host.check(": >/run/put")
    for i in range(0, len(text), 2000):
        host.check("printf %s " + text[i:i + 2000] + " >>/run/put")
    host.check("base64 -d /run/put >" + path)


def report(host, *more):
    """Exit status and the checks by id."""
    status, text = fetch(host, "proa-audit report --json %s 2>/dev/null >/run/r.json"
                         % " ".join(more), "/run/r.json")
    return status, {c["id"]: c for c in json.loads(text)["checks"]}


def problems(checks):
    return {i for i, c in checks.items() if c["verdict"] in ("fail", "unreadable")}


class Wrong:
    """Boots are dear: what is wrong is gathered, and told at the end."""

    def __init__(self):
        self.found = []

    def unless(self, ok, *what):
        if not ok:
            self.found.append(" ".join(map(str, what)))

    def tell(self):
        assert not self.found, "\n".join(self.found)


def spoiled(wrong, host, change, back, *failed, more=()):
    """Something is changed: these checks fail and no others; then it is put back."""
    host.check(change)
    _, checks = report(host, *more)
    host.check(back)
    wrong.unless(problems(checks) == set(failed), change, problems(checks))


def start(lab):
    """A host with Secure Boot and a TPM, and somebody who enrolled it."""
    tpm = Tpm(lab)
    host = lab.host(lab.serve(), disk="secure.img", secure_boot=True, extra=tpm.qemu())
    look(host)
    auditor = Auditor(lab, tpm, host.check("proa-audit keys"))
    _, loader = fetch(host, "cp /efi/EFI/BOOT/BOOTX64.EFI /run/loader", "/run/loader")
    (auditor.dir / "systemd-bootx64.efi").write_bytes(loader)
    return host, auditor


def look(host):
    """Once a boot: what the guest's trimmed systemd does not mount."""
    host.check("mountpoint -q /sys/kernel/security ||"
               " mount -t securityfs securityfs /sys/kernel/security")


class Auditor:
    """Somebody elsewhere: what was noted at the enrolment, the repository, and nothing else."""

    def __init__(self, lab, tpm, keys):
        self.dir, self.tpm, self.lab = lab.work, tpm, lab
        self.keys = lab.work / "host.keys"
        self.keys.write_text(keys)
        self.audit = release.BIN / "proa-audit"

    def challenge(self):
        secret = self.dir / "secret"
        secret.unlink(missing_ok=True)
        return image.sh(self.audit, "challenge", self.keys, "--secret", secret).encode()

    def uki(self, version):
        f = self.dir / (version + ".efi")
        image.sh("zstd", "-q", "-d", "-f", self.lab.blob(self.lab.folder / "repo", version,
                                                         "uki-full"), "-o", f)
        return f

    def verify(self, envelope, *more, version="1.0.0", secret=True):
        """Exit status, the claims by id, and the text for a person."""
        f, repo = self.dir / "host.dsse", self.lab.folder / "repo"
        f.write_bytes(envelope)
        args = [self.audit, "verify", f, "--key", self.keys, "--repository", repo,
                "--trusted-root", repo / "metadata/1.root.json", "--uki", self.uki(version).name,
                "--loader", "systemd-bootx64.efi", *more]
        if secret:
            args += ["--secret", self.dir / "secret", "--ek-ca", self.tpm.dir + "/cas.pem"]
        out = [subprocess.run([str(a) for a in args + extra], stdout=subprocess.PIPE, cwd=self.dir)
               for extra in (["--json"], [])]
        return (out[0].returncode, {c["id"]: c for c in json.loads(out[0].stdout)["checks"]},
                out[1].stdout.decode())


def attachments(envelope):
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))["predicate"]["attachments"]


def attest(host, auditor):
    """A challenge to the host, and its answer."""
    put(host, auditor.challenge(), "/run/challenge")
    status, envelope = fetch(host, "proa-audit report --deep --attest tpm --challenge /run/challenge"
                             " 2>/dev/null >/run/r.dsse", "/run/r.dsse")
    assert status == 0
    return envelope
