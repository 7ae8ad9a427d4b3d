"""What the REST API answers over a real Postgres."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from functions.api import models
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.ports.time_budget import current_budget
from tests.api_world import POSTS, World, ids, in_world, post_id, problem


def test_every_answer_has_the_shape_that_the_document_promises(url: str) -> None:
    promised = {
        "/v1/posts": models.PostList,
        f"/v1/posts/{post_id(1)}": models.PostAnswer,
        "/v1/search?q=moon&explain=true": models.SearchList,
        "/v1/momentum": models.MomentumList,
        "/v1/momentum/ticker/BTC": models.SeriesAnswer,
        "/v1/insights": models.InsightList,
        "/v1/alerts": models.AlertList,
        "/v1/alerts/rules": models.RuleList,
        "/v1/gaps": models.GapList,
        "/v1/events?cursor=0": models.EventList,
        "/v1/stats": models.StatsAnswer,
        "/v1/status": models.StatusAnswer,
        "/healthz": models.Alive,
        "/readyz": models.Ready,
        "/config.json": models.SiteConfig,
    }

    async def scenario(world: World) -> None:
        for path, model in promised.items():
            response = await world.client.get(path)
            assert response.status_code == 200, f"{path}: {response.text}"
            body = model.model_validate_json(response.content)
            if isinstance(body, models.Listed):
                assert body.data, f"{path} answers nothing, so nothing was checked"  # pyright: ignore

    in_world(url, scenario)


def test_pages_of_posts_neither_repeat_nor_skip_while_posts_arrive(url: str) -> None:
    async def scenario(world: World) -> None:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        for page in range(POSTS):
            listing = await world.get("/v1/posts", limit=7, **cursor)
            seen += ids(listing)
            with world.owner() as conn:
                conn.execute(
                    "INSERT INTO posts (id, source, author, text, event_time, rev)"
                    " VALUES (%s, 's', 'a', 't', now(), 'a')",
                    (f"at://late/{page}",),
                )
            if listing["next_cursor"] is None:
                break
            cursor = {"cursor": listing["next_cursor"]}
        assert seen == [post_id(n) for n in reversed(range(POSTS))]

    in_world(url, scenario)


def test_posts_are_found_by_their_filters_and_by_nothing_else(url: str) -> None:
    async def scenario(world: World) -> None:
        async def numbers(**filters: str) -> set[int]:
            return {int(key[-4:]) for key in ids(await world.get("/v1/posts", limit=200, **filters))}

        everything = set(range(POSTS))
        assert await numbers() == everything
        assert await numbers(entity="$btc") == {n for n in everything if n % 5 in (0, 4)}
        assert await numbers(entity="#KCON") == {n for n in everything if n % 5 in (1, 4)}
        assert await numbers(entity="nowhere.example") == set()
        assert await numbers(author="did:plc:bob") == {n for n in everything if n % 3 == 1}
        for tag in ("ko-KR", "KO", "kor", "ko_KR"):
            assert await numbers(lang=tag) == await numbers(lang="ko") != set()
        assert await numbers(lang="ko", entity="$BTC") == {n for n in everything if n % 3 == 1 and n % 5 in (0, 4)}
        assert await numbers(source="nowhere") == set()
        moment = (await world.get("/v1/posts", limit=1, cursor="7" + "f" * 31))["data"][0]["event_time"]
        assert await numbers(since=moment) == {POSTS - 1}
        assert await numbers(until=moment) == everything - {POSTS - 1}

    in_world(url, scenario)


def test_a_post_is_read_by_its_id_written_plainly_or_encoded(url: str) -> None:
    async def scenario(world: World) -> None:
        for form in (post_id(4), quote(post_id(4), safe="")):
            body = await world.get(f"/v1/posts/{form}")
            assert body["data"]["id"] == post_id(4)
            assert body["data"]["url"] == "https://bsky.app/profile/did:plc:bob/post/0004"
            assert [entity["display"] for entity in body["data"]["entities"]] == ["#kcon", "$BTC"]
        problem(await world.client.get("/v1/posts/at://nobody/x/y"), 404)

    in_world(url, scenario)


def test_an_unchanged_answer_is_not_sent_twice(url: str) -> None:
    async def scenario(world: World) -> None:
        first = await world.client.get("/v1/momentum")
        tag = first.headers["etag"]
        assert tag.startswith('W/"')
        assert "max-age" in first.headers["cache-control"]
        for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
            again = await world.client.get("/v1/momentum", headers={"If-None-Match": known})
            assert again.status_code == 304
            assert again.content == b""
            assert again.headers["etag"] == tag
        with world.owner() as conn:
            conn.execute("UPDATE momentum SET score = 0.1")
        assert (await world.client.get("/v1/momentum", headers={"If-None-Match": tag})).status_code == 200

    in_world(url, scenario)


def test_search_pages_on_and_says_what_took_part(url: str) -> None:
    async def scenario(world: World) -> None:
        first = await world.get("/v1/search", q="moon", limit=1, explain="true")
        assert first["legs"] == ["lexical"]
        assert first["degraded"] == ["embeddings"]
        (hit,) = first["data"]
        assert hit["ranks"] == {"lexical": 1}
        assert hit["score"] == pytest.approx(sum(hit["parts"].values()))
        assert hit["similar"] > 0
        assert [hit["post"]["text"][start:end].lower() for start, end in hit["highlights"]][:1] == ["moon"]
        newest = await world.get("/v1/search", q="", limit=2)
        assert "ranks" not in newest["data"][0]
        assert newest["data"][0]["post"]["id"] == post_id(POSTS - 1)
        second = await world.get("/v1/search", q="", limit=2, cursor=newest["next_cursor"])
        assert second["data"][0]["post"]["id"] == post_id(POSTS - 3)

    in_world(url, scenario)


def test_search_finds_what_is_about_the_same_as_a_post(url: str) -> None:
    async def scenario(world: World) -> None:
        found = await world.get(f"/v1/posts/{quote(post_id(0), safe='')}/similar")
        assert found["data"]
        assert post_id(0) not in [hit["post"]["id"] for hit in found["data"]]
        problem(await world.client.get("/v1/posts/at://nobody/x/y/similar"), 404)

    in_world(url, scenario)


@pytest.mark.parametrize(
    "q",
    [
        "",
        "   ",
        "x" * 10_000,
        "word " * 2_000,
        "🎉🎉",
        "مرحبا بالعالم",
        "\u202eمرحبا\u202c",
        "a\tb\n\x07\x1b[31m",
        "&|!'\\",
    ],
)
def test_any_query_is_answered(url: str, q: str) -> None:
    async def scenario(world: World) -> None:
        answer = await world.get("/v1/search", q=q)
        assert answer["next_cursor"] is None or answer["data"]

    in_world(url, scenario)


def test_what_a_search_cannot_mean_is_said_with_the_field_at_fault(url: str) -> None:
    async def scenario(world: World) -> None:
        for parameters, field in (
            ({"q": "x" * 10_001}, "q"),
            ({"q": "moon", "languge": "en"}, "languge"),
            ({"q": "moon", "cursor": "ffff"}, "cursor"),
        ):
            problem(await world.client.get("/v1/search", params=parameters), 400, field=field)

    in_world(url, scenario)


def test_missed_frames_are_given_again_in_order_and_as_they_were(url: str) -> None:
    async def scenario(world: World) -> None:
        start = await world.get("/v1/events")
        assert start["data"] == []
        newest = int(start["newest_cursor"])
        frames, cursor = [], "0"
        while cursor is not None:
            page = await world.get("/v1/events", cursor=cursor, limit=20)
            assert page["truncated"] is False
            frames += page["data"]
            cursor = page["next_cursor"]
        assert [frame["seq"] for frame in frames] == list(range(1, newest + 1))
        assert [frame["data"]["posts"][0]["id"] for frame in frames[:3]] == [post_id(0), post_id(1), post_id(2)]
        assert frames[-1]["type"] == "posts.deleted"
        assert frames[-1]["live"] is False
        assert frames[-1]["v"] == 1

    in_world(url, scenario)


def test_a_cursor_older_than_what_is_kept_is_named(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DELETE FROM events WHERE seq <= 10")
        conn.execute("DELETE FROM posts WHERE pk = 12")

    async def scenario(world: World) -> None:
        assert (await world.get("/v1/events", cursor="9"))["truncated"] is True
        kept = await world.get("/v1/events", cursor="10", limit=3)
        assert kept["truncated"] is False
        assert kept["oldest_cursor"] == "10"
        assert [len(frame["data"]["posts"]) for frame in kept["data"]] == [1, 0, 1]
        assert (await world.get("/v1/events", cursor="999999"))["truncated"] is True

    in_world(url, scenario)


def test_status_judges_sources_by_the_clock_of_the_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("INSERT INTO cursors VALUES ('slow', 1, now() - interval '10 minutes', now())")
        conn.execute("INSERT INTO cursors VALUES ('quiet', 1, now(), now() - interval '5 minutes')")
        conn.execute("INSERT INTO cursors VALUES ('retired', 1, now(), now() - interval '3 days')")
        conn.execute("INSERT INTO cursors VALUES ('lost', 1, now(), now())")
        conn.execute("INSERT INTO gaps (source, cause, started_at) VALUES ('lost', 'stall', now())")
        conn.execute(
            "INSERT INTO components (component, state, detail)"
            """ VALUES ('embeddings', 'disabled', '{"why": "No model."}')"""
        )

    async def scenario(world: World) -> None:
        body = await world.get("/v1/status")
        states = {source["source"]: source["state"] for source in body["sources"]}
        assert states == {
            "jetstream": "live",
            "slow": "catching-up",
            "quiet": "stale",
            "retired": "stale",
            "lost": "disconnected",
        }
        assert body["degraded"] == ["embeddings", "source:lost", "source:quiet", "source:slow"]
        assert {c["component"]: c["why"] for c in body["components"]} == {"relay": None, "embeddings": "No model."}
        assert (await world.get("/v1/posts"))["degraded"] == body["degraded"]

    in_world(url, scenario)


def test_stats_add_up_to_the_posts(url: str) -> None:
    async def scenario(world: World) -> None:
        body = await world.get("/v1/stats", minutes=30)
        assert body["totals"]["posts"] == POSTS
        counted = [minute["posts"] for minute in body["minutes"]]
        assert None in counted
        assert sum(n for n in counted if n is not None) > POSTS / 2

    in_world(url, scenario)


def test_an_export_streams_every_post_once_as_lines_or_as_a_table(url: str) -> None:
    async def scenario(world: World) -> None:
        lines = await world.client.get("/v1/export")
        assert lines.headers["content-type"].startswith("application/x-ndjson")
        assert [json.loads(line)["id"] for line in lines.text.splitlines()] == [
            post_id(n) for n in reversed(range(POSTS))
        ]
        table = await world.client.get("/v1/export", headers={"Accept": "text/csv"})
        rows = list(csv.DictReader(io.StringIO(table.text)))
        assert [row["id"] for row in rows] == [post_id(n) for n in reversed(range(POSTS))]
        assert {row["text"] for row in rows if "HYPERLINK" in row["text"]} == {'\'=HYPERLINK("x")'}
        assert [row["entities"].split("|") for row in rows] == [
            [entity["key"] for entity in json.loads(line)["entities"]] or [""] for line in lines.text.splitlines()
        ]
        for_excel = await world.client.get("/v1/export", params={"format": "csv", "bom": "true"})
        assert for_excel.content == b"\xef\xbb\xbf" + table.content
        few = await world.client.get("/v1/export", params={"format": "csv", "limit": 3, "entity": "$BTC"})
        assert len(list(csv.DictReader(io.StringIO(few.text)))) == 3

    in_world(url, scenario)


def test_a_request_is_given_a_time_for_all_that_it_asks_and_an_export_one_for_each_chunk(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent_before: list[float] = []
    read = PostgresReads.posts

    async def slow(reads: PostgresReads, *arguments: Any) -> Any:
        budget = current_budget()
        assert budget is not None, "each request has one"
        spent_before.append(budget.spent_s)
        budget.spent_s += 1000
        return await read(reads, *arguments)

    monkeypatch.setattr("functions.api.routes.export.CHUNK_POSTS", 10)

    async def scenario(world: World) -> None:
        world.pool.request_limit_s = 1500
        monkeypatch.setattr(PostgresReads, "posts", slow)
        assert len((await world.client.get("/v1/export")).text.splitlines()) == POSTS
        await world.client.get("/v1/export", params={"limit": 1})
        assert len(spent_before) > POSTS / 10
        assert all(spent < 1000 for spent in spent_before), "none of them pays for another"

    in_world(url, scenario)


def test_an_export_goes_on_beyond_one_chunk(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO posts (id, source, author, text, event_time, rev)"
            " SELECT 'x' || n, 's', 'a', 't', now() - interval '1 day', 'a' FROM generate_series(1, 1200) AS n"
        )

    async def scenario(world: World) -> None:
        found = (await world.client.get("/v1/export", params={"source": "s"})).text.splitlines()
        assert len({json.loads(line)["id"] for line in found}) == len(found) == 1200
        assert len((await world.client.get("/v1/export", params={"limit": 501})).text.splitlines()) == 501

    in_world(url, scenario)


def test_head_answers_like_get_without_a_body(url: str) -> None:
    async def scenario(world: World) -> None:
        for path in ("/v1/posts", "/v1/export", "/healthz", "/docs"):
            response = await world.client.head(path)
            assert response.status_code == 200
            assert response.content == b""
            assert response.headers["content-type"] == (await world.client.get(path)).headers["content-type"]

    in_world(url, scenario)


def test_concurrent_readers_share_one_look_at_the_condition(url: str) -> None:
    async def scenario(world: World) -> None:
        answers = await asyncio.gather(*(world.get("/v1/momentum") for _ in range(20)))
        assert len({answer["as_of"][:15] for answer in answers}) == 1

    in_world(url, scenario)
