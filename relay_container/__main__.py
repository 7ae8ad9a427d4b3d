"""`python -m relay_container`: what the image runs; with `--check`, what its health check runs.

SIGTERM drains: what was read is committed within the 30 seconds that Fargate leaves, and the time away is a gap.
"""

from __future__ import annotations

import sys
from pathlib import Path

from groundswell.commands import console, services
from groundswell.settings import read_environment


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        from groundswell.wiring.chores import turns

        heartbeat = read_environment().get("GROUNDSWELL_HEARTBEAT_FILE", "")
        return 0 if heartbeat and turns(Path(heartbeat)) else 1
    return console.exit_code_of(services.relay)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
