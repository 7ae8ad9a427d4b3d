"""`python -m relay_container.check`: the health check of the image. Exits with 0 if its process works, else with 1.

Without arguments it looks at the age of the heartbeat file; with a port it asks the API there for `/healthz`. It runs
every 30 seconds beside the relay, on a share of a CPU: so it imports nothing but what is below.
"""

import os
import sys
import time

STALE_AFTER_S = 60.0
"""The relay touches the file six times as often."""
ANSWER_LIMIT_S = 5.0


def is_fresh(heartbeat: str) -> bool:
    """Whether the file was touched within `STALE_AFTER_S`."""
    try:
        return time.time() - os.stat(heartbeat).st_mtime < STALE_AFTER_S  # noqa: PTH116 -- pathlib costs more than all else
    except OSError:
        return False


def answers(port: int) -> bool:
    """Whether the API on this port answers `/healthz` with 200."""
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            status = connection.makefile("rb").readline(100).split()
    except OSError:
        return False
    return status[1:2] == [b"200"]


def main(arguments: list[str]) -> int:
    if arguments:
        return 0 if answers(int(arguments[0])) else 1
    return 0 if is_fresh(os.environ.get("GROUNDSWELL_HEARTBEAT_FILE", "")) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
