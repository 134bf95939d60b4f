# SPDX-License-Identifier: Apache-2.0
"""A host with Secure Boot and a TPM shows what it runs, to itself and to somebody elsewhere; every
value has another judge. Attacks on its files and on what it attests are seen."""
import base64
import json
import re
import subprocess

import image
from auditor import Wrong, attachments, attest, problems, report, spoiled, start
from harness import SNAKEOIL_CERT

HOLD = """firmware.secure-boot firmware.keys loader.signature loader.started uki.selected
uki.signature uki.started uki.content uki.counters cmdline.same usr.verity usr.corruption
usr.partuuids usr.superblock usr.record usr.deep.A release.trust release.root-hash release.uki
release.sbom tpm.eventlog tpm.log tpm.replay tpm.pcr4 tpm.pcr7 tpm.pcr11 tpm.pcr12 kernel.lockdown
kernel.modules kernel.mac history.chain history.anchor proa.settings proa.units""".split()
PROVED = """ak ek nonce quote log secure-boot pcr4 loader loader-own uki uki-own usr pcr11
pcr12""".split()
UKI = "/efi/EFI/Linux/"


def run(lab):
    host, auditor = start(lab)
    wrong = Wrong()
    host.until("proa-audit report 2>/dev/null | grep -q 'pass *history.anchor'")

    envelope = attest(host, auditor)
    status, checks = report(host, "--deep")
    assert not problems(checks) and status == 0, {i: checks[i] for i in problems(checks)}
    for name in HOLD:
        assert checks[name]["verdict"] == "pass", checks.get(name)
    keep(host, "audit.report")
    elsewhere(wrong, auditor, envelope)
    values = judge_log(auditor, envelope, checks)
    assert judge_uki(host, auditor, checks) == values["11"]
    spoil(wrong, host)
    wrong.tell()


def checkquote(auditor, envelope):
    """tpm2_checkquote, with the nonce that was asked and with another."""
    d, q = auditor.dir, attachments(envelope)["quote"]
    for k, v in q.items():
        (d / ("q." + k)).write_bytes(base64.b64decode(v))
    key = base64.b64decode(q["key"])
    (d / "ak.der").write_bytes(bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
                               + b"\4" + key[-66:-34] + key[-32:])
    image.sh("openssl", "pkey", "-pubin", "-inform", "der", "-in", d / "ak.der", "-out", d / "ak.pem")
    args = ["tpm2_checkquote", "-u", d / "ak.pem", "-m", d / "q.message", "-s", d / "q.signature",
            "-g", "sha256", "-q"]
    image.sh(*args, json.loads((d / "secret").read_text())["nonce"])
    assert subprocess.run([str(a) for a in args + ["ab" * 32]], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode != 0


def judge_log(auditor, envelope, checks):
    """tpm2_eventlog replays the same log to the same values."""
    f = auditor.dir / "eventlog"
    f.write_bytes(base64.b64decode(attachments(envelope)["eventlog"]))
    replay = image.sh("tpm2_eventlog", f).split("\npcrs:")[1].split("sha256:")[1].split("sha384:")[0]
    values = dict(re.findall(r"(\d+) *: 0x([0-9a-f]{64})", replay))
    for pcr, value in values.items():
        assert checks["tpm.replay"]["evidence"]["tpm_pcr" + pcr] == value, pcr
    return values


def judge_uki(host, auditor, checks):
    """pesign, osslsigncode, sbverify and systemd-measure about the file that the host runs."""
    f = auditor.uki("1.0.0")
    assert image.sh("sha256sum", f).split()[0] == host.check("sha256sum %sproa_1.0.0.efi" % UKI).split()[0]
    image.sh("sbverify", "--cert", SNAKEOIL_CERT, f)
    ours = checks["uki.signature"]["evidence"]["authenticode_sha256"]
    assert re.search(r"[0-9a-f]{64}", image.sh("pesign", "-h", "-i", f))[0] == ours
    # osslsigncode 2.5 reads some of sbsign's signatures and calls others invalid, without a digest
    said = re.search(r"Calculated message digest *: *([0-9A-F]{64})", subprocess.run(
        ["osslsigncode", "verify", str(f)], stdout=subprocess.PIPE, text=True).stdout)
    assert not said or said[1].lower() == ours
    args = []
    for name in ("linux", "osrel", "cmdline", "initrd"):
        image.sh("objcopy", "--dump-section", ".%s=%s" % (name, auditor.dir / name), f,
                 auditor.dir / "copy")
        args.append("--%s=%s" % (name, auditor.dir / name))
    out = image.sh("/usr/lib/systemd/systemd-measure", "calculate", *args, "--bank=sha256",
                   "--phase=:")
    return re.search(r"11:sha256=([0-9a-f]{64})", out)[1]


def keep(host, name):
    (image.VM / "logs" / name).write_text(host.run("proa-audit report --deep 2>/dev/null", 300).out)


def elsewhere(wrong, auditor, envelope):
    """What the host attests is proved to somebody else, and what is changed of it is seen."""
    status, claims, text = auditor.verify(envelope)
    (image.VM / "logs/audit.verify").write_text(text)
    (image.VM / "logs/audit.dsse").write_bytes(envelope)
    assert status == 0 and not problems(claims), text
    for name in PROVED:
        by = claims["attest." + name]["evidence"]["proved_by"]
        assert by == ("manufacturer" if name == "ek" else "hardware"), (name, by)
    for name in ("release", "uki-file"):
        assert claims["attest." + name]["evidence"]["proved_by"] == "publisher", name
    checkquote(auditor, envelope)

    # replayed: the answer to an older challenge, or to another nonce
    kept = (auditor.dir / "secret").read_bytes()
    auditor.challenge()
    _, claims, _ = auditor.verify(envelope)
    wrong.unless({"attest.nonce", "attest.ek"} <= problems(claims), problems(claims))
    (auditor.dir / "secret").write_bytes(kept)
    _, claims, _ = auditor.verify(envelope, "--nonce", "ab" * 32, secret=False)
    wrong.unless(problems(claims) == {"attest.nonce"}, problems(claims))

    # edited after signing; the log cut, reordered, one digest changed
    doc = json.loads(envelope)
    payload = base64.b64decode(doc["payload"])
    for change in (lambda st: st.update(edited=True), cut, reorder, one_digest):
        st = json.loads(payload)
        change(st)
        doc["payload"] = base64.b64encode(json.dumps(st).encode()).decode()
        _, claims, text = auditor.verify(json.dumps(doc).encode())
        want = {"attest.signature"} | (set() if "edited" in st else {"attest.log"})
        wrong.unless(problems(claims) == want, text)


def change_log(st, change):
    a = st["predicate"]["attachments"]
    log = base64.b64decode(a["eventlog"])
    a["eventlog"] = base64.b64encode(change(log, events(log))).decode()


def events(log):
    """Where the events begin; the first is of the old form."""
    at, sizes = 32 + int.from_bytes(log[28:32], "little"), {4: 20, 11: 32, 12: 48, 13: 64}
    found = []
    while at < len(log):
        found.append(at)
        n, at = int.from_bytes(log[at + 8:at + 12], "little"), at + 12
        for _ in range(n):
            at += 2 + sizes[int.from_bytes(log[at:at + 2], "little")]
        at += 4 + int.from_bytes(log[at:at + 4], "little")
    return found + [at]


def images(log, at):
    """The events of what the firmware started: EV_EFI_BOOT_SERVICES_APPLICATION into PCR 4."""
    return [i for i in range(len(at) - 1)
            if log[at[i]:at[i] + 8] == bytes.fromhex("0400000003000080")]


def cut(st):
    change_log(st, lambda log, at: log[:at[images(log, at)[-1]]])


def reorder(st):
    def change(log, at):
        i, j = images(log, at)[-2:]
        return (log[:at[i]] + log[at[j]:at[j + 1]] + log[at[i + 1]:at[j]] + log[at[i]:at[i + 1]]
                + log[at[j + 1]:])
    change_log(st, change)


def one_digest(st):
    def change(log, at):
        b, digest = bytearray(log), at[images(log, at)[-1]] + 12
        while b[digest:digest + 2] != b"\x0b\0":
            digest += 2 + {4: 20, 12: 48, 13: 64}[b[digest]]
        b[digest + 5] ^= 1
        return bytes(b)
    change_log(st, change)


def spoil(wrong, host):
    """Attacks on a running host, which sees them itself."""
    # another command line than the one in the UKI
    spoiled(wrong, host, "sed 's/$/ init=\\/bin\\/sh/' /proc/cmdline >/run/cmdline;"
            " mount --bind /run/cmdline /proc/cmdline", "umount /proc/cmdline", "cmdline.same")
    # another UKI under the running name
    spoiled(wrong, host, "cp %sproa_1.0.0.efi /run/was.efi; printf X | dd of=%sproa_1.0.0.efi bs=1"
            " seek=1000000 conv=notrunc status=none; sync" % (UKI, UKI),
            "cp /run/was.efi %sproa_1.0.0.efi; sync" % UKI, "uki.signature", "uki.started",
            "release.uki", "tpm.pcr4", "tpm.pcr11")
    # a loader that nobody signed: its header names no signature any more
    loader = "/efi/EFI/BOOT/BOOTX64.EFI"  # which the firmware starts here
    spoiled(wrong, host, "cp %s /run/was.efi; pe=$(od -An -tu4 -j60 -N4 %s); dd if=/dev/zero of=%s bs=1"
            " seek=$((pe + 168)) count=8 conv=notrunc status=none; sync" % (loader, loader, loader),
            "cp /run/was.efi %s; sync" % loader, "loader.signature", "loader.started", "tpm.pcr4")
    # a line taken out of the history, and the newest one
    state = "cd /var/lib/proa; cp history.jsonl /run; sed -i %s history.jsonl"
    for line in ("1d", "'$d'"):
        spoiled(wrong, host, state % line, "cp /run/history.jsonl /var/lib/proa/", "history.chain",
                "history.anchor")
