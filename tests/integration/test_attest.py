#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""proa-audit elsewhere: statements, quotes, challenges, and docs/audit.md as it is written.

Judges: a software TPM with tpm2-tools (quotes, credentials, the anchor), openssl (signatures, EK
certificates)."""
import base64, json, os, pathlib, random, re, shutil, struct, subprocess, tempfile, unittest

import jsonschema

from audit_lab import (BIN, BOOT, LOG, SEED, SOURCE, EventLog, Report, Tpm, begin, end, sh,
                       sha)


def setUpModule():
    global work, base, good, loader
    work, base, good = begin()
    loader = work / "systemd-bootx64.efi"  # the auditor's own copy
    shutil.copy(good.esp / "EFI/systemd/systemd-bootx64.efi", loader)


def tearDownModule():
    end()


class Attested(unittest.TestCase):
    """Statements made on the node, checked on the auditor's machine."""
    NONCE, OTHER = "00112233445566778899aabbccddeeff", "ff112233445566778899aabbccddeeff"
    PROVED = """ak nonce quote log secure-boot pcr4 loader loader-own uki uki-own usr pcr11
                pcr12""".split()

    @classmethod
    def setUpClass(cls):
        cls.tpm = Tpm(good.log)
        cls.key, cls.pub = work / "node.key", work / "node.pub"
        sh("openssl", "genpkey", "-algorithm", "ed25519", "-out", cls.key)
        sh("openssl", "pkey", "-in", cls.key, "-pubout", "-out", cls.pub)
        out = sh(BIN / "proa-audit", "keys", "--tpm", cls.tpm.tcti).stdout
        cls.ak, cls.tpm_pub = re.search("key: ([0-9a-f]{68})\n", out).group(1), work / "tpm.pub"
        cls.tpm_pub.write_text(out.split("\n", 1)[1])
        cls.good = cls.attest(cls.key)

    @classmethod
    def tearDownClass(cls):
        cls.tpm.stop()

    @classmethod
    def attest(cls, key, nonce=None, machine=None, tpm=None):
        m = machine or good
        p = sh(BIN / "proa-audit", "report", "--root", m.root, "--disk", m.disk,
               "--repository", base.repo, "--tpm", (tpm or cls.tpm).tcti, "--attest", key, "--nonce",
               nonce or cls.NONCE)
        return json.loads(p.stdout)

    def verify(self, envelope, *more, key=None, nonce=NONCE, ak=None, signed=True, uki=None,
               boot=None):
        """What an auditor knows; False leaves something out."""
        f = work / "envelope.json"
        f.write_text(envelope if isinstance(envelope, str) else json.dumps(envelope))
        args = ["--repository", base.repo, "--trusted-root", base.repo / "metadata/1.root.json"]
        for option, value in (("--key", signed and (key or self.pub)), ("--nonce", nonce),
                              ("--ak", ak or self.ak), ("--loader", loader if boot is None else boot),
                              ("--uki", good.uki() if uki is None else uki)):
            args += [option, value] if value else []
        p = sh(BIN / "proa-audit", "verify", f, "--json", *args, *more, want=None)
        self.assertIn(p.returncode, (0, 1), p.stderr)
        return Report(json.loads(p.stdout), p.returncode) if p.stdout else p

    def resigned(self, change):
        """A dishonest node: another statement, signed by its own key all the same."""
        st = json.loads(base64.b64decode(self.good["payload"]))
        change(st)
        payload = json.dumps(st).encode()
        kind = self.good["payloadType"]
        (work / "pae").write_bytes(b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(payload))
                                   + payload)
        sh("openssl", "pkeyutl", "-sign", "-inkey", self.key, "-rawin", "-in", work / "pae", "-out",
           work / "sig")
        return dict(self.good, payload=base64.b64encode(payload).decode(), signatures=[
            {"keyid": "", "sig": base64.b64encode((work / "sig").read_bytes()).decode()}])

    def hardware(self, r):
        """The claims that the hardware proves."""
        return {i[7:] for i, c in r.checks.items()
                if c.get("evidence", {}).get("proved_by") == "hardware"}

    def other_boot(self, m, separator=None):
        """A TPM that the firmware of m led to m's event log, and what m then attests."""
        m.write(LOG, m.log.bytes())
        m.set_pcrs(separator=separator)
        tpm = Tpm(m.log)
        self.addCleanup(tpm.stop)
        if separator:
            tpm.tool("tpm2_pcrextend", *("%d:sha256=%s" % (i, sha(separator).hex())
                                         for i in (*range(8), 9, 12, 13, 14)))
        name = re.search("key: ([0-9a-f]{68})\n",
                         sh(BIN / "proa-audit", "keys", "--tpm", tpm.tcti).stdout).group(1)
        return self.attest(self.key, machine=m, tpm=tpm), name

    def by(self, r, check):
        return r.verdict(check), r.checks[check]["evidence"]["proved_by"]

    def test_good(self):
        r = self.verify(self.good)
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)
        for check in self.PROVED:
            self.assertEqual(self.by(r, "attest." + check), ("pass", "hardware"), check)
        self.assertEqual(self.hardware(r), set(self.PROVED))
        for check in ("release", "uki-file"):
            self.assertEqual(self.by(r, "attest." + check), ("pass", "publisher"), check)
        self.assertEqual(self.by(r, "attest.signature"), ("pass", "signer"))
        jsonschema.Draft202012Validator(json.loads(
            (SOURCE / "docs/audit-report.schema.json").read_text())).validate(r.doc)
        self.signers(r.checks["attest.release"]["evidence"])
        self.signers(good.report().checks["release.trust"]["evidence"])
        self.signers(good.report(repository=False).checks["release.trust"]["evidence"])
        r = self.verify(self.good, "--time", "2100-01-01T00:00:00Z")
        self.assertEqual((r.status, r.verdict("attest.release")), (0, "warn"))
        self.assertEqual(r.checks["attest.report"]["evidence"]["proved_by"], "node")

    def signers(self, roles):
        """The ids and names of the keys whose signatures counted, as the metadata has them."""
        for role in ("root", "timestamp", "snapshot", "targets", "stable"):
            signed = [s["keyid"] for s in base.role(role)["signatures"]]
            self.assertEqual(roles[role]["signers"], signed)
            self.assertEqual(roles[role]["names"], {i: base.names[i] for i in signed
                                                    if i in base.names})
        self.assertTrue(roles["root"]["names"] and roles["stable"]["names"], roles)

    def test_statement(self):
        """What in-toto's and DSSE's readers look for; openssl verifies the signature."""
        st = json.loads(base64.b64decode(self.good["payload"]))
        self.assertEqual(st["_type"], "https://in-toto.io/Statement/v1")
        self.assertEqual(self.good["payloadType"], "application/vnd.in-toto+json")
        digests = {(s["name"], k): v for s in st["subject"] for k, v in s["digest"].items()}
        self.assertEqual(digests["usr", "dmVeritySha256"],
                         base.manifest("1.0.0")["usr"]["root_hash"])
        self.assertEqual(digests["uki", "sha256"], sha(good.uki().read_bytes()).hex())
        payload, kind = base64.b64decode(self.good["payload"]), self.good["payloadType"]
        (work / "pae").write_bytes(b"DSSEv1 %d %s %d " % (len(kind), kind.encode(), len(payload))
                                   + payload)
        (work / "sig").write_bytes(base64.b64decode(self.good["signatures"][0]["sig"]))
        sh("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", self.pub, "-rawin", "-in",
           work / "pae", "-sigfile", work / "sig")

    def test_checkquote(self):
        """tpm2_checkquote accepts the quote with its nonce, and with no other."""
        q = json.loads(base64.b64decode(self.good["payload"]))["predicate"]["attachments"]["quote"]
        raw = {k: base64.b64decode(v) for k, v in q.items()}
        for k, v in raw.items():
            (work / ("q." + k)).write_bytes(v)
        self.assertEqual(self.ak, "000b" + sha(raw["key"]).hex())
        point = b"\4" + raw["key"][-66:-34] + raw["key"][-32:]
        der = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + point
        (work / "ak.der").write_bytes(der)
        sh("openssl", "pkey", "-pubin", "-inform", "der", "-in", work / "ak.der", "-out",
           work / "ak.pem")
        args = ["tpm2_checkquote", "-u", work / "ak.pem", "-m", work / "q.message", "-s",
                work / "q.signature", "-g", "sha256"]
        sh(*args, "-q", self.NONCE)
        self.assertNotEqual(sh(*args, "-q", self.OTHER, want=None).returncode, 0)

    def test_quote_of_tpm2_tools(self):
        """A quote that tpm2-tools made, by a key of theirs, in our report."""
        d, env = pathlib.Path(tempfile.mkdtemp(dir=work)), dict(os.environ,
                                                                 TPM2TOOLS_TCTI=self.tpm.tcti)
        sh("tpm2_createprimary", "-Q", "-C", "e", "-c", d / "p", "-G", "ecc", "-a",
           "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt", env=env)
        sh("tpm2_create", "-Q", "-C", d / "p", "-G", "rsa2048:rsapss-sha256:null", "-c", d / "k", "-a",
           "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign", env=env)
        sh("tpm2_flushcontext", "-t", env=env)
        sh("tpm2_readpublic", "-Q", "-c", d / "k", "-f", "tss", "-o", d / "pub", "-n", d / "name",
           env=env)
        sh("tpm2_flushcontext", "-t", env=env)
        sh("tpm2_quote", "-Q", "-c", d / "k", "-l", "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
           "-q", self.NONCE, "-m", d / "m", "-s", d / "s", "-g", "sha256", "--scheme", "rsapss",
           env=env)
        sh("tpm2_flushcontext", "-t", env=env)

        def change(st):
            q = st["predicate"]["attachments"]["quote"]
            for k, f in (("message", "m"), ("signature", "s"), ("key", "pub")):
                q[k] = base64.b64encode((d / f).read_bytes()).decode()
        r = self.verify(self.resigned(change), ak=(d / "name").read_bytes().hex())
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)

    def test_signed_by_the_tpm(self):
        r = self.verify(self.attest("tpm"), key=self.tpm_pub)
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)

    def test_signed_by_a_store(self):
        """Any URI that OpenSSL's store opens."""
        r = self.verify(self.attest("file:%s" % self.key))
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)

    def test_anchor(self):
        """The history's head in an NV index of the TPM that only grows; tpm2_nvread is the judge."""
        m = good.copy()

        def verdict():
            p = sh(BIN / "proa-audit", "report", "--json", "--root", m.root, "--tpm", self.tpm.tcti,
                   want=None)
            return Report(json.loads(p.stdout), 0).verdict("history.anchor")

        def anchor(want=0):
            return sh(BIN / "proa-audit", "anchor", "--root", m.root, "--tpm", self.tpm.tcti,
                      want=want).stdout
        lines = (m.state / "history.jsonl").read_bytes().splitlines(True)
        self.assertEqual(verdict(), "absent")
        (m.state / "history.jsonl").write_bytes(lines[0])
        self.assertEqual(anchor(), "anchored 1 more entries of the history\n")
        self.assertEqual(verdict(), "pass")
        (m.state / "history.jsonl").write_bytes(b"".join(lines))
        self.assertEqual(verdict(), "warn")
        self.assertEqual(anchor(), "anchored %d more entries of the history\n" % (len(lines) - 1))
        self.assertEqual((verdict(), anchor()),
                         ("pass", "anchored 0 more entries of the history\n"))
        value = bytes(32)
        for line in lines:
            value = sha(value + sha(line[:-1]))
        nv = sh("tpm2_nvread", "0x1805052", binary=True,
                env=dict(os.environ, TPM2TOOLS_TCTI=self.tpm.tcti)).stdout
        self.assertEqual(nv, value)
        (m.state / "history.jsonl").write_bytes(b"".join(lines[:-1]))  # cut off the end
        self.assertEqual(verdict(), "fail")
        anchor(want=1)

    def test_anchor_by_two(self):
        """By hand and by the service at once: the index gets each line once."""
        for _ in range(3):
            m, tpm = good.copy(), Tpm(good.log)
            self.addCleanup(tpm.stop)
            lines = (m.state / "history.jsonl").read_bytes().splitlines(True)
            started = [subprocess.Popen([BIN / "proa-audit", "anchor", "--root", m.root, "--tpm",
                                         tpm.tcti], stdout=subprocess.PIPE, text=True)
                       for _ in range(4)]
            said = [p.communicate(timeout=60)[0] for p in started]
            self.assertEqual(sorted(said, reverse=True)[0],
                             "anchored %d more entries of the history\n" % len(lines))
            self.assertEqual(said.count("anchored 0 more entries of the history\n"), 3)
            value = bytes(32)
            for line in lines:
                value = sha(value + sha(line[:-1]))
            self.assertEqual(tpm.tool("tpm2_nvread", "0x1805052", binary=True).stdout, value)

    def test_keys_stay_the_same(self):
        out = sh(BIN / "proa-audit", "keys", "--tpm", self.tpm.tcti).stdout
        self.assertIn(self.ak, out)

    def test_edited(self):
        st = base64.b64decode(self.good["payload"]).replace(b"node-7", b"node-8")
        r = self.verify(dict(self.good, payload=base64.b64encode(st).decode()))
        self.assertEqual(r.problems(), {"attest.signature"})
        r = self.verify(self.good, key=self.tpm_pub)
        self.assertEqual(r.problems(), {"attest.signature"})

    def test_quote_of_less(self):
        """Root asks the TPM for a quote of what it likes, with the key that was enrolled and the
        nonce that was asked, and adds the PCRs of a better boot."""
        for pcrs in ("16", "0,1,2,3,4,5,6,7,8,9,10", "0,1,2,3,4,5,6,7,8,9,10,11,13,14,15",
                     "23", "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15+sha1:0"):
            d = pathlib.Path(tempfile.mkdtemp(dir=work))
            self.tpm.tool("tpm2_createprimary", "-Q", "-C", "e", "-G", "ecc256:ecdsa-sha256:null",
                          "-c", d / "ak", "-a",
                          "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign")
            self.tpm.tool("tpm2_flushcontext", "-t")
            self.tpm.tool("tpm2_quote", "-Q", "-c", d / "ak", "-l", "sha256:" + pcrs, "-q",
                          self.NONCE, "-m", d / "m", "-s", d / "s", "-g", "sha256")
            self.tpm.tool("tpm2_flushcontext", "-t")

            def change(st):
                q = st["predicate"]["attachments"]["quote"]
                for k, f in (("message", "m"), ("signature", "s")):
                    q[k] = base64.b64encode((d / f).read_bytes()).decode()

            def bare(st):
                change(st)
                have = st["predicate"]["attachments"]["pcrs_sha256"]
                del have["11"], have["12"]
            r = self.verify(self.resigned(change))
            self.assertEqual((r.status, r.problems()), (1, {"attest.quote"}), pcrs)
            self.assertEqual(self.hardware(r), set(), pcrs)
            r = self.verify(self.resigned(bare))
            self.assertLessEqual({"attest.quote", "attest.pcr11", "attest.pcr12"}, r.problems())
            self.assertEqual(self.hardware(r), set(), pcrs)

    def test_extended_later(self):
        """Something else was started, and its root extends PCR 4 by what should have been."""
        evil = bytes(20), sha(b"another loader")
        events = good.log.events
        images = [i for i, e in enumerate(events) if e[:8] == bytes.fromhex("0400000003000080")]
        for at, forge in ((images[0], True), (images[-1], True), (images[-1] + 1, True),
                          (images[0], False)):
            m, log = good.copy(), EventLog()
            log.image(evil[1]) if forge else log.add(4, 0x80000007, b"x", evil)
            log.events = events[:at] + log.events[1:] + events[at:]
            m.log = log
            envelope, name = self.other_boot(m)
            r = self.verify(envelope, ak=name)
            self.assertEqual(r.problems() - {"attest.report"}, {"attest.pcr4"}, r.doc)
            self.assertEqual(self.hardware(r), {"ak", "nonce", "quote", "log", "secure-boot"})
            for claim in ("loader", "loader-own", "uki", "uki-own"):
                self.assertEqual(self.by(r, "attest." + claim), ("warn", "node"))

    def test_copies_left_out(self):
        """Without the auditor's own loader and UKI, what the digests stand for is the node's word."""
        for how in ({"uki": False}, {"boot": False}, {"uki": False, "boot": False}):
            r = self.verify(self.good, **how)
            self.assertEqual((r.status, r.problems()), (0, set()), r.doc)
            self.assertEqual(self.by(r, "attest.pcr4"), ("warn", "hardware"))
            self.assertEqual(self.hardware(r), {"ak", "nonce", "quote", "log", "secure-boot", "pcr4"})

    def test_other_loader(self):
        r = self.verify(self.good, boot=good.uki())
        self.assertEqual(r.problems(), {"attest.pcr4"})
        r = self.verify(self.good, boot=BOOT / "linuxx64.efi.stub")
        self.assertEqual(r.problems(), {"attest.pcr4", "attest.loader-own"})
        r = self.verify(self.good, boot=self.pub)
        self.assertEqual((r.status, r.problems()), (1, {"attest.loader-own"}))
        self.assertNotIn("usr", self.hardware(r))

    def test_long_command_line(self):
        """A second usrhash= behind the place where a text for people ends."""
        for extra in (" %s usrhash=%s" % ("x" * 700, "ab" * 32), "\0usrhash=" + "ab" * 32,
                      " " + "x" * 5000):
            m, cmdline = good.copy(), (good.root / "proc/cmdline").read_text().rstrip("\n")
            log = EventLog()
            log.add(12, 13, (cmdline + extra + "\0").encode("utf-16-le"))
            log.events = [log.events[1] if e[:8] == struct.pack("<II", 12, 13) else e
                          for e in good.log.events]
            m.log = log
            envelope, name = self.other_boot(m)
            r = self.verify(envelope, ak=name)
            self.assertEqual(self.by(r, "attest.usr"), ("warn", "node"), extra[:20])
            self.assertEqual(r.problems() - {"attest.report"}, {"attest.pcr12"})

    def test_newer_boots(self):
        """No command line is handed over, so that of the UKI is taken; the OS is separated."""
        for separator in (None, b"os-separator", b"another word"):
            m = good.copy()
            m.boot(handed=0)
            envelope, name = self.other_boot(m, separator)
            r = self.verify(envelope, ak=name)
            if separator == b"another word":
                self.assertLessEqual({"attest.log", "attest.pcr4", "attest.pcr12"}, r.problems())
                self.assertNotIn("usr", self.hardware(r))
                continue
            self.assertEqual(r.problems() - {"attest.report"}, set(), r.doc)
            self.assertLessEqual({"log", "pcr4", "pcr12", "usr", "uki-own"}, self.hardware(r))
            r = self.verify(envelope, ak=name, uki=False)
            self.assertEqual(self.by(r, "attest.usr"), ("warn", "node"))

    def test_secure_boot_off(self):
        """PCR 7 begins with SecureBoot; a second one that root extends later is not the firmware's."""
        m = good.copy()
        m.boot(secure=0)
        m.log.variable("SecureBoot", "8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\1")
        envelope, name = self.other_boot(m)
        r = self.verify(envelope, ak=name)
        self.assertEqual(self.by(r, "attest.secure-boot"), ("fail", "hardware"))
        self.assertLessEqual({"pcr4", "usr", "uki-own"}, self.hardware(r))

    def test_subjects(self):
        """Each subject of the statement is the report's, and none is left out or added."""
        def other(i):
            return lambda st: st["subject"][i]["digest"].update({k: "ab" * 32 for k in
                                                                 st["subject"][i]["digest"]})
        n = len(json.loads(base64.b64decode(self.good["payload"]))["subject"])
        for change in [other(i) for i in range(n)] + [
                lambda st: st["subject"].pop(), lambda st: st["subject"].append(
                    {"name": "usr", "digest": {"sha256": "ab" * 32}})]:
            r = self.verify(self.resigned(change))
            self.assertIn("attest.subjects", r.problems())
            self.assertEqual(self.by(r, "attest.subjects"), ("fail", "nobody"))
        r = self.verify(self.good, signed=False)
        self.assertEqual(self.by(r, "attest.subjects"), ("pass", "nobody"))
        r = self.verify(self.good, key=self.tpm_pub)
        self.assertEqual(self.by(r, "attest.subjects"), ("pass", "nobody"))

    def test_no_nonce(self):
        """An old envelope is as good as a new one for who asked nothing."""
        r = self.verify(self.good, nonce=False)
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)
        self.assertEqual(self.hardware(r), {"ak"})

    def test_pcrs_that_the_log_leaves_out(self):
        def change(st):
            a = st["predicate"]["attachments"]
            a["eventlog"] = base64.b64encode(b"".join(
                e for e in good.log.events if e[:4] != bytes.fromhex("07000000"))).decode()
        r = self.verify(self.resigned(change))
        self.assertEqual(r.problems(), {"attest.log"})
        self.assertNotIn("secure-boot", self.hardware(r))

    def test_replayed(self):
        r = self.verify(self.good, nonce=self.OTHER)
        self.assertEqual(r.problems(), {"attest.nonce"})
        self.assertEqual(r.checks["attest.usr"]["evidence"]["proved_by"], "node")

    def test_other_tpm(self):
        r = self.verify(self.good, ak="000b" + "ab" * 32)
        self.assertEqual(r.problems(), {"attest.ak"})

    def test_other_uki(self):
        wrong = {"attest.pcr4", "attest.uki-file", "attest.pcr11", "attest.pcr12"}
        r = self.verify(self.good, uki=good.esp / "EFI/systemd/systemd-bootx64.efi")
        # it was started too, but it is not what the stub measured
        self.assertEqual(r.problems(), wrong)
        r = self.verify(self.good, uki=BOOT / "linuxx64.efi.stub")
        self.assertEqual(r.problems(), wrong | {"attest.uki-own"})

    def test_log_cut(self):
        def change(st):
            a = st["predicate"]["attachments"]
            a["eventlog"] = base64.b64encode(b"".join(good.log.events[:9])).decode()
        self.assertEqual(self.verify(self.resigned(change)).problems(), {"attest.log"})

    def test_log_and_pcrs_of_a_better_boot(self):
        """A consistent lie about the boot: only the quote tells."""
        def change(st):
            st["predicate"]["attachments"]["pcrs_sha256"]["4"] = "ab" * 32
        self.assertLessEqual({"attest.quote"}, self.verify(self.resigned(change)).problems())

    def test_other_usr(self):
        def change(st):
            for s in st["subject"]:
                if s["name"] == "usr":
                    s["digest"]["dmVeritySha256"] = "ab" * 32
            st["predicate"]["subjects"]["usr"] = "ab" * 32
        self.assertEqual(self.verify(self.resigned(change)).problems(),
                         {"attest.usr", "attest.release"})

    def test_nothing_known_beforehand(self):
        f = work / "envelope.json"
        f.write_text(json.dumps(self.good))
        p = sh(BIN / "proa-audit", "verify", f)
        for word in ("No key was given", "No nonce", "No repository", "compare it with the name"):
            self.assertIn(word, " ".join(p.stdout.split()))

    def test_garbage(self):
        text, rnd = json.dumps(self.good), random.Random(SEED)
        for bad in ("", "{}", text[:-2], text[:len(text) // 2], text.replace("payload", "paylod")):
            self.assertEqual(self.verify(bad).returncode, 1)
        for _ in range(40):
            st = bytearray(base64.b64decode(self.good["payload"]))
            for _ in range(3):
                st[rnd.randrange(len(st))] = rnd.randrange(256)
            p = self.verify(dict(self.good, payload=base64.b64encode(st).decode()))
            if isinstance(p, Report):
                self.assertIn("attest.signature", p.problems())


class Enrolled(unittest.TestCase):
    """From the TPM's maker to the quote: a nonce that only one TPM can read."""

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(dir=work))
        cls.tpm, cls.other = Tpm(good.log, cls.dir / "ca"), Tpm(good.log, cls.dir / "ca2")
        for t in (cls.tpm, cls.other):
            t.keys = pathlib.Path(t.dir) / "keys"
            t.keys.write_text(sh(BIN / "proa-audit", "keys", "--tpm", t.tcti).stdout)

    @classmethod
    def tearDownClass(cls):
        cls.tpm.stop()
        cls.other.stop()

    def challenge(self, keys):
        d = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        out = sh(BIN / "proa-audit", "challenge", keys, "--secret", d / "secret").stdout
        (d / "challenge").write_text(out)
        self.assertEqual((d / "secret").stat().st_mode & 0o777, 0o600)
        return d

    def attest(self, tpm, d, want=0):
        p = sh(BIN / "proa-audit", "report", "--root", good.root, "--disk", good.disk,
               "--repository", base.repo, "--tpm", tpm.tcti, "--attest", "tpm", "--challenge",
               d / "challenge", want=want)
        (d / "envelope").write_text(p.stdout)
        return p

    def verify(self, d, tpm, *more):
        p = sh(BIN / "proa-audit", "verify", d / "envelope", "--json", "--key", tpm.keys,
               "--secret", d / "secret", "--repository", base.repo, "--trusted-root",
               base.repo / "metadata/1.root.json", "--uki", good.uki(), "--loader",
               loader, *more, want=None)
        return Report(json.loads(p.stdout), p.returncode)

    def test_good(self):
        d = self.challenge(self.tpm.keys)
        self.attest(self.tpm, d)
        r = self.verify(d, self.tpm, "--ek-ca", self.tpm.cas)
        self.assertEqual((r.status, r.problems()), (0, set()), r.doc)
        for check, by in (("ek", "manufacturer"), ("nonce", "hardware"), ("usr", "hardware")):
            evidence = r.checks["attest." + check]["evidence"]
            self.assertEqual((r.verdict("attest." + check), evidence["proved_by"]), ("pass", by))
        self.assertEqual(self.verify(d, self.tpm).verdict("attest.ek"), "warn")

    def test_another_maker(self):
        d = self.challenge(self.tpm.keys)
        self.attest(self.tpm, d)
        self.assertEqual(self.verify(d, self.tpm, "--ek-ca", self.other.cas).problems(),
                         {"attest.ek"})

    def test_another_tpm(self):
        """A challenge for one TPM tells nothing to another, nor to one with another's key name."""
        d = self.challenge(self.tpm.keys)
        self.assertIn("made for another TPM", self.attest(self.other, d, want=1).stderr)
        mixed = self.dir / "mixed"
        mixed.write_text(self.other.keys.read_text().split("\n")[0] + "\n"
                         + self.tpm.keys.read_text().split("\n", 1)[1])
        for tpm in (self.tpm, self.other):
            self.attest(tpm, self.challenge(mixed), want=1)

    def test_replayed(self):
        """The answer to an older challenge."""
        d, e = self.challenge(self.tpm.keys), self.challenge(self.tpm.keys)
        self.attest(self.tpm, d)
        shutil.copy(d / "envelope", e / "envelope")
        r = self.verify(e, self.tpm, "--ek-ca", self.tpm.cas)
        self.assertEqual(r.problems(), {"attest.nonce", "attest.ek"})

    def test_left_out(self):
        """An envelope without the quote that was asked for."""
        d = self.challenge(self.tpm.keys)
        p = sh(BIN / "proa-audit", "report", "--root", good.root, "--disk", good.disk,
               "--repository", base.repo, "--tpm", self.tpm.tcti, "--attest", "tpm")
        (d / "envelope").write_text(p.stdout)
        self.assertEqual(self.verify(d, self.tpm).problems(), {"attest.quote"})

    def test_certificate(self):
        """openssl agrees about the certificate and who issued it."""
        for tpm, other in ((self.tpm, self.other), (self.other, self.tpm)):
            sh("openssl", "verify", "-CAfile", tpm.cas, tpm.keys)
            sh("openssl", "verify", "-CAfile", other.cas, tpm.keys, want=2)
        nv = self.tpm.tool("tpm2_nvread", "0x1c00002", binary=True).stdout
        der = sh("openssl", "x509", "-in", self.tpm.keys, "-outform", "der", binary=True).stdout
        self.assertEqual(nv[:len(der)], der)

    def test_tpm2_tools_ask(self):
        """tpm2_makecredential makes the challenge, we answer: the nonce is in the quote."""
        d, secret = self.challenge(self.tpm.keys), os.urandom(24)
        name = re.search("key: ([0-9a-f]+)", self.tpm.keys.read_text()).group(1)
        (d / "in").write_bytes(secret)
        self.tpm.tool("tpm2_createek", "-Q", "-G", "rsa", "-c", d / "ek", "-f", "pem",
                      "-u", d / "ek.pub")
        self.tpm.tool("tpm2_flushcontext", "-t")
        sh("tpm2_makecredential", "-Q", "-T", "none", "-u", d / "ek.pub", "-s", d / "in", "-n", name,
           "-G", "rsa", "-o", d / "out")
        data = (d / "out").read_bytes()[8:]
        n = 2 + int.from_bytes(data[:2], "big")
        (d / "challenge").write_text(json.dumps({
            "proa_challenge": 1, "credential": base64.b64encode(data[:n]).decode(),
            "seed": base64.b64encode(data[n:]).decode()}))
        self.attest(self.tpm, d)
        payload = base64.b64decode(json.loads((d / "envelope").read_text())["payload"])
        quote = json.loads(payload)["predicate"]["attachments"]["quote"]
        self.assertIn(secret, base64.b64decode(quote["message"]))

    def test_tpm2_tools_answer(self):
        """tpm2_activatecredential reads the nonce of our challenge, with keys made by tpm2-tools
        after the documented template: they are the same keys."""
        d, t = self.challenge(self.tpm.keys), self.tpm
        c = json.loads((d / "challenge").read_text())
        (d / "in").write_bytes(bytes.fromhex("badcc0de00000001") + base64.b64decode(c["credential"])
                               + base64.b64decode(c["seed"]))
        t.tool("tpm2_createprimary", "-Q", "-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-c",
               d / "ak", "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign")
        t.tool("tpm2_flushcontext", "-t")
        t.tool("tpm2_readpublic", "-Q", "-c", d / "ak", "-n", d / "name")
        t.tool("tpm2_flushcontext", "-t")
        self.assertIn((d / "name").read_bytes().hex(), t.keys.read_text())
        t.tool("tpm2_createek", "-Q", "-G", "rsa", "-c", d / "ek")
        t.tool("tpm2_flushcontext", "-t")
        t.tool("tpm2_startauthsession", "--policy-session", "-S", d / "s")
        t.tool("tpm2_policysecret", "-Q", "-S", d / "s", "-c", "e")
        t.tool("tpm2_activatecredential", "-Q", "-c", d / "ak", "-C", d / "ek", "-i", d / "in",
               "-o", d / "out", "-P", "session:%s" % (d / "s"))
        t.tool("tpm2_flushcontext", d / "s")
        t.tool("tpm2_flushcontext", "-t")
        self.assertEqual((d / "out").read_bytes().hex(),
                         json.loads((d / "secret").read_text())["nonce"])

    def test_no_password(self):
        """A certificate that says it is encrypted is none, and nobody is asked for a password."""
        d = self.challenge(self.tpm.keys)
        self.attest(self.tpm, d)
        head = "-----BEGIN CERTIFICATE-----\n"
        cas = d / "cas"
        cas.write_text(self.tpm.cas.read_text().replace(
            head, head + "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC," + "00" * 16 + "\n\n", 1))
        p = sh(BIN / "proa-audit", "verify", d / "envelope", "--secret", d / "secret", "--ek-ca",
               cas, want=1, input="secret\n", start_new_session=True)
        self.assertNotIn("pass", p.stderr)
        pub, sealed = d / "pub", cas.read_text().split(head)[1].split("\n\n")[0] + "\n\n"
        pub.write_text(self.tpm.keys.read_text().replace("PUBLIC KEY-----\n", "PUBLIC KEY-----\n"
                                                         + sealed, 1))
        p = sh(BIN / "proa-audit", "verify", d / "envelope", "--key", pub, want=1,
               input="secret\n", start_new_session=True)
        self.assertNotIn("pass", p.stderr)

    def test_bad_input(self):
        keys, rnd = self.tpm.keys.read_text(), random.Random(SEED)
        f = self.dir / "bad"
        for text in ("", keys.split("-----BEGIN CERT")[0], keys.replace("attestation key", "x"),
                     keys[:-200], keys.replace("key: 000b", "key: xx")):
            f.write_text(text)
            p = sh(BIN / "proa-audit", "challenge", f, "--secret", self.dir / "never", want=1)
            self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
            self.assertFalse((self.dir / "never").exists())
        d = self.challenge(self.tpm.keys)
        sh(BIN / "proa-audit", "challenge", self.tpm.keys, "--secret", d / "secret", want=1)
        self.attest(self.tpm, d)
        for name in ("challenge", "secret"):
            whole = (d / name).read_bytes()
            for _ in range(12):
                data = bytearray(whole[:rnd.randrange(len(whole))] if rnd.random() < .5 else whole)
                if len(data) == len(whole):
                    data[rnd.randrange(len(data))] = rnd.randrange(256)
                (d / name).write_bytes(bytes(data))
                if name == "challenge":
                    p = sh(BIN / "proa-audit", "report", "--root", good.root, "--tpm",
                           self.tpm.tcti, "--attest", "tpm", "--challenge", d / name, want=None)
                else:
                    p = sh(BIN / "proa-audit", "verify", d / "envelope", "--secret", d / name,
                           want=None)
                self.assertIn(p.returncode, (0, 1), p.stderr)
            (d / name).write_bytes(whole)


class Walkthrough(unittest.TestCase):
    """docs/audit.md, "Reaching a verdict", by somebody who does what it says and has what it names."""

    def commands(self):
        text = (SOURCE / "docs/audit.md").read_text()
        text = text.split("## Reaching a verdict")[1].split("\n### ")[0].replace("\\\n", " ")
        return re.findall(r"^(node-7#|auditor\$) (.*)$", text, re.M)

    def test_as_written(self):
        d = pathlib.Path(tempfile.mkdtemp(dir=work))
        tpm = Tpm(good.log, d / "ca")
        self.addCleanup(tpm.stop)
        (d / "mirror").symlink_to(base.repo)
        shutil.copy(base.repo / "metadata/1.root.json", d)
        shutil.copy(tpm.cas, d / "tpm-makers.pem")
        shutil.copy(loader, d)
        # the node's evidence and TPM are not where a running machine has them
        more = "--tpm %s --root %s --disk %s" % (tpm.tcti, good.root, good.disk)
        script, steps = "set -eu\n", self.commands()
        self.assertGreaterEqual(len(steps), 9)
        for who, line in steps:
            if who == "node-7#":
                line = re.sub("(proa-audit [a-z]+)", r"\1 " + more, line)
            script += line + "\n"
        p = sh("bash", "-c", script, cwd=d, env=dict(os.environ, PATH="%s:%s" % (
            BIN, os.environ["PATH"])))
        self.assertEqual(p.stderr, "")
        verdicts = re.findall(r"^  ([a-z]+) +(attest\.[a-z0-9-]+)$", p.stdout, re.M)
        self.assertGreater(len(verdicts), 20, p.stdout)
        # the second time a nonce stands in for the challenge, and nobody says who made the TPM;
        # this machine has not found its release good yet
        self.assertEqual({(v, i) for v, i in verdicts if v != "pass"},
                         {("absent", "attest.ek"), ("warn", "attest.report")}, p.stdout)
        self.assertEqual([i for _, i in verdicts].count("attest.ek"), 2)
        for word in ("hardware", "manufacturer", "publisher", "signer", "node"):
            self.assertIn("proved_by: " + word, p.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
