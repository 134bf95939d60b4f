# SPDX-License-Identifier: Apache-2.0
"""A host with Secure Boot and a TPM updates: what the audit foretold is what is measured, and the
history's anchor follows by itself. A byte of the other slot, a revoked UKI and a boot entry with
words of its own are seen."""
import re

import image
import release
from auditor import Wrong, attest, fetch, look, problems, put, report, spoiled, start
from harness import SNAKEOIL_CERT
from lab import USR_B

DBX = "dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f"


def run(lab):
    host, auditor = start(lab)
    wrong = Wrong()
    _, checks = report(host)
    foretold = update(wrong, host)
    measured(wrong, host, auditor, foretold, checks["history.chain"]["evidence"]["entries"])
    revoke(wrong, host, auditor)
    other_words(wrong, host, auditor)
    wrong.tell()


def update(wrong, host):
    """Audited before the reboot: what boots next, and what PCR 11 will be."""
    host.update()
    status, checks = report(host, "--next", "--deep")
    wrong.unless(status == 0 and not problems(checks), "--next", problems(checks))
    # a byte of the slot that is not running
    where = "/dev/vda%d" % USR_B
    flip = ("printf '%s' | dd of=" + where + " bs=1 seek=50000000 conv=notrunc,fsync status=none")
    was = host.check("dd if=%s bs=1 skip=50000000 count=1 status=none | od -An -tx1" % where).strip()
    spoiled(wrong, host, flip % ("\\x%02x" % (int(was, 16) ^ 1)), "true", "usr.deep.B", more=["--deep"])
    spoiled(wrong, host, "true", flip % ("\\x" + was), "next.slot", more=["--next", "--deep"])
    return checks["next.pcr11"]["evidence"]["pcr11_sha256"]


def measured(wrong, host, auditor, foretold, entries):
    """After the reboot: what was foretold, and a history that went on."""
    host.first_boot_of("1.1.0")
    host.wait_settled()
    look(host)
    host.until("proa-audit report 2>/dev/null | grep -q 'pass *history.anchor'")
    status, checks = report(host, "--deep")
    wrong.unless(status == 0 and not problems(checks), {i: checks[i] for i in problems(checks)})
    wrong.unless(checks["tpm.pcr11"]["evidence"]["tpm_pcr11"] == foretold, "PCR 11", foretold)
    wrong.unless(checks["history.chain"]["evidence"]["entries"] > entries, "history", entries)
    status, claims, text = auditor.verify(attest(host, auditor), version="1.1.0")
    wrong.unless(status == 0, text)
    # the same is not the boot of another release
    _, claims, text = auditor.verify((auditor.dir / "host.dsse").read_bytes(), version="1.0.0")
    wrong.unless(problems(claims) == {"attest.pcr4", "attest.uki-own", "attest.uki-file",
                                      "attest.pcr11", "attest.pcr12"}, text)


def other_words(wrong, host, auditor):
    """A boot entry hands other words to the signed UKI. Its stub does not take them, with Secure
    Boot, but they were measured."""
    host.check("mkdir -p /efi/loader/entries; printf 'title x\\nefi /EFI/Linux/proa_1.1.0.efi\\n"
               "options init=/bin/sh\\n' >/efi/loader/entries/x.conf;"
               " echo 'default x.conf' >>/efi/loader/loader.conf; sync")
    host.reboot()
    host.wait_boot("1.1.0")
    look(host)
    _, checks = report(host)
    wrong.unless("uki.selected" in problems(checks), "x.conf", problems(checks))
    wrong.unless(checks["cmdline.same"]["verdict"] != "fail", "cmdline.same", checks["cmdline.same"])
    put(host, auditor.challenge(), "/run/challenge")
    _, envelope = fetch(host, "proa-audit report --attest tpm --challenge /run/challenge"
                        " 2>/dev/null >/run/r.dsse", "/run/r.dsse")
    _, claims, text = auditor.verify(envelope, version="1.1.0")
    wrong.unless("attest.pcr12" in problems(claims), text)


def revoke(wrong, host, auditor):
    """dbx forbids the running UKI: the firmware would not start it again. Then it is taken back."""
    d = auditor.dir
    (d / "sign").mkdir()
    sign = ["-k", release.snakeoil_key(d / "sign"), "-c", SNAKEOIL_CERT]
    _, was = fetch(host, "cat /sys/firmware/efi/efivars/%s | tail -c +5 >/run/was" % DBX, "/run/was")
    digest = re.search(r"[0-9a-f]{64}", image.sh("pesign", "-h", "-i", auditor.uki("1.1.0")))[0]
    # EFI_CERT_SHA256_GUID, one signature of 48 bytes
    one = (bytes.fromhex("2616c4c14c509240aca941f936934328") + (76).to_bytes(4, "little")
           + bytes(4) + (48).to_bytes(4, "little") + bytes(16) + bytes.fromhex(digest))

    def write(content, attributes, *more):
        (d / "dbx.esl").write_bytes(content)
        image.sh("sign-efi-sig-list", *more, *sign, "dbx", d / "dbx.esl", d / "dbx.auth")
        put(host, attributes + (d / "dbx.auth").read_bytes(), "/run/dbx")
        host.check("cd /sys/firmware/efi/efivars; chattr -i %s; cat /run/dbx >%s" % (DBX, DBX))

    write(one, b"\x67\0\0\0", "-a")
    _, checks = report(host)
    wrong.unless(problems(checks) == {"uki.signature", "tpm.pcr7"}, "dbx", problems(checks))
    _, checks = report(host, "--next")
    wrong.unless("next.signature" in problems(checks), "dbx, next", problems(checks))
    write(was, b"\x27\0\0\0", "-t", "2033-01-01 00:00:00")
    _, checks = report(host)
    wrong.unless(not problems(checks), "dbx as it was", problems(checks))
