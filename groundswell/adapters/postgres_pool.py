"""The one way to reach Postgres: a bounded pool, and a connection whose failures have names.

A pool has a size, a limit on how long a caller waits for a connection, and a statement timeout that the
server enforces. Every adapter borrows through `connection`, so that "exhausted", "unreachable" and "took too
long" are told apart once, here, and not in every query.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from groundswell.adapters.postgres.session import CLIENT_ENCODING, SESSION_OPTIONS
from groundswell.adapters.postgres_address import DatabaseAddress
from groundswell.errors import QueryTimeout, StoreUnavailable
from groundswell.ports.time_budget import current_budget

Connection: TypeAlias = AsyncConnection[TupleRow]


class Pool(AsyncConnectionPool[Connection]):
    """A pool that also knows how long a transaction may take in all; see `open_pool`."""

    statement_timeout_s: float
    answer_limit_s: float
    request_limit_s: float
    """How long all transactions of one request may take together, waiting for their connections included."""
    variables: str
    """How the settings of its size and of its time limit begin, for whoever is told that one was reached."""
    address: DatabaseAddress
    returned_at: WeakKeyDictionary[Connection, float]
    """When each open connection was last given back, by the loop's clock."""

    def forget_who_gave_up(self) -> None:
        """Take callers that have timed out, or were cancelled, out of the queue.

        The library leaves them there until a connection comes, and counts them as waiting: while the database is away
        the queue would grow with every request, and from `max_waiting` on keep out the very callers whose arrival makes
        the pool try to connect again.
        """
        while self._waiting and self._waiting[0].error is not None:
            self._waiting.popleft()


ANSWER_MARGIN_S = 1.0
"""What the far end gets beyond its statement timeout to say that it has cancelled a statement."""

FROZEN_S = 5.0
"""What a process that was held up gets beyond the limit of a transaction, before the server ends its session."""

SOON_S = 0.05
"""Where the server's own limit comes this much after a request's, it is left to the server."""

READING_S = 0.25
"""What is left to read an answer after its time has passed."""

RECONNECT_GIVE_UP_S = 5.0
"""How long the pool retries a lost connection unasked; after that, the next caller starts a new attempt."""

IDLE_CLOSE_S = 300.0
FRESH_S = 1.0
"""A connection that answered so lately is not asked again whether it does: one round trip in two for a busy pool."""
LIFETIME_S = 1800.0
"""Connections are renewed this often, so that a failover or a rotated password is picked up."""

_UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.DataCorrupted,
    psycopg.errors.IndexCorrupted,
)


async def open_pool(
    url: str,
    *,
    size: int,
    wait_s: float,
    statement_timeout_s: float,
    application_name: str,
    answer_limit_s: float | None = None,
    max_waiting: int = 0,
    variables: str = "GROUNDSWELL_DATABASE",
    renew: Callable[[], str] | None = None,
) -> Pool:
    """Open a pool of at most `size` connections. Returns at once, even while Postgres is down.

    Sessions are in UTC, inside a transaction (autocommit off), and cancelled by the server after
    `statement_timeout_s`. A caller waits at most `wait_s` for a free connection. Close the pool with
    `await pool.close()`. Of callers that would have to wait, `max_waiting` do (0: any number); others are turned away.

    A request (`ports.time_budget`) may take as long for all that it asks as one statement may: its waiting and its
    earlier statements count, and the statement that is under way when that time is over is cancelled. It waits for at
    most half of what it has left.

    A server that has frozen keeps no timeout, and its kernel goes on to acknowledge what it is sent. So a transaction
    that has not ended after `answer_limit_s` (by default a second more than a statement may take) is hung up on. A
    process of ours that has frozen, or whose machine has vanished, in a transaction cannot hang up: the server ends its
    session, with its locks, `FROZEN_S` later.

    `renew` answers the URL as it is now, in a thread: it is asked when a connection fails (see `DatabaseAddress`).

    Raises:
        StoreUnavailable: `url` is not a connection string that Postgres understands.
    """
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise StoreUnavailable(
            f"The database URL cannot be read: {error}. Write it as postgresql://user:password@host:5432/name."
        ) from error
    answer_limit_s = answer_limit_s or statement_timeout_s + ANSWER_MARGIN_S
    options = (
        f"-c statement_timeout={math.ceil(statement_timeout_s * 1000)} {SESSION_OPTIONS}"
        f" -c idle_in_transaction_session_timeout={math.ceil((answer_limit_s + FROZEN_S) * 1000)}"
    )

    async def check(borrowed: Connection) -> None:
        since = asyncio.get_running_loop().time() - pool.returned_at.get(borrowed, float("-inf"))
        if since < FRESH_S and not _has_something_to_say(borrowed):
            return
        with _hung_up_after(borrowed, wait_s):
            await AsyncConnectionPool.check_connection(borrowed)

    address = DatabaseAddress(url, renew)
    pool = Pool(
        url,
        connection_class=_reached_by(address),
        kwargs={
            "application_name": application_name,
            "client_encoding": CLIENT_ENCODING,
            "options": f"{parameters.get('options') or ''} {options}".strip(),
            "connect_timeout": max(2, math.ceil(wait_s)),
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        },
        min_size=min(1, size),
        max_size=size,
        max_waiting=max_waiting,
        timeout=wait_s,
        check=check,
        max_idle=IDLE_CLOSE_S,
        max_lifetime=LIFETIME_S,
        reconnect_timeout=RECONNECT_GIVE_UP_S,
        name=application_name,
        open=False,
    )
    pool.variables = variables
    pool.address = address
    pool.returned_at = WeakKeyDictionary()
    pool.statement_timeout_s = statement_timeout_s
    pool.answer_limit_s = answer_limit_s
    pool.request_limit_s = max(statement_timeout_s, wait_s)
    await pool.open(wait=False)
    return pool


def _reached_by(address: DatabaseAddress) -> type[Connection]:
    """Connections that go where `address` says at the time."""

    class Reached(AsyncConnection[TupleRow]):
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            del conninfo  # as it was when the pool was opened
            return await address.connect(lambda url: super(Reached, cls).connect(url, **kwargs))

    return Reached


@asynccontextmanager
async def connection(pool: Pool) -> AsyncGenerator[Connection, None]:
    """Borrow a connection for one transaction: committed at the end of the block, rolled back if it raises.

    Raises:
        QueryTimeout: a statement ran past its time limit, or the request past its own, and was cancelled.
        StoreUnavailable: no connection came free in time, Postgres cannot be reached, or it went away.
    """
    loop = asyncio.get_running_loop()
    began, budget = loop.time(), current_budget()
    allowed_s = math.inf if budget is None else min(pool.request_limit_s, budget.limit_s)
    left_s = allowed_s if budget is None else allowed_s - budget.spent_s
    if left_s <= 0:
        # What has a shorter limit of its own is no question that could be narrowed.
        hint = _narrow(pool) if allowed_s == pool.request_limit_s else "Look at what keeps the database busy."
        raise QueryTimeout(
            f"This request has taken the database for the {allowed_s:g} s that it may take in all. {hint}"
        )
    patience_s = min(pool.timeout, left_s / 2)  # who waits longer has too little left for what it waited for
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    cancelled_before = task.cancelling()
    try:
        pool.forget_who_gave_up()
        borrowed = await pool.getconn(patience_s)
        try:
            if task.cancelling() > cancelled_before:
                # The connection came in the very moment in which its taker was cancelled. On Python 3.11 the library's
                # `wait_for` then answers with the connection alone, and whoever cancelled would wait for ever.
                raise asyncio.CancelledError
            left_s -= loop.time() - began
            with _hung_up_after(borrowed, min(pool.answer_limit_s, max(left_s, 0.0) + ANSWER_MARGIN_S)):
                limit_s = left_s if left_s < pool.statement_timeout_s - SOON_S else math.inf
                async with _cancelled_after(borrowed, limit_s), borrowed:  # commits or rolls back, and stays open
                    yield borrowed
                pool.returned_at[borrowed] = asyncio.get_running_loop().time()
        finally:
            await pool.putconn(borrowed)
    except PoolTimeout as error:
        raise StoreUnavailable(_no_connection(pool, patience_s)) from error
    except TooManyRequests as error:
        raise StoreUnavailable(
            f"{pool.max_waiting} requests wait for a database connection already, and {_held(pool)}"
        ) from error
    except PoolClosed as error:
        raise StoreUnavailable(f"The database pool takes no more work: {error}.") from error
    except psycopg.errors.QueryCanceled as error:
        raise QueryTimeout(
            f"A statement ran past its time limit and was cancelled; nothing was changed. {_narrow(pool)}"
        ) from error
    except _UNAVAILABLE as error:
        raise StoreUnavailable(
            f"The database connection failed: {_first_line(error)}. Nothing of this transaction was stored; "
            "it can be repeated once the database answers."
        ) from error
    finally:
        if budget is not None:
            budget.spent_s += loop.time() - began


@asynccontextmanager
async def reading(pool: Pool) -> AsyncGenerator[Connection, None]:
    """Borrow a connection for statements that only read and need not agree: each sees what is committed when it runs.

    Without a transaction around them two of four round trips to the server fall away.

    Raises: as `connection`.
    """
    async with connection(pool) as borrowed:
        await borrowed.set_autocommit(True)
        try:
            yield borrowed
        finally:
            if not borrowed.closed:
                await borrowed.set_autocommit(False)


@asynccontextmanager
async def _cancelled_after(borrowed: Connection, limit_s: float) -> AsyncGenerator[None]:
    """Have the server cancel the statement that runs after `limit_s`, if one does.

    Nobody else gets the connection before the server has been told: the next statement on it would be cancelled.
    """
    if math.isinf(limit_s):
        yield
        return
    loop = asyncio.get_running_loop()
    telling: asyncio.Task[None] | None = None

    async def tell() -> None:
        # A server that cannot be told does not answer either: its connection is hung up on, and that says so.
        with suppress(psycopg.Error):
            await borrowed.cancel_safe(timeout=ANSWER_MARGIN_S)

    def passed() -> None:
        nonlocal telling
        telling = loop.create_task(tell())

    timer = loop.call_later(max(limit_s, 0.0), passed)
    try:
        yield
    finally:
        timer.cancel()
        if telling is not None:
            await telling


@contextmanager
def _hung_up_after(borrowed: Connection, limit_s: float) -> Generator[None]:
    """Shut the connection's socket down after `limit_s`: whoever waits for an answer then gets an `OperationalError`.

    Cancelling the waiting task instead would not do: the library then asks the server to cancel the statement, and
    waits for its answer.

    An event loop that was held up runs its timers before it looks at what has arrived meanwhile. So a limit that has
    passed is not enough: the loop gets time to read an answer that may have been there all along.
    """
    loop = asyncio.get_running_loop()

    def passed() -> None:
        nonlocal timer
        timer = loop.call_later(READING_S, _hang_up, borrowed)

    timer = loop.call_later(limit_s, passed)
    try:
        yield
    finally:
        timer.cancel()


def _has_something_to_say(idle: Connection) -> bool:
    """Whether a server that was asked nothing has sent something: that it ends, in most cases."""
    if sys.platform == "win32":  # has no poll, and its select does not say so cheaply
        return True
    poller = select.poll()
    poller.register(idle.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def _hang_up(borrowed: Connection) -> None:
    if not borrowed.closed:
        # OSError: the far end hung up first.
        with socket.socket(fileno=os.dup(borrowed.fileno())) as line, suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _narrow(pool: Pool) -> str:
    return f"Narrow the request, or raise {pool.variables}_STATEMENT_TIMEOUT_S."


def _no_connection(pool: Pool, waited_s: float) -> str:
    return f"No database connection came free within {waited_s:.2g} s: {_held(pool)}"


def _held(pool: Pool) -> str:
    stats: dict[str, Any] = pool.get_stats()
    open_now = stats.get("pool_size", 0)
    if open_now >= pool.max_size and not stats.get("connections_errors", 0):
        return (
            f"all {pool.max_size} are in use. Retry shortly; if it persists, raise "
            f"{pool.variables}_POOL_SIZE or look for slow queries."
        )
    check = pool.address.refusal or "Check that Postgres runs and can be reached."
    return f"{open_now} of {pool.max_size} are open. {check}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
