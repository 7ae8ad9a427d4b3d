"""The sealed source against the simulator's sealed feed: being let in, staying in, and being turned away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from groundswell.adapters.sealed import SealedConnection, SealedSource
from groundswell.adapters.simulator.sealed import SealedServer
from groundswell.core.posts import Decoded, Ignored, Post
from groundswell.core.sealed import SEALED_UNAUTHENTIC
from groundswell.core.sealed_keys import WalletKind
from groundswell.core.session import ConnectionLost, Fatal, Refused, Retry, verdict
from groundswell.errors import SourceFailed
from groundswell.ports.sources import FramesMissed
from tests.sealed_world import FEED_KEY, sealed_server, sealed_source

LIMIT_S = 30
SESSION_S = 2.0
"""Short, and long enough that a busy machine renews it in time."""


async def read(source: SealedSource, connection: SealedConnection, frames: int) -> list[Decoded]:
    async with asyncio.timeout(LIMIT_S):
        return [source.decode(await connection.receive()) for _ in range(frames)]


async def read_to(source: SealedSource, connection: SealedConnection, last: int) -> list[int]:
    """The numbers up to `last`, in the order in which they come."""
    numbers: list[int] = []
    async with asyncio.timeout(LIMIT_S):
        while not numbers or numbers[-1] < last:
            cursor = source.decode(await connection.receive()).cursor
            if cursor is not None:
                numbers.append(cursor)
    return numbers


async def losses(server: SealedServer, frames: int) -> None:
    """Wait until so many more frames were lost."""
    before = server.faults.lost
    while server.faults.lost < before + frames:  # noqa: ASYNC110 -- the feed's counter is no event
        await asyncio.sleep(0.01)


async def judged(source: SealedSource, cursor: int | None = None) -> Retry | Fatal:
    """What the session would make of how connecting and reading ends."""
    try:
        async with asyncio.timeout(LIMIT_S), source.connect(cursor) as connection:
            while True:
                await connection.receive()
    except (ConnectionLost, Refused, SourceFailed, OSError) as error:
        return verdict(error)


@pytest.mark.parametrize("kind", ["ed25519", "secp256k1"])
def test_a_wallet_of_either_kind_is_let_in_and_reads_posts(kind: WalletKind) -> None:
    async def main() -> list[Decoded]:
        async with sealed_server(history_s=2) as server:
            source = sealed_source(server.url, kind=kind)
            async with source.connect(None) as connection:
                assert connection.endpoint.startswith("ws://127.0.0.1:")
                return await read(source, connection, 50)

    posts = [said for said in asyncio.run(main()) if isinstance(said, Post)]
    assert posts
    assert {post.source for post in posts} == {"sealed"}
    assert [post.cursor for post in posts] == sorted({post.cursor for post in posts})


def test_a_feed_says_whether_it_can_send_again() -> None:
    async def main(*, can_replay: bool) -> bool:
        async with sealed_server(can_replay=can_replay) as server:
            source = sealed_source(server.url)
            async with source.connect(None):
                return source.can_replay

    assert asyncio.run(main(can_replay=True))
    assert not asyncio.run(main(can_replay=False))


def test_a_stream_is_resumed_a_little_before_the_cursor_and_without_a_hole() -> None:
    async def main() -> tuple[int, list[int]]:
        async with sealed_server(history_s=3) as server:
            source = sealed_source(server.url)
            async with source.connect(None) as connection:
                first = await read(source, connection, 100)
            cursor = first[-1].cursor
            assert cursor is not None
            async with source.connect(cursor) as connection:
                return cursor, await read_to(source, connection, cursor + 50)

    cursor, numbers = asyncio.run(main())
    assert numbers[0] <= cursor
    assert numbers == list(range(numbers[0], cursor + 51))


@pytest.mark.parametrize(
    "fault",
    [
        lambda server: server.faults.lose(0.3),
        lambda server: server.faults.corrupt(0.3),
        lambda server: server.faults.reorder(32),
        lambda server: (server.faults.duplicate(0.5), server.faults.replay(0.5)),
    ],
    ids=["lost", "damaged", "shuffled", "repeated"],
)
def test_frames_come_once_and_in_order_through_any_disorder(fault: Callable[[SealedServer], object]) -> None:
    async def main() -> list[int]:
        async with sealed_server(history_s=3, rotate_every=100) as server:
            fault(server)
            source = sealed_source(server.url, round_s=0.1)
            async with source.connect(None) as connection:
                return await read_to(source, connection, await server.head())

    numbers = asyncio.run(main())
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_hole_that_nothing_fills_is_told_between_its_neighbours() -> None:
    async def main() -> None:
        async with sealed_server(can_replay=False) as server:
            source = sealed_source(server.url)
            async with source.connect(None) as connection:
                before = (await read(source, connection, 20))[-1].cursor
                assert before is not None
                server.faults.lose(1)
                await losses(server, 5)
                server.faults.lose(0)
                last, missed = before, None
                while missed is None:
                    try:
                        last = source.decode(await connection.receive()).cursor or last
                    except FramesMissed as found:
                        missed = str(found)
                after = (await read(source, connection, 1))[0].cursor
                assert after is not None
                assert f" {last + 1} " in missed.replace(",", " ")
                assert after > last + 5

    asyncio.run(asyncio.wait_for(main(), LIMIT_S))


def test_a_ping_is_answered_only_once_nothing_before_it_is_missing() -> None:
    async def main() -> None:
        async with sealed_server(can_replay=False) as server:
            source = sealed_source(server.url, round_s=0.2)
            async with source.connect(None) as connection:
                await read(source, connection, 5)
                server.faults.lose(1)
                await losses(server, 3)
                server.end()
                pinging = asyncio.create_task(connection.ping())
                with pytest.raises(FramesMissed):
                    while True:
                        await connection.receive()
                assert not pinging.done(), "what was lost at the end has only now been noticed"
                reading = asyncio.create_task(connection.receive())
                await pinging
                reading.cancel()

    asyncio.run(asyncio.wait_for(main(), LIMIT_S))


def test_a_ping_whose_answer_does_not_open_is_asked_again_on_the_same_connection() -> None:
    async def main() -> int:
        async with sealed_server() as server:
            source = sealed_source(server.url)
            async with source.connect(None) as connection:
                await read(source, connection, 1)
                server.end()
                server.faults.wrong_key = True
                pinging = asyncio.create_task(connection.ping())
                while source.decode(await connection.receive()) != Ignored(SEALED_UNAUTHENTIC):
                    pass
                server.faults.wrong_key = False
                reading = asyncio.create_task(read(source, connection, 10**6))
                await pinging
                reading.cancel()
            return len(server.spans)

    assert asyncio.run(asyncio.wait_for(main(), LIMIT_S)) == 1


def test_a_key_that_was_never_announced_is_asked_for_while_the_stream_goes_on() -> None:
    async def main() -> tuple[int, list[int]]:
        async with sealed_server(rotate_every=50, posts_per_second=50) as server:
            server.faults.silent_keys = True
            source = sealed_source(server.url, round_s=0.5)
            async with source.connect(None) as connection:
                first = (await read_to(source, connection, 1))[0]
                return len(server.spans), await read_to(source, connection, first + 200)

    connections, numbers = asyncio.run(asyncio.wait_for(main(), LIMIT_S))
    assert connections == 1
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "what came before the key is sent again"


def test_a_session_is_renewed_while_the_stream_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        async with sealed_server(session_s=SESSION_S) as server:
            source = sealed_source(server.url)
            async with source.connect(None) as connection:
                while len(server.tokens) < 4:
                    await read(source, connection, 1)
            return len(server.spans)

    assert asyncio.run(asyncio.wait_for(main(), LIMIT_S)) == 1, "one connection outlived three sessions"


def test_a_session_that_could_not_be_renewed_ends_and_time_can_mend_it() -> None:
    async def main() -> Retry | Fatal:
        async with sealed_server(session_s=0.6) as server:
            server.faults.refuse(503, at="challenge")
            server.faults.accept()
            source = sealed_source(server.url)
            async with source.connect(None) as connection:
                server.faults.refuse(503, at="challenge")
                try:
                    while True:
                        await connection.receive()
                except ConnectionLost as lost:
                    return verdict(lost)

    assert asyncio.run(asyncio.wait_for(main(), LIMIT_S)) == Retry("the session has expired")


@pytest.mark.parametrize(
    ("at", "status", "said"),
    [
        ("challenge", 403, "does not let the ed25519 wallet"),
        ("session", 401, "does not accept the signature of the ed25519 wallet"),
        ("session", 403, "does not let the ed25519 wallet"),
        ("stream", 403, "does not let this client in"),
        ("challenge", 404, "nothing at this address"),
        ("challenge", 301, "points elsewhere"),
    ],
)
def test_a_refusal_is_final_and_named(at: str, status: int, said: str) -> None:
    async def main() -> Retry | Fatal:
        async with sealed_server() as server:
            server.faults.refuse(status, at=at)  # pyright: ignore[reportArgumentType]
            return await judged(sealed_source(server.url))

    found = asyncio.run(main())
    assert isinstance(found, Fatal)
    assert said in found.message


@pytest.mark.parametrize(("at", "status"), [("challenge", 503), ("session", 429), ("session", 409), ("stream", 502)])
def test_what_time_can_change_is_retried(at: str, status: int) -> None:
    async def main() -> Retry | Fatal:
        async with sealed_server() as server:
            server.faults.refuse(status, at=at)  # pyright: ignore[reportArgumentType]
            return await judged(sealed_source(server.url))

    assert isinstance(asyncio.run(main()), Retry)


def test_a_stream_that_does_not_know_its_session_is_asked_twice() -> None:
    async def main() -> list[Retry | Fatal]:
        async with sealed_server() as server:
            server.faults.refuse(401, at="stream")
            source = sealed_source(server.url)
            return [await judged(source), await judged(source)]

    first, second = asyncio.run(main())
    assert isinstance(first, Retry)
    assert isinstance(second, Fatal)


def test_a_wallet_that_the_feed_does_not_know_is_refused_by_name() -> None:
    async def main() -> Retry | Fatal:
        async with sealed_server(wallets=[]) as server:
            return await judged(sealed_source(server.url))

    found = asyncio.run(main())
    assert isinstance(found, Fatal)
    assert "GROUNDSWELL_SEALED_WALLET_KEY" in found.message


def test_a_wallet_that_is_shut_out_in_the_middle_ends_the_source() -> None:
    async def main() -> Retry | Fatal:
        async with sealed_server() as server:
            source = sealed_source(server.url)
            async with source.connect(None) as connection:
                await read(source, connection, 5)
                server.faults.revoked = True
                try:
                    while True:
                        await connection.receive()
                except Refused as refused:
                    return verdict(refused)

    assert isinstance(asyncio.run(asyncio.wait_for(main(), LIMIT_S)), Fatal)


def test_the_wrong_feed_key_ends_the_source_and_says_which_variable_to_mend() -> None:
    async def main() -> Retry | Fatal:
        async with sealed_server() as server:
            return await judged(sealed_source(server.url, feed_key=bytes(range(32))))

    found = asyncio.run(main())
    assert isinstance(found, Fatal)
    assert "GROUNDSWELL_SEALED_FEED_KEY" in found.message


def test_a_feed_that_nobody_serves_is_retried() -> None:
    async def main() -> Retry | Fatal:
        async with sealed_server() as server:
            url = server.url
        return await judged(sealed_source(url))

    assert isinstance(asyncio.run(main()), Retry)


def test_frames_that_do_not_open_are_counted_and_then_the_keys_are_fetched_anew() -> None:
    async def main() -> tuple[set[str], Retry | Fatal]:
        async with sealed_server(history_s=3, can_replay=False) as server:
            source = sealed_source(server.url)
            reasons: set[str] = set()
            async with source.connect(None) as connection:
                await read(source, connection, 5)
                server.faults.wrong_key = True
                try:
                    while True:
                        said = source.decode(await connection.receive())
                        if isinstance(said, Ignored) and said.cursor is None:
                            reasons.add(said.reason)
                except (ConnectionLost, FramesMissed) as lost:
                    return reasons, verdict(lost)

    reasons, judgement = asyncio.run(asyncio.wait_for(main(), LIMIT_S))
    assert "sealed-unauthentic" in reasons
    assert isinstance(judgement, Retry | Fatal)


def test_neither_key_nor_token_nor_signature_is_in_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level, with libraries and refusals included."""
    tokens: list[str] = []

    async def main() -> None:
        async with sealed_server(session_s=SESSION_S) as server:
            source = sealed_source(server.url)
            async with source.connect(None) as connection:
                while len(server.tokens) < 2:
                    await read(source, connection, 1)
            tokens.extend(server.tokens)
            server.faults.refuse(401, at="session")
            await judged(source)

    with caplog.at_level(logging.DEBUG):
        for name in ("httpx", "httpcore", "websockets", "websockets.client", "groundswell"):
            caplog.set_level(logging.DEBUG, logger=name)
        asyncio.run(main())
    assert len(tokens) > 1
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name != "websockets.server")
    assert "challenge" in logged, "the libraries did narrate"
    for secret in (*tokens, FEED_KEY.hex()):
        assert secret not in logged
