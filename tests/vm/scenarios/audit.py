# SPDX-License-Identifier: Apache-2.0
"""A host with Secure Boot and a TPM audits itself: what firmware measured is what its files lead
to; then another UKI lies under the running name, and a command line is not the UKI's."""
import json
import re
import shutil
import subprocess
import tempfile

import image

LOG = "/sys/kernel/security/tpm0/binary_bios_measurements"
HOLD = """firmware.secure-boot firmware.keys loader.signature loader.started uki.selected
uki.signature uki.started uki.content uki.counters cmdline.same usr.verity usr.corruption
usr.partuuids usr.superblock usr.record usr.deep.A release.trust release.root-hash release.uki release.sbom tpm.eventlog tpm.log tpm.replay
tpm.pcr4 tpm.pcr7 tpm.pcr11 tpm.pcr12 kernel.mac history.chain proa.units""".split()


def report(host, *more):
    """The checks by id. The answer is too long for the serial line's patience unless packed."""
    out = host.run("proa-audit report --json %s 2>/dev/null >/run/r.json; echo $?;"
                   " gzip -c /run/r.json | base64 -w0" % " ".join(more), 300).out
    status, packed = out.split(None, 1)
    text = subprocess.run("base64 -d | gzip -d", shell=True, input=packed.strip().encode(),
                          stdout=subprocess.PIPE, check=True).stdout
    return int(status), {c["id"]: c for c in json.loads(text)["checks"]}


def problems(checks):
    return {i for i, c in checks.items() if c["verdict"] in ("fail", "unreadable")}


def run(lab):
    tpm = tempfile.mkdtemp(prefix="proa-tpm-")
    lab.stack.callback(shutil.rmtree, tpm, ignore_errors=True)
    p = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "swtpm", "socket", "--tpm2",
                          "--tpmstate", "dir=" + tpm, "--ctrl", "type=unixio,path=%s/s" % tpm])
    lab.stack.callback(p.kill)
    host = lab.host(lab.serve(), disk="secure.img", secure_boot=True, extra=[
        "-chardev", "socket,id=tpm,path=%s/s" % tpm, "-tpmdev", "emulator,id=t0,chardev=tpm",
        "-device", "tpm-crb,tpmdev=t0"])
    host.check("mountpoint -q /sys/kernel/security ||"
               " mount -t securityfs securityfs /sys/kernel/security")

    status, checks = report(host, "--deep")
    assert not problems(checks) and status == 0, {i: checks[i] for i in problems(checks)}
    for name in HOLD:
        assert checks[name]["verdict"] == "pass", checks.get(name)

    # the judge replays the same log to the same values
    packed = host.check("base64 -w0 " + LOG)
    log = lab.work / "eventlog"
    log.write_bytes(subprocess.run(["base64", "-d"], input=packed.encode(), check=True,
                                   stdout=subprocess.PIPE).stdout)
    replay = image.sh("tpm2_eventlog", log).split("\npcrs:")[1]
    replay = replay.split("sha256:")[1].split("sha384:")[0]
    for pcr, value in re.findall(r"(\d+) *: 0x([0-9a-f]{64})", replay):
        assert checks["tpm.replay"]["evidence"]["tpm_pcr" + pcr] == value, pcr

    # what boots next, and its PCR 11
    status, checks = report(host, "--next", "--deep")
    assert status == 0, problems(checks)
    assert checks["next.pcr11"]["evidence"]["pcr11_sha256"] in replay

    # another command line than the one in the UKI
    host.check("sed 's/$/ init=\\/bin\\/sh/' /proc/cmdline >/run/cmdline;"
               " mount --bind /run/cmdline /proc/cmdline")
    _, checks = report(host)
    assert problems(checks) == {"cmdline.same"}, problems(checks)
    host.check("umount /proc/cmdline")

    # another UKI under the running name
    host.check("cd /efi/EFI/Linux; cp proa_1.0.0.efi /run/was.efi; printf X |"
               " dd of=proa_1.0.0.efi bs=1 seek=1000000 conv=notrunc status=none; sync")
    _, checks = report(host)
    assert {"uki.signature", "uki.started", "tpm.pcr4", "tpm.pcr11"} <= problems(checks), checks
    host.check("cp /run/was.efi /efi/EFI/Linux/proa_1.0.0.efi; sync")

    # a line taken out of the history
    host.check("cd /var/lib/proa; cp history.jsonl /run; sed -i 1d history.jsonl")
    _, checks = report(host)
    assert problems(checks) == {"history.chain", "history.anchor"}, problems(checks)
    host.check("cp /run/history.jsonl /var/lib/proa/")

    text = host.run("proa-audit report --deep 2>/dev/null", 300).out
    (image.VM / "logs/audit.report").write_text(text)
