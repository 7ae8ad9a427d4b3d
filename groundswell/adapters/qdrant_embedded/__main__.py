"""`python -m groundswell.adapters.qdrant_embedded --path DIR`: the vector engine as a process, on loopback only."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import threading
from pathlib import Path

import msgspec
import uvicorn

from groundswell.adapters.qdrant_embedded.access import Access
from groundswell.adapters.qdrant_embedded.collection import SEAL_AT
from groundswell.adapters.qdrant_embedded.engine import Engine
from groundswell.adapters.qdrant_embedded.process import API_KEY_VARIABLE
from groundswell.adapters.qdrant_embedded.server import App
from groundswell.errors import GroundswellError, VectorIndexUnavailable

LOOPBACK = "127.0.0.1"
UNFINISHED_REQUESTS_S = 5
MAX_CONNECTIONS = 128
"""Open at a time; one more is answered with 503. The platform's own client opens sixteen."""
IDLE_CONNECTION_S = 5
"""As a Qdrant server closes them."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="groundswell.adapters.qdrant_embedded", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="the data directory")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 lets the system choose")
    parser.add_argument("--seal-at", type=int, default=SEAL_AT, help="points a shard takes before it is indexed")
    parser.add_argument("--strict", action="store_true", help="refuse filters on fields without an index")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input closes")
    arguments = parser.parse_args()
    try:
        return asyncio.run(_serve(arguments))
    except GroundswellError as error:
        _tell({"failed": error.detail})
        return error.exit_code


async def _serve(arguments: argparse.Namespace) -> int:
    path, port, strict = arguments.path, arguments.port, arguments.strict
    # Taken out of the environment: the processes that this one starts have no use for it.
    api_key = os.environ.pop(API_KEY_VARIABLE, "")
    if not api_key:
        raise VectorIndexUnavailable(
            f"The vector engine has no API key, so that every user of this machine could read and change it. "
            f"Set {API_KEY_VARIABLE} to a random text."
        )
    # Named TCP, or asyncio leaves Nagle's algorithm on: an answer of two writes would wait 40 ms for the client.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise VectorIndexUnavailable(
            f"The vector engine cannot listen on {LOOPBACK}:{port} ({error.strerror}). Choose another port."
        ) from error
    engine = Engine(path, seal_at=arguments.seal_at)
    host, bound = listener.getsockname()
    try:
        server = uvicorn.Server(
            uvicorn.Config(
                App(engine, access=Access(api_key=api_key, host=f"{host}:{bound}"), strict=strict),
                log_level="warning",
                access_log=False,
                lifespan="off",
                ws="none",
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=UNFINISHED_REQUESTS_S,
                timeout_keep_alive=IDLE_CONNECTION_S,
            )
        )
        if arguments.with_parent:
            threading.Thread(target=_await_parent, args=(server,), daemon=True).start()
        work = asyncio.create_task(engine.work())
        # Work that fails has met a damaged store: stop loudly, and let the supervisor start again from the disk.
        work.add_done_callback(lambda _: setattr(server, "should_exit", True))
        _tell({"url": f"http://{host}:{bound}"})
        await server.serve(sockets=[listener])
        work.cancel()
        outcome = (await asyncio.gather(work, return_exceptions=True))[0]
        if isinstance(outcome, Exception):
            raise outcome
    finally:
        engine.close()
    return 0


def _await_parent(server: uvicorn.Server) -> None:
    """Standard input is a pipe that closes with the parent, however that ends, on every platform."""
    while os.read(sys.stdin.fileno(), 4_096):
        pass
    server.should_exit = True


def _tell(message: dict[str, str]) -> None:
    """One JSON line for the supervisor."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
