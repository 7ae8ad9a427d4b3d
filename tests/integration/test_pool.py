"""The pool over a server that misbehaves: every wait has an end, and what it means is said."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from groundswell.adapters.postgres_address import DatabaseAddress
from groundswell.adapters.postgres_pool import RECONNECT_GIVE_UP_S, Pool, connection, open_pool, reading
from groundswell.errors import QueryTimeout, StoreUnavailable
from groundswell.ports.time_budget import one_request, renew_budget


class Proxy:
    """Stands between a client and Postgres, and can be frozen: connections stand, and nothing passes any more."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._flowing = asyncio.Event()
        self._flowing.set()

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    @asynccontextmanager
    async def listening(self, folder: str) -> AsyncGenerator[None]:
        self._address = f"{folder}/.s.PGSQL.5432"
        await self.come_back()
        try:
            yield
        finally:
            self.thaw()
            self.leave()

    async def come_back(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._address)

    def leave(self) -> None:
        """As a server that was killed: connections break, and new ones are refused."""
        self._server.close()
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


def behind_a_proxy(url: str, scenario: Callable[[Pool, Proxy], Awaitable[None]]) -> None:
    """A pool of two whose server is reached through a proxy; statements are limited to a second."""
    parts = urlsplit(url)
    folder = parse_qs(parts.query)["host"][0]

    async def run() -> None:
        proxy = Proxy(f"{folder}/.s.PGSQL.5432")
        with tempfile.TemporaryDirectory(prefix="proxy-") as own:
            async with proxy.listening(own):
                address = make_conninfo(host=own, port=5432, user="postgres", dbname=parts.path.strip("/"))
                pool = await open_pool(
                    address,
                    size=2,
                    wait_s=1,
                    statement_timeout_s=1,
                    answer_limit_s=2,
                    application_name="test",
                    max_waiting=4,
                )
                try:
                    await asyncio.wait_for(scenario(pool, proxy), 60)
                finally:
                    await pool.close()

    asyncio.run(run())


def with_pool(url: str, scenario: Callable[[Pool], Awaitable[None]]) -> None:
    async def run() -> None:
        pool = await open_pool(url, size=1, wait_s=5, statement_timeout_s=0.5, application_name="test")
        try:
            await scenario(pool)
        finally:
            await pool.close()

    asyncio.run(run())


def with_open_connection(url: str, scenario: Callable[[Pool], Awaitable[None]]) -> None:
    """A pool of one that is connected, with an hour for a statement: nothing but a request's own limit is near."""

    async def run() -> None:
        pool = await open_pool(url, size=1, wait_s=60, statement_timeout_s=3600, application_name="test")
        try:
            await one(pool)
            await asyncio.wait_for(scenario(pool), 120)
        finally:
            await pool.close()

    asyncio.run(run())


async def one(pool: Pool) -> int:
    async with connection(pool) as conn:
        row = await (await conn.execute("SELECT 1")).fetchone()
        assert row is not None
        return row[0]


def test_a_server_that_falls_silent_in_the_middle_of_a_statement_is_given_up(database_url: str) -> None:
    async def scenario(pool: Pool, proxy: Proxy) -> None:
        with pytest.raises(StoreUnavailable):
            async with connection(pool) as conn:
                await conn.execute("SELECT 1")
                proxy.freeze()
                await conn.execute("SELECT 2")
        proxy.thaw()
        assert await one(pool) == 1

    behind_a_proxy(database_url, scenario)


def test_a_server_that_falls_silent_before_the_commit_is_given_up(database_url: str) -> None:
    async def scenario(pool: Pool, proxy: Proxy) -> None:
        with pytest.raises(StoreUnavailable):
            async with connection(pool) as conn:
                await conn.execute("CREATE TABLE half_done (id int)")
                proxy.freeze()
        proxy.thaw()
        assert await one(pool) == 1

    behind_a_proxy(database_url, scenario)


def test_a_process_that_froze_in_a_transaction_keeps_its_locks_no_longer_than_a_transaction_may_take(
    database_url: str,
) -> None:
    async def scenario() -> None:
        pool = await open_pool(
            database_url, size=1, wait_s=5, statement_timeout_s=5, application_name="test", answer_limit_s=0.5
        )
        try:
            with pytest.raises(StoreUnavailable):
                async with connection(pool) as conn:
                    await conn.execute("SELECT pg_advisory_xact_lock(5)")
                    # Blocks the event loop, as a frozen process would, until the server has let the lock go.
                    with psycopg.connect(database_url, autocommit=True) as another:
                        another.execute("SET lock_timeout = '20s'")
                        another.execute("SELECT pg_advisory_lock(5)")
            assert await one(pool) == 1
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_a_server_that_is_silent_from_the_start_is_given_up(database_url: str) -> None:
    async def scenario(pool: Pool, proxy: Proxy) -> None:
        assert await one(pool) == 1
        proxy.freeze()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await one(pool)
        proxy.thaw()

        async def again() -> int:
            while True:
                with suppress(StoreUnavailable):
                    return await one(pool)

        assert await again() == 1

    behind_a_proxy(database_url, scenario)


def test_callers_that_gave_up_keep_nobody_out_once_the_server_is_back(database_url: str) -> None:
    """The library keeps who timed out in its queue until a connection comes, and counts them as waiting."""

    async def scenario(pool: Pool, proxy: Proxy) -> None:
        assert await one(pool) == 1
        proxy.leave()

        async def turned_away() -> None:
            with pytest.raises(StoreUnavailable):
                await one(pool)

        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < RECONNECT_GIVE_UP_S + 3:
            await asyncio.gather(*(turned_away() for _ in range(12)))
            await asyncio.sleep(0.05)
        await proxy.come_back()
        async with asyncio.timeout(30):
            while True:
                with suppress(StoreUnavailable):
                    assert await one(pool) == 1
                    break
                await asyncio.sleep(0.05)

    behind_a_proxy(database_url, scenario)


def test_a_loop_that_was_held_up_reads_the_answer_before_it_judges_the_server(database_url: str) -> None:
    async def scenario() -> None:
        pool = await open_pool(
            database_url, size=1, wait_s=10, statement_timeout_s=1, answer_limit_s=0.2, application_name="test"
        )
        try:
            async with connection(pool) as borrowed:
                asked = asyncio.create_task(borrowed.execute("SELECT 1"))
                await asyncio.sleep(0)
                time.sleep(0.5)  # noqa: ASYNC251  what holds the loop up is the subject
                await asked
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_a_connection_that_the_server_ended_a_moment_after_it_answered_is_replaced_unnoticed(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        for _ in range(3):
            async with reading(pool) as conn:
                row = await (await conn.execute("SELECT pg_backend_pid()")).fetchone()
            assert row is not None
            with psycopg.connect(database_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", row)
            assert await one(pool) == 1

    with_pool(database_url, scenario)


def test_reading_begins_no_transaction_and_the_next_borrower_has_one(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(QueryTimeout):
            async with reading(pool) as conn:
                assert conn.autocommit
                await conn.execute("SELECT pg_sleep(30)")
        async with connection(pool) as conn:
            assert not conn.autocommit
            await conn.execute("SELECT 1")
            assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS

    with_pool(database_url, scenario)


def test_a_long_statement_is_cancelled_by_the_server_and_named(database_url: str) -> None:
    async def scenario(pool: Pool, proxy: Proxy) -> None:
        with pytest.raises(QueryTimeout):
            async with connection(pool) as conn:
                await conn.execute("SELECT pg_sleep(30)")
        assert await one(pool) == 1

    behind_a_proxy(database_url, scenario)


def test_a_request_that_has_waited_gets_what_is_left_and_its_connection_goes_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundswell.adapters.postgres_pool.ANSWER_MARGIN_S", 60)

    async def scenario(pool: Pool) -> None:
        async with connection(pool) as conn:
            pid = conn.info.backend_pid
        with one_request() as request:
            request.spent_s = pool.request_limit_s - 1
            with pytest.raises(QueryTimeout):
                async with connection(pool) as conn:
                    await conn.execute("SELECT pg_sleep(3000)")
            with pytest.raises(QueryTimeout, match="may take in all"):
                await one(pool)
            renew_budget()
            async with connection(pool) as conn:
                assert conn.info.backend_pid == pid, "what was cancelled is the statement, not the connection"

    with_open_connection(database_url, scenario)


def test_what_has_a_shorter_limit_of_its_own_is_told_that_one(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        with one_request(0.5) as request:
            request.spent_s = 1
            with pytest.raises(QueryTimeout, match=r"for the 0\.5 s .* what keeps the database busy"):
                await one(pool)

    with_open_connection(database_url, scenario)


def test_what_a_request_asks_one_after_the_other_and_waits_for_adds_up(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        with one_request() as request:
            assert await one(pool) == 1
            asked_s = request.spent_s
            assert asked_s > 0
            pool.timeout = 0.2
            taken = await pool.getconn(60)
            for waits in (1, 2):
                with pytest.raises(StoreUnavailable, match="No database connection came free"):
                    await one(pool)
                assert request.spent_s >= asked_s + waits * 0.19
            await pool.putconn(taken)
            assert await one(pool) == 1
        with one_request() as another:
            assert another.spent_s == 0

    with_open_connection(database_url, scenario)


def test_a_silent_server_is_given_up_when_the_time_of_the_request_is_over(database_url: str) -> None:
    async def scenario(pool: Pool, proxy: Proxy) -> None:
        pool.statement_timeout_s = pool.request_limit_s = pool.answer_limit_s = 3600
        await one(pool)
        with one_request(limit_s=2), pytest.raises(StoreUnavailable):
            async with connection(pool) as conn:
                proxy.freeze()
                await conn.execute("SELECT 1")
        proxy.thaw()

    behind_a_proxy(database_url, scenario)


def test_a_pool_that_is_all_taken_says_so_and_serves_again(database_url: str) -> None:
    async def scenario(pool: Pool, proxy: Proxy) -> None:
        async with connection(pool), connection(pool):
            with pytest.raises(StoreUnavailable, match="all 2 are in use"):
                await one(pool)
        assert await one(pool) == 1

    behind_a_proxy(database_url, scenario)


def test_a_caller_that_is_cancelled_while_a_connection_reaches_it_ends(database_url: str) -> None:
    async def main() -> None:
        pool = await open_pool(database_url, size=1, wait_s=30, statement_timeout_s=10, application_name="test")

        async def hold() -> None:
            async with connection(pool):
                await asyncio.Event().wait()

        for turns in range(30):  # of the loop, between the connection's return and the cancellation
            async with connection(pool):
                waiting = asyncio.create_task(hold())
                while not pool.get_stats()["requests_waiting"]:  # noqa: ASYNC110 -- the pool has no such event
                    await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            done, _ = await asyncio.wait({waiting}, timeout=20)
            assert done, f"cancelled {turns} turns after the connection was given back, it goes on"
        await pool.close()

    asyncio.run(main())


def test_a_broken_transaction_leaves_nothing_and_its_connection_is_not_used_again(database_url: str) -> None:
    async def scenario(pool: Pool, proxy: Proxy) -> None:
        with pytest.raises(psycopg.errors.UndefinedTable):
            async with connection(pool) as conn:
                await conn.execute("CREATE TABLE never_there (id int)")
                await conn.execute("SELECT * FROM there_is_none")
        async with connection(pool) as conn:
            row = await (await conn.execute("SELECT to_regclass('never_there')")).fetchone()
            assert row == (None,)

    behind_a_proxy(database_url, scenario)


# ------------------------------------------------------------------ a password that is rotated
def test_a_pool_learns_its_address_anew_when_a_connection_fails(database_url: str) -> None:
    asked: list[str] = []

    def renew() -> str:
        asked.append("once")
        return database_url

    async def scenario() -> None:
        broken = database_url.replace("/test_", "/no_such_database_")
        pool = await open_pool(broken, size=2, wait_s=5, statement_timeout_s=5, application_name="test", renew=renew)
        try:
            async with connection(pool) as borrowed:
                assert await (await borrowed.execute("SELECT 1")).fetchone() == (1,)
            assert pool.address.url == database_url
            async with connection(pool) as one, connection(pool) as other:
                assert one is not other
        finally:
            await pool.close()

    asyncio.run(scenario())
    assert asked == ["once"]


def test_a_secret_that_cannot_be_read_leaves_the_address_and_is_not_asked_for_again_at_once() -> None:
    asked: list[str] = []

    def renew() -> str:
        asked.append("once")
        raise ValueError("it cannot be read")

    async def scenario() -> None:
        address = DatabaseAddress("postgresql://u@h/d", renew)

        async def refuse(url: str) -> None:
            raise psycopg.OperationalError(f"no way to {url}")

        for _ in range(3):
            with pytest.raises(psycopg.OperationalError, match="no way to postgresql://u@h/d"):
                await address.connect(refuse)

    asyncio.run(scenario())
    assert asked == ["once"]


def test_a_session_is_the_same_whatever_the_database_has_set(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        name = conn.info.dbname
        for setting in ("client_encoding = LATIN1", "datestyle = 'SQL, DMY'", "timezone = 'Asia/Tokyo'"):
            conn.execute(f"ALTER DATABASE {name} SET {setting}")  # type: ignore[arg-type]

    async def scenario() -> tuple[object, ...] | None:
        pool = await open_pool(database_url, size=1, wait_s=5, statement_timeout_s=5, application_name="test")
        try:
            async with connection(pool) as conn:
                found = await conn.execute("SELECT 'Łódź 🌊', timestamptz '2026-02-01 00:00:00+00' ::text")
                return await found.fetchone()
        finally:
            await pool.close()

    assert asyncio.run(scenario()) == ("Łódź 🌊", "2026-02-01 00:00:00+00")
