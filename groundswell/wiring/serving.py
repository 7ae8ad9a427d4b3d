"""Serving an ASGI application until told to stop, inside an event loop that is not uvicorn's own."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import cast

from starlette.types import ASGIApp

from groundswell.errors import ConfigError

WS_MAX_BYTES = 32 * 1024
"""A client frame beyond this closes its socket with 1009. Ours are small: subscriptions and pings."""
STOP_GRACE_S = 5


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Port 0 lets the system choose.

    Raises:
        ConfigError: the address is taken or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, or asyncio leaves Nagle's delay on: 40 ms for many an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            [f"GROUNDSWELL_API_PORT: {host}:{port} cannot be listened on: {error.strerror}. Choose another port."]
        ) from error
    listener.listen(1024)
    return listener


def load_early() -> None:
    """Load what the first search and the first look into the past would load in the event loop, for 0.2 s and more."""
    from groundswell.core.queries import parse_query

    import_module("numpy.ma")  # numpy.unique loads it at its first call
    parse_query("a")  # its patterns are compiled


async def serve(app: ASGIApp, listener: socket.socket, stop: asyncio.Event, *, ready: Callable[[], None]) -> None:
    """Answer requests on `listener` until `stop`; requests in hand get a moment to finish."""
    from groundswell.adapters.bounded_http import BoundedHttp, BoundedWebSocket
    from groundswell.adapters.intake import Intake
    from groundswell.wiring.web_server import Config, Server  # a function serves nothing, and starts without it

    await asyncio.to_thread(load_early)

    def begin() -> None:
        # What is there now stays, so that no collection of garbage goes through it again: that would take 100 ms.
        gc.collect()
        gc.freeze()
        ready()

    intake = Intake(asyncio.get_running_loop())
    config = Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,  # the application decides whom to believe
        ws_max_size=WS_MAX_BYTES,
        http=cast("type[asyncio.Protocol]", partial(BoundedHttp, intake=intake)),
        ws=cast("type[asyncio.Protocol]", partial(BoundedWebSocket, intake=intake)),
        ws_per_message_deflate=False,  # frames are small and many: compressing each for each client costs more
        timeout_graceful_shutdown=STOP_GRACE_S,
    )
    server = Server(config, begin)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        stopping.cancel()
        await serving
