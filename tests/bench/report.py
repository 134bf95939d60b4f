# SPDX-License-Identifier: Apache-2.0
"""Tables and a plot of samples."""
import datetime
import html
import os
import platform
import statistics
import subprocess

from lab import TOP

TITLES = {
    "proa-delta": "Proa, delta", "proa-anybase": "Proa, any base", "proa-full": "Proa, empty disk",
    "proa-resume": "Proa, cut at 50 %, resumed", "naive": "curl, zstd -d, dd", "casync": "casync",
    "zchunk": "zchunk", "swupdate-raw": "SWUpdate, raw", "swupdate-delta": "SWUpdate, delta",
    "rauc": "RAUC, plain", "xdelta3": "xdelta3", "zstd-patch": "zstd --patch-from",
}
# what to reach: text, pairs, our tool and figure, the other's, at most
GOALS = (
    ("delta bytes (/usr) / xdelta3 bytes", "proa-delta", "usr", "xdelta3", "fetched",
     {"kernel": 0.70, "userland": 0.70}),
    ("any-base bytes (/usr) / casync bytes", "proa-anybase", "usr", "casync", "fetched",
     {"kernel": 0.85, "userland": 0.60}),
    ("CPU / CPU of curl, zstd -d, dd", "proa-delta", "cpu_s", "naive", "cpu_s",
     {"kernel": 0.7, "userland": 0.6}),
    ("CPU / CPU of casync", "proa-delta", "cpu_s", "casync", "cpu_s",
     {"kernel": 0.2, "userland": 0.2}),
    ("bytes written / image", "proa-delta", "written", None, "image",
     {"kernel": 0.75, "userland": 0.75}),
    ("resume at 50 %: bytes in all / uncut", "proa-resume", "fetched", "proa-delta", "fetched",
     {"kernel": 1.05, "userland": 1.05}),
)
RSS_MAX_KIB = 40 * 1024


def median(samples, key):
    values = [s[key] for s in samples if s.get(key) is not None]
    return statistics.median(values) if values else None


def medians(samples):
    return {key: median(samples, key) for key in
            ("fetched", "requests", "cpu_s", "rss_kib", "written", "wall_s", "usr")}


def mb(n):
    return "-" if n is None else f"{n / 1e6:.2f}"


def commit():
    """What was built: a commit, and whether the tree had changes beside it."""
    def git(*args):
        return subprocess.run(["git", "-C", str(TOP), *args], text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()
    dirty = git("status", "--porcelain", "--untracked-files=no")
    return f"commit {git('rev-parse', '--short', 'HEAD') or 'unknown'}{' with changes' * bool(dirty)}"


def heading(args):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                if line.startswith("model name")), platform.machine())
    return (f"{datetime.datetime.now(datetime.timezone.utc):%d %b %Y %H:%M UTC}, {cpu}, "
            f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, {commit()}, load "
            f"{os.getloadavg()[2]:.1f} (15 min); medians of {args.runs}, zstd level {args.level}.")


def pair_table(name, image, rows):
    out = [f"Pair `{name}`, image {mb(image)} MB:", "",
           "| | fetched MB | requests | CPU s | peak RSS MiB* | written MB | wall s |",
           "|---|---|---|---|---|---|---|"]
    for tool, m in rows.items():
        out.append(f"| {TITLES[tool]} | {mb(m['fetched'])} | {m['requests']:.0f} | "
                   f"{m['cpu_s']:.2f} | {m['rss_kib'] / 1024:.1f} | {mb(m['written'])} | "
                   f"{m['wall_s']:.1f} |")
    return "\n".join(out)


def goal_lines(name, image, rows):
    """(text, value, limit) of every goal whose tools were run."""
    for text, ours, key, theirs, other, limits in GOALS:
        if ours not in rows or (theirs and theirs not in rows) or name not in limits:
            continue
        whole = rows[theirs][other] if theirs else image
        if whole:
            yield text, rows[ours][key] / whole, limits[name]
    for ours in ("proa-delta", "proa-anybase", "proa-full"):
        if ours in rows:
            yield (f"peak RSS of proad and proa-fetch, MiB ({TITLES[ours]})",
                   rows[ours]["rss_kib"] / 1024, RSS_MAX_KIB / 1024)


def goals_table(pairs):
    out = ["| to reach | pair | is | at most | |", "|---|---|---|---|---|"]
    for name, (image, rows) in pairs.items():
        for text, value, limit in goal_lines(name, image, rows):
            shown = f"{value:.3f}" if limit < 10 else f"{value:.1f}"
            out.append(f"| {text} | {name} | {shown} | {limit:g} | "
                       f"{'ok' if value <= limit else 'MISSED'} |")
    return "\n".join(out)


def growth_table(rows):
    out = ["How cost grows with the image, the change being the same:", "",
           "| image MB | delta: fetched MB | CPU s | any base: fetched MB | CPU s | "
           "full: fetched MB | CPU s | CPU s per GB (delta) |", "|---|---|---|---|---|---|---|---|"]
    for image, r in rows:
        out.append(f"| {mb(image)} | " + " | ".join(
            f"{mb(r[t]['fetched'])} | {r[t]['cpu_s']:.2f}" for t in
            ("proa-delta", "proa-anybase", "proa-full")) +
            f" | {r['proa-delta']['cpu_s'] / image * 1e9:.2f} |")
    return "\n".join(out)


def svg(pairs):
    """Bars of bytes fetched and of CPU, one panel a pair."""
    width, left, bar, gap = 860, 200, 12, 6
    out, y = [], 20
    for name, (image, rows) in pairs.items():
        out.append(f'<text x="10" y="{y}" class="h">{html.escape(name)}: image '
                   f'{mb(image)} MB</text>')
        y += 12
        most = {k: max(m[k] for m in rows.values()) or 1 for k in ("fetched", "cpu_s")}
        for tool, m in rows.items():
            out.append(f'<text x="10" y="{y + bar + 2}">{html.escape(TITLES[tool])}</text>')
            for i, (key, text) in enumerate((("fetched", f"{mb(m['fetched'])} MB"),
                                             ("cpu_s", f"{m['cpu_s']:.2f} s CPU"))):
                w = max(1, round(m[key] / most[key] * (width - left - 120)))
                out.append(f'<rect x="{left}" y="{y + i * bar}" width="{w}" height="{bar - 2}" '
                           f'class="k{i}"/><text x="{left + w + 4}" y="{y + i * bar + 9}" '
                           f'class="v">{text}</text>')
            y += 2 * bar + gap
        y += 24
    style = ("text{font:12px sans-serif;fill:#333}.h{font-weight:bold}.v{font-size:10px}"
             ".k0{fill:#2a6f97}.k1{fill:#e09f3e}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}">'
            f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
            + "".join(out) + "</svg>\n")
