#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The house rules a compiler cannot see. Run from the repository root.

 1. No #include climbs the stairs: a room looks only into the rooms STAIRS gives it, whatever is in
    tests/ may look everywhere, and nothing looks into tests/.
 2. Headers form no ring.
 3. Only base/ makes error numbers: elsewhere `return err_set(...)`, never `return -EINVAL`, so that
    every failure carries a kind and a sentence.
 4. Only mains and the loop log; rooms return what went wrong. Programs print, rooms do not.
 5. A library has one door: its headers are included where LIBRARIES says and nowhere else.
 6. What is durable goes through struct sys (base/sys.h), so that the crash simulator sees it: raw
    open, write, rename, unlink, fsync and their like stand in base/sys_linux.c and in the few
    places of RAW_STORAGE, which either keep nothing or are not run by proad.
 7. Not in the language here: goto (cleanup attributes do it), shells (system, popen: argv and
    spawn_run instead), unbounded or silent string functions (strcpy, strcat, sprintf, strtok, atoi),
    alloca; outside tests. Comments are /* */.
 8. Every source says its licence in its first three lines.
 9. `struct err *e` may be NULL: who needs to know what went wrong reads an error of its own.
"""
import pathlib
import re
import sys

# room -> rooms it may look into (besides itself)
STAIRS = {
    "base":            set(),
    "verity":          {"base"},
    "bootctl":         {"base"},
    "ignition-lite":   {"base"},
    "updater/tuf":     {"base"},
    "updater/release": {"base"},
    "updater/image":   {"base", "verity"},
    "updater/slot":    {"base", "verity"},
    "updater/record":  {"base"},
    "updater/lock":    {"base"},
    "updater/wire":    {"base"},
    "updater/hook":    {"base"},
    "updater/fetch":   {"base", "updater/wire"},
    "updater/metrics": {"base"},
    "updater/agent":   {"base", "verity", "bootctl", "updater/tuf", "updater/release", "updater/image",
                        "updater/slot", "updater/record", "updater/lock", "updater/wire", "updater/hook",
                        "updater/metrics"},
    "updater/health":  {"base", "bootctl", "updater/record"},
    "updater/audit":   {"base", "verity", "bootctl", "updater/tuf", "updater/release", "updater/record",
                        "updater/slot"},
    "updater/cli":     {"base"},
    "publisher":       {"base", "verity", "bootctl", "updater/tuf", "updater/release", "updater/image"},
}

# header -> rooms or files that may include it
LIBRARIES = {
    r"jansson":                {"base/json.h"},
    r"libeconf":               {"base/conf.c"},
    r"systemd/sd-journal":     {"base/log.c"},
    r"systemd/sd-(bus|event)": {"updater/agent", "updater/cli"},
    r"systemd/sd-daemon":      {"updater/agent", "updater/cli", "updater/fetch", "updater/health", "updater/hook"},
    r"openssl/":               {"base", "bootctl", "updater/tuf", "updater/audit", "publisher"},
    r"blkid/":                 {"updater/slot"},
    r"libfdisk":               {"updater/slot"},
    # the initrd has no proad and no proa-fetch: ignition-lite fetches for itself, in this file
    r"curl/":                  {"updater/fetch", "ignition-lite/http.c"},
    r"zlib":                   {"ignition-lite/gunzip.c"},
    r"zstd":                   {"updater/image"},
    r"libcryptsetup":          {"verity"},
    r"tss2/":                  {"updater/audit/tpm.c"},
    r"seccomp":                {"updater/fetch", "updater/agent"},
}

RAW_STORAGE = {"base/sys_linux.c", "base/spawn.c", "base/log.c", "updater/fetch", "publisher", "ignition-lite"}
STORAGE = re.compile(r"(?<![\w.>])(open|openat|openat2|open64|creat|fopen|freopen|write|pwrite|pwritev|writev|rename|"
                     r"renameat|renameat2|unlink|unlinkat|remove|rmdir|link|linkat|symlink|symlinkat|mkdir|mkdirat|"
                     r"mknod|truncate|ftruncate|fallocate|posix_fallocate|fsync|fdatasync|syncfs|sync_file_range|"
                     r"copy_file_range|sendfile)\s*\(")
BANNED = re.compile(r"(?<![\w.>])(system|popen|strcpy|stpcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|"
                    r"alloca)\s*\(")
GOTO = re.compile(r"\bgoto\b")
PRINT = re.compile(r"(?<![\w.>])(printf|vprintf|puts|putchar|perror|warn|warnx|err|errx)\s*\(|\bstderr\b|\bstdout\b")
BARE_ERRNO = re.compile(r"return\s+-\s*(E[A-Z0-9]+|errno)\b")
ERR_GIVEN = re.compile(r"(?<!const )struct err \*e\b")
ERR_READ = re.compile(r"(?<!sizeof\()\be->(os|kind|text)\b")
ERR_THERE = re.compile(r"!e\b|\be (&&|\?)")
# functions of one caller, which gives them an error of its own
ERR_OWN = {"updater/agent/locker.c", "updater/fetch/transfer.c"}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
LIBRARY = re.compile(r"^\s*#\s*include\s*<([^>]+)>", re.M)
# called back by a library that wants an errno, not by us
CALLED_BACK = {"updater/slot/edit.c"}
MAY_LOG = re.compile(r"(^base/log\.|/main\.c$|/loop\.c$|^tests/)")
MAY_PRINT = re.compile(r"(^base/(log|progress)\.|/main\.c$|/loop\.c$|^tests/|^updater/cli/|^updater/fetch/get\.c$|"
                       r"^publisher/|^ignition-lite/)")
SPDX = "SPDX-License-Identifier: Apache-2.0"
SOURCES = {".c", ".h", ".py", ".sh", ".cmake"}

# comment, string or character constant, whichever begins first
TOKEN = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def bare(text):
    """C without comments and strings, line by line as it was; and whether a // comment stood there."""
    slashes = []

    def blank(m):
        t = m.group(0)
        if t.startswith("//"):
            slashes.append(text.count("\n", 0, m.start()) + 1)
        keep = '""' if t[0] in "\"'" else ""
        return keep + "\n" * t.count("\n")

    return TOKEN.sub(blank, text), slashes


def files():
    for top in sorted(pathlib.Path(".").iterdir()):
        if top.name.startswith(".git") or top.name.startswith("build"):
            continue
        for f in [top] if top.is_file() else sorted(top.rglob("*")):
            if f.is_file() and "__pycache__" not in f.parts:
                yield f


def room(path):
    parts = path.split("/")
    two = "/".join(parts[:2])
    return two if two in STAIRS else parts[0]


def allowed(src, places):
    return src in places or room(src) in places


def line_of(code, m):
    return code.count("\n", 0, m.start()) + 1


def check_err_read(src, code, bad):
    """A caller need not ask for the error (NULL): read your own, or what the function returned."""
    at = 0
    for part in code.split("\n}\n"):
        head, brace, body = part.partition("\n{\n")
        if ERR_GIVEN.search(head[head.rfind(";") + 1:]) and not ERR_THERE.search(body) and src not in ERR_OWN:
            bad += [f"{src}:{code.count(chr(10), 0, at + len(head + brace) + m.start()) + 1}: "
                    "e may be NULL; read an error of your own" for m in ERR_READ.finditer(body)]
        at += len(part) + 3


def check_words(src, text, bad):
    code, slashes = bare(text)
    bad += [f"{src}:{n}: comments are /* */" for n in slashes]
    rules = [(GOTO, "no goto; use a cleanup attribute")]
    if not src.startswith("tests/"):
        rules.append((BANNED, "{} is not used here"))
        if not allowed(src, RAW_STORAGE):
            rules.append((STORAGE, "{}() past struct sys"))
        if not src.startswith("base/") and src not in CALLED_BACK:
            rules.append((BARE_ERRNO, "bare errno return; use err_set()"))
            check_err_read(src, code, bad)
        if not MAY_PRINT.search(src):
            rules.append((PRINT, "a room does not print"))
    for rule, says in rules:
        for m in rule.finditer(code):
            bad.append(f"{src}:{line_of(code, m)}: " + says.format((m.groups() or ("",))[0]))


def check_libraries(src, text, bad):
    if src.startswith("tests/"):
        return
    for header in LIBRARY.findall(text):
        for pattern, places in LIBRARIES.items():
            if re.match(pattern, header) and not allowed(src, places):
                bad.append(f"{src}: <{header}> belongs to {', '.join(sorted(places))}")


def check_stairs(src, text, edges, bad):
    for inc in INCLUDE.findall(text):
        if inc == "base/log.h" and not MAY_LOG.search(src):
            bad.append(f"{src}: only mains and the loop log")
        edges.setdefault(src, []).append(inc)
        here, there = room(src), room(inc)
        if here == "tests" or here == there:
            continue
        if here not in STAIRS:
            bad.append(f"{src}: no such room '{here}'")
        elif there not in STAIRS[here]:
            bad.append(f'{src}: "{inc}": {here} may not look into {there}')


def check_rings(edges, bad):
    state = {}

    def walk(node, trail):
        if state.get(node) == "done":
            return
        if node in trail:
            bad.append("ring: " + " -> ".join(trail[trail.index(node):] + [node]))
            return
        for nxt in edges.get(node, []):
            walk(nxt, trail + [node])
        state[node] = "done"

    for node in list(edges):
        walk(node, [])


def main():
    bad, edges, seen = [], {}, 0
    for f in files():
        src = f.as_posix()
        if f.suffix not in SOURCES and f.name != "CMakeLists.txt":
            continue
        text = f.read_text(encoding="utf-8")
        seen += 1
        if SPDX not in "".join(text.splitlines(True)[:3]):
            bad.append(f"{src}: no '{SPDX}' in its first lines")
        if f.suffix in {".c", ".h"}:
            check_stairs(src, text, edges, bad)
            check_libraries(src, text, bad)
            check_words(src, text, bad)
    check_rings(edges, bad)
    print("\n".join(bad) or f"{seen} files, no arrow climbs")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
