"""The API does what its OpenAPI document says, for requests that schemathesis makes up.

Bounded and seeded, so that it asks the same on every machine. For a longer hunt run
`schemathesis run http://localhost:8000/openapi.json`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import schemathesis
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.api.app import create_app
from groundswell.adapters.postgres_pool import open_pool
from tests.api_world import VERSION, fill, parts
from tests.roles import as_role, keys_of

T = TypeVar("T")

EXAMPLES = 5
"""Made up for each operation, besides the systematic ones."""


class OnItsLoop:
    """ASGI: brings every request to the event loop that the database pool lives on, whichever loop it comes from."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = asyncio.get_running_loop()

        def back(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def called(*args: Any) -> Any:
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_await(function(*args)), here))

            return called

        if scope["type"] != "lifespan":
            work = self._app(scope, back(receive), back(send))
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_await(work), self._loop))


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


@pytest.fixture
def api_schema(database_url: str) -> Iterator[Any]:
    """The document of the API over a filled database, with a key for the writing routes."""
    fill(database_url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    pool = there(
        open_pool(as_role(database_url, "api"), size=4, wait_s=10, statement_timeout_s=10, application_name="test")
    )
    try:
        services, _ = parts(pool)
        app = OnItsLoop(
            create_app(services, version=VERSION, rate_limit_per_minute=0, allowed_hosts=["testserver"]), loop
        )
        yield schemathesis.openapi.from_asgi("/openapi.json", app, config=_config(there(_key(database_url))))
    finally:
        there(pool.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _key(url: str) -> str:
    async with keys_of(url) as keys:
        return await keys.create("schemathesis")


def _config(key: str) -> schemathesis.Config:
    return schemathesis.Config.from_dict(
        {
            "seed": 7,
            "headers": {"Authorization": f"Bearer {key}"},
            "continue-on-failure": True,
            "suppress-health-check": ["all"],
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
            "phases": {"stateful": {"enabled": False}},
            # Parameters that are right each by itself may ask together for what cannot be: an end before its beginning.
            "operations": [
                {
                    "include-path-regex": "^/v1/momentum",
                    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 304, 400, 404, "5xx"]}},
                }
            ],
        }
    )


@pytest.mark.slow
def test_no_request_finds_the_api_at_odds_with_its_document(api_schema: Any) -> None:
    problems: list[str] = []
    cases = 0
    for event in from_schema(api_schema).execute():
        if isinstance(event, NonFatalError | FatalError):
            problems.append(str(event))
        elif isinstance(event, ScenarioFinished):
            cases += len(event.recorder.cases)
            for case_id, checks in event.recorder.checks.items():
                case = event.recorder.cases[case_id].value
                problems += [
                    f"{case.method} {case.formatted_path} {case.query}: {check.failure_info.failure}"
                    for check in checks
                    if check.failure_info is not None
                ]
    assert problems == []
    assert cases > 500
