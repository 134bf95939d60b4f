# SPDX-License-Identifier: Apache-2.0
"""docs/operating.md shows what hosts really print: each scenario compares its own part.

A part is a fenced block behind the line <!-- situation: NAME -->. Times, sizes, hashes and where
lines are folded do not count. PROA_VM_WRITE=1 writes the parts anew instead of comparing.
"""
import fcntl
import os
import re

import image

PAGE = image.PROJECT / "docs/operating.md"


def block(name):
    return re.compile(r"(<!-- situation: %s -->\n```\n)(.*?)(\n```\n)" % re.escape(name), re.S)


def named(text):
    """A host of the tests as one of an operator."""
    text = re.sub(r"http://10\.0\.2\.2:\d+", "https://updates.example.com", text)
    text = re.sub(r"\b10\.0\.2\.2 port \d+", "updates.example.com port 443", text)
    return re.sub(r"\bproa-vm\b", "web-17", text)


def same(text):
    """Without what differs from run to run; where lines are folded first, as times are folded too."""
    text = " ".join(text.split())
    text = re.sub(r"\b\d{1,2} [A-Z][a-z]{2}( \d{4})? \d\d:\d\d(:\d\d)?( [+-]\d{4}\b)?", "TIME", text)
    text = re.sub(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b", "TIME", text)
    text = re.sub(r"\b[0-9a-f]{8,64}\b", "HASH", text)
    text = re.sub(r"\bpid \d+", "pid PID", text)
    text = re.sub(r"\d+ (ms|s|min|h|d|days?)\b( \d+ (s|min|h|d|days?)\b)*", "SPAN", text)
    return re.sub(r"\d[\d.,]*( ?(MB|kB|bytes|B)\b| ?%)", "SIZE", text)


def compare(name, out):
    """None, or what is wrong with that part of the page."""
    out = named(out)
    if os.environ.get("PROA_VM_WRITE"):
        with open(PAGE, "r+", encoding="utf-8") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            text = f.read()
            if not block(name).search(text):
                text += "\n<!-- situation: %s -->\n```\n\n```\n" % name
            text = block(name).sub(lambda m: m[1] + out + m[3], text)
            f.seek(0)
            f.write(text)
            f.truncate()
        return None
    found = block(name).search(PAGE.read_text())
    if not found:
        return "docs/operating.md has no situation %s" % name
    if same(found[2]) != same(out):
        return "docs/operating.md shows\n%s\nbut a host prints\n%s\n(PROA_VM_WRITE=1 tests/vm/run " \
            "writes it anew)" % (found[2], out)
    return None
