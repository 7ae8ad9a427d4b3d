"""`python -m bench [NAME …]`: every benchmark, or those named, one after the other, each in a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHES = (
    "startup",
    "api",
    "pressure",
    "loop_lag",
    "embeddings",
    "vectors",
    "capacity",
    "wal",
    "search",
    "ingest",
    "spool",
    "broadcast",
    "functions",
    "cold_start",
    "momentum",
    "tick",
    "drills",
    "soak",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, print tables, write bench/results/.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)}; all of them by default")
    names = parser.parse_args().names or BENCHES
    unknown = sorted(set(names) - set(BENCHES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}: choose from {', '.join(BENCHES)}")
    return max(subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main())
