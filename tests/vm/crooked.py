# SPDX-License-Identifier: Apache-2.0
"""Repositories that a publisher with the right keys signs but should not have: proa-publish
refuses to make them, so metadata is edited and signed again here."""
import hashlib
import json
import shutil
import subprocess
import tempfile

import image


def canonical(value):
    """Canonical JSON as TUF signs it; the metadata holds no control characters."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Signer:
    """Signs again with whichever private key files belong to the keys that signed before."""

    def __init__(self, keys, repo):
        self.files = {}
        for f in sorted(p for p in keys.rglob("*") if p.is_file()):
            p = subprocess.run(["openssl", "pkey", "-in", f, "-pubout", "-outform", "DER"],
                               capture_output=True)
            if p.returncode == 0:
                self.files[p.stdout[-32:].hex()] = f
        self.public = {}
        for f in repo.glob("metadata/*.json"):
            signed = json.loads(f.read_text())["signed"]
            for part in (signed, signed.get("delegations", {})):
                for keyid, key in part.get("keys", {}).items():
                    self.public[keyid] = key["keyval"]["public"]

    def sign(self, keyid, data):
        with tempfile.NamedTemporaryFile() as f:
            f.write(data)
            f.flush()
            return subprocess.run(
                ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey",
                 self.files[self.public[keyid]], "-in", f.name],
                check=True, stdout=subprocess.PIPE).stdout.hex()

    def save(self, path, envelope):
        """Write metadata with fresh signatures; returns its bytes."""
        data = canonical(envelope["signed"])
        for s in envelope["signatures"]:
            s["sig"] = self.sign(s["keyid"], data)
        out = json.dumps(envelope, indent=1).encode()
        path.write_bytes(out)
        return out


def describe(entry, data):
    """Bring a metadata entry's length and hashes in line with the file's new content."""
    if "length" in entry:
        entry["length"] = len(data)
    if "hashes" in entry:
        entry["hashes"] = {h: hashlib.new(h, data).hexdigest() for h in entry["hashes"]}


def load(path):
    return json.loads(path.read_text())


def newest(repo, role):
    return max(repo.glob("metadata/*.%s.json" % role), key=lambda p: int(p.name.split(".")[0]))


def cross(repo, keys, dest, version, other):
    """A copy of repo at dest in which stable's release `version` comes with the UKI of `other`."""
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir()
    for part in ("metadata", "targets"):
        image.sh("cp", "-a", repo / part, dest / part)
    (dest / "blobs").symlink_to(repo / "blobs")
    signer = Signer(keys, dest)

    (path,) = dest.glob("targets/stable/*.proa_%s.json" % version)
    (donor,) = dest.glob("targets/stable/*.proa_%s.json" % other)
    manifest, theirs = load(path), load(donor)
    manifest["uki"] = theirs["uki"]
    manifest["blobs"] = ([b for b in manifest["blobs"] if not b["role"].startswith("uki")] +
                         [b for b in theirs["blobs"] if b["role"] == "uki-full"])
    data = json.dumps(manifest, indent=1).encode()
    path.unlink()
    path.with_name("%s.proa_%s.json" % (hashlib.sha256(data).hexdigest(), version)).write_bytes(
        data)

    role = newest(dest, "stable")
    meta = load(role)
    describe(meta["signed"]["targets"]["stable/proa_%s.json" % version], data)
    data = signer.save(role, meta)
    path = newest(dest, "snapshot")
    meta = load(path)
    describe(meta["signed"]["meta"]["stable.json"], data)
    data = signer.save(path, meta)
    path = dest / "metadata/timestamp.json"
    meta = load(path)
    describe(meta["signed"]["meta"]["snapshot.json"], data)
    signer.save(path, meta)
