"""Archived posts through the API: by their ids, and what happens where the archive is away."""

from __future__ import annotations

import asyncio
from dataclasses import replace as replace_part
from pathlib import Path
from typing import Any

import httpx

from functions.api.app import create_app
from groundswell.services.archive_reader import ArchivedPosts
from groundswell.services.archived_files import ArchivedFiles
from groundswell.services.withdrawals import Withdrawals
from groundswell.wiring.maintenance import archive_reader
from tests.api_world import VERSION, parts, problem
from tests.archive_world import (
    POSTS,
    World,
    batch,
    deleted,
    in_world,
    moved,
    post,
)


async def asked(world: World, reader: Any, *ids: str) -> list[httpx.Response]:
    return await answers(world, reader, [(f"/v1/posts/{post_id}", {}) for post_id in ids])


async def searched(world: World, *queries: str, **filters: str) -> list[httpx.Response]:
    return await answers(world, world.reader, [("/v1/search", {"q": query, **filters}) for query in queries])


async def answers(world: World, reader: Any, asked: list[tuple[str, dict[str, str]]]) -> list[httpx.Response]:
    services = replace_part(parts(world.pool)[0], archive=reader)
    app = create_app(services, version=VERSION, rate_limit_per_minute=0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return [await client.get(path, params=query) for path, query in asked]


def test_an_archived_post_is_read_by_its_id_and_said_to_be_archived(database_url: str, tmp_path: Path) -> None:
    hot, gone = post(1, day=9), POSTS[4]

    async def scenario(world: World) -> None:
        await world.store.commit(batch(hot))
        fresh = (await asked(world, world.reader, hot.id))[0].json()
        await moved(world)
        await world.store.commit(batch(deletes=[deleted(gone)]))
        old, missing, never = await asked(world, world.reader, POSTS[3].id, gone.id, "at://no/such")
        assert fresh["archived"] is False and fresh["data"]["id"] == hot.id
        assert old.json()["archived"] is True
        assert old.json()["data"]["text"] == POSTS[3].text
        assert set(old.json()["data"]) == set(fresh["data"])
        problem(missing, 404)
        problem(never, 404)

    in_world(database_url, tmp_path, scenario)


def test_a_search_for_a_posts_id_or_address_finds_that_post_also_in_the_archive(
    database_url: str, tmp_path: Path
) -> None:
    hot, gone, old = post(1, day=9), POSTS[4], POSTS[3]
    did, _, key = old.id.removeprefix("at://").split("/")

    async def scenario(world: World) -> None:
        await moved(world)
        await world.store.commit(batch(hot, deletes=[deleted(gone)]))
        found = await searched(world, old.id, f" https://bsky.app/profile/{did}/post/{key} ", hot.id)
        for answer, wanted, archived in zip(found, (old, old, hot), (True, True, False), strict=True):
            body = answer.json()
            assert [(hit["post"]["id"], hit["archived"]) for hit in body["data"]] == [(wanted.id, archived)]
            assert (body["legs"], body["next_cursor"]) == (["id"], None)
        for answer in await searched(world, gone.id, "at://no/app.bsky.feed.post/such", f"-{old.id}"):
            assert old.id not in {hit["post"]["id"] for hit in answer.json()["data"]}
            assert "id" not in answer.json()["legs"]
        (filtered,) = await searched(world, old.id, lang="xx")
        assert filtered.json()["data"] == []

    in_world(database_url, tmp_path, scenario)


def test_an_archive_that_is_away_costs_archived_posts_and_nothing_else(database_url: str, tmp_path: Path) -> None:
    hot = post(1, day=9)

    async def scenario(world: World) -> None:
        await moved(world)
        await world.store.commit(batch(hot))
        (tmp_path / "archive").rename(tmp_path / "elsewhere")
        cache = ArchivedFiles(world.archive, tmp_path / "cache-2")
        reader = ArchivedPosts(world.index, cache, world.files)
        away, there, never = await asked(world, reader, POSTS[3].id, hot.id, "at://no/such")
        body = problem(away, 503, type="/docs/problems#archive-unavailable")
        assert "posts stay in Postgres" in body["detail"]
        assert int(away.headers["retry-after"]) > 0
        assert there.status_code == 200
        problem(never, 404)
        # The mover says so in the status, and goes on when it is back.
        await world.store.commit(batch(deletes=[deleted(POSTS[3])]))
        mover = world.mover(withdrawals=Withdrawals(world.index, cache, world.files))
        stop = asyncio.Event()
        running = asyncio.create_task(mover.run(stop))
        async with asyncio.timeout(30):
            while mover.status()[0] != "waiting":  # noqa: ASYNC110 -- a state is looked at, not announced
                await asyncio.sleep(0.01)
        assert "archive" in str(mover.status()[1]["why"])
        stop.set()
        await running
        (tmp_path / "elsewhere").rename(tmp_path / "archive")
        assert await world.withdrawals.settle() == 1

    in_world(database_url, tmp_path, scenario)


def test_an_api_that_was_not_told_of_the_archive_says_so(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await moved(world)
        reader = archive_reader(None, world.pool, tmp_path)
        old, never = await asked(world, reader, POSTS[3].id, "at://no/such")
        assert "Set GROUNDSWELL_ARCHIVE" in problem(old, 503)["detail"]
        problem(never, 404)

    in_world(database_url, tmp_path, scenario)
