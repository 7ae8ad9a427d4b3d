"""The API as Lambda functions: one set of parts for each process, made as it starts.

A function handles one event at a time and is frozen in between, so its pool is small and its connections are looked at
before they are used.
"""

from __future__ import annotations

import logging
from functools import cache

from starlette.types import ASGIApp

from functions.api.host_rules import HostRules
from groundswell import __version__, settings
from groundswell.adapters.apigateway.management import ConnectionsApi
from groundswell.adapters.postgres_connections import PostgresConnections
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.system_clock import SystemClock
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.observability import configure_logging
from groundswell.services.remote_sockets import RemoteSockets
from groundswell.settings_model import ApiSettings
from groundswell.wiring.api import application
from groundswell.wiring.function_runtime import runtime
from groundswell.wiring.maintenance import open_archive
from groundswell.wiring.parts import database_pool, search_models

log = logging.getLogger(__name__)


@cache
def _api_settings() -> ApiSettings:
    """Raises ConfigError with every problem at once."""
    chosen = settings.load(ApiSettings)
    configure_logging(level=chosen.log_level, style="json")
    return chosen


@cache
def _api_pool() -> Pool:
    chosen, here = _api_settings(), runtime()
    size = chosen.database_pool_size
    return here.run(database_pool(here.stack, chosen, chosen.database_url.reveal(), size=size, name="api function"))


def warm_up() -> None:
    """Connect to the database, as the first event would have to. Without it, that event finds out and says so."""

    async def connect() -> None:
        async with connection(_api_pool()) as conn:
            await conn.execute("SELECT 1")

    try:
        runtime().run(connect())
    except StoreUnavailable as error:
        log.warning("started without the database: %s", error)


@cache
def http_application() -> ASGIApp:
    """The API over this process's pool. The schema is judged by `/readyz`, not waited for: a request has no time.

    Raises:
        ConfigError: the environment cannot work.
    """
    chosen, here = _api_settings(), runtime()
    models = here.run(search_models(here.stack, chosen, qdrant_url=chosen.qdrant_url, prepared=False))
    archive = open_archive(chosen.archive, chosen.data_dir, embedded=False)
    # API Gateway answers under its own names alone.
    return application(chosen, _api_pool(), models, None, Metrics(), archive=archive, allowed_hosts=("*",))


@cache
def host_rules() -> HostRules:
    """Return which pages may open the WebSocket: the page of this deployment, and those that CORS names."""
    chosen = _api_settings()
    return HostRules(
        public_urls=(chosen.public_api_url or "", chosen.public_ws_url or ""), cors_origins=chosen.cors_origins
    )


@cache
def remote_sockets() -> RemoteSockets:
    """What WebSocket events are handed to.

    Raises:
        ConfigError: the environment cannot work, or does not say where to post to clients.
    """
    chosen, here = _api_settings(), runtime()
    if chosen.ws_endpoint is None:
        raise settings.ConfigError(
            [
                "GROUNDSWELL_WS_ENDPOINT: is not set, and WebSocket events cannot be answered without it. Set it to "
                "https://{api}.execute-api.{region}.amazonaws.com/{stage}."
            ]
        )
    pool = _api_pool()
    sender = here.run(here.stack.enter_async_context(ConnectionsApi(chosen.ws_endpoint)))
    return RemoteSockets(
        PostgresConnections(pool),
        sender,
        PostgresReads(pool),
        PostgresKeys(pool),
        SystemClock(),
        version=__version__,
        heartbeat_s=chosen.ws_heartbeat_s,
        token_required=chosen.ws_token_required == "yes",  # noqa: S105 -- a choice, not a token
    )
