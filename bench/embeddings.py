"""How fast the static model embeds, what a process with it weighs, and how long the API takes to import.

    python -m bench.embeddings [--texts FILE]

Each figure comes from a process of its own. Speeds are per second of processor time of one core, texts in the chunks in
which the indexer hands them over; FILE has one text a line; without one, posts that differ by a number are used. The
API is imported as it is wired, for `groundswell api` and for the function; its time is told by package too, where the
interpreter's own book-keeping makes everything slower by a half.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import cast

from bench.report import publish

GOAL_POSTS_S = 15_000
GOAL_IMPORT_S = 1.0
GOAL_RSS_MB = 150
TEXTS = Path("../shared/data/tweets-sample.txt")

EMBED = """
import json, resource, sys, time
from pathlib import Path
from groundswell.adapters.static_model import StaticModel
from groundswell.services.indexer import CHUNK_POSTS
texts = json.load(sys.stdin)
started = time.perf_counter()
model = StaticModel()
model.embed(texts[:64])
loaded = time.perf_counter() - started
speeds = []
for _ in range(5):
    cpu = time.process_time()
    for start in range(0, len(texts), CHUNK_POSTS):
        model.embed(texts[start : start + CHUNK_POSTS])
    speeds.append(len(texts) / (time.process_time() - cpu))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
rss, own = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
print(json.dumps({"posts_per_cpu_s": sorted(speeds)[2], "load_s": loaded, "rss_mb": rss, "own_mb": own}))
"""
IMPORT = """
import json, sys, time
wall, cpu = time.perf_counter(), time.process_time()
import MODULE
print(json.dumps({"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}))
"""
IMPORTED = {"groundswell api": "groundswell.wiring.api", "the API's function": "functions.api.handler"}
REPEATS = 5
PACKAGES_SHOWN = 5


def measured(code: str, given: object = None) -> dict[str, object]:
    # On one core: BLAS and the tokenizer would take all of them.
    command = [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})\n{code}"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def imported(module: str) -> dict[str, object]:
    """The quickest of several, since what else runs only adds; and the seconds of each package, the longest first."""
    found = [measured(IMPORT.replace("MODULE", module)) for _ in range(REPEATS)]
    quickest = min(found, key=lambda one: float(str(one["s"])))
    return {**quickest, "packages": by_package(module)}


def by_package(module: str) -> dict[str, float]:
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    taken: Counter[str] = Counter()
    for line in lines:
        fields = line.removeprefix("import time:").split("|")
        if len(fields) == 3 and fields[0].strip().isdigit():
            taken[fields[2].strip().partition(".")[0]] += int(fields[0])
    return {package: micros / 1e6 for package, micros in taken.most_common()}


def rows_of(name: str, found: dict[str, object]) -> list[tuple[str, str, str]]:
    packages = cast("dict[str, float]", found["packages"])
    longest = [f"{package} {seconds:.2f}" for package, seconds in list(packages.items())[:PACKAGES_SHOWN]]
    return [
        (f"import of {name}, s", f"{found['s']:.2f}", f"< {GOAL_IMPORT_S:g}"),
        ("  of processor time, s", f"{found['cpu_s']:.2f}", ""),
        ("  by package", ", ".join(longest), ""),
    ]


def texts_of(path: Path) -> list[str]:
    if path.exists():
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [
        f"post number {n}: markets rally on rate cut hopes, says someone at example.com #news" for n in range(4_000)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, default=TEXTS)
    texts = texts_of(parser.parse_args().texts)
    static = measured(EMBED, texts)
    imports = {name: imported(module) for name, module in IMPORTED.items()}
    publish(
        "embeddings",
        f"The static model on one core, {len(texts):,} texts of {sum(map(len, texts)) / len(texts):.0f} characters",
        [
            ("posts a second of CPU", f"{static['posts_per_cpu_s']:,.0f}", f"> {GOAL_POSTS_S:,}"),
            ("loaded and first used, s", f"{static['load_s']:.2f}", ""),
            ("memory of the process, MB", f"{static['rss_mb']:.0f}", f"< {GOAL_RSS_MB}"),
            ("  of that its own, MB", f"{static['own_mb']:.0f}", ""),
            *(row for name, found in imports.items() for row in rows_of(name, found)),
        ],
        {**static, "imports": imports},
    )


if __name__ == "__main__":
    main()
