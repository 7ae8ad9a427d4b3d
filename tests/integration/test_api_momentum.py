"""Momentum over the API: listings, histories and the past."""

from __future__ import annotations

import psycopg
from psycopg.types.json import Jsonb

from tests.api_world import World, in_world, problem


def test_momentum_is_listed_by_score_and_paged_by_it(url: str) -> None:
    async def scenario(world: World) -> None:
        listing = await world.get("/v1/momentum", limit=2)
        assert [row["display"] for row in listing["data"]] == ["$BTC", "#kcon"]
        rest = await world.get("/v1/momentum", limit=2, cursor=listing["next_cursor"])
        assert [row["entity"] for row in rest["data"]] == ["domain:example.com"]
        assert rest["next_cursor"] is None
        assert [row["kind"] for row in (await world.get("/v1/momentum", stage="emerging"))["data"]] == ["hashtag"]
        assert (await world.get("/v1/momentum", min_score=0.8, kind="hashtag"))["data"] == []

    in_world(url, scenario)


def test_the_history_of_an_entity_shows_what_was_not_watched(url: str) -> None:
    async def scenario(world: World) -> None:
        body = await world.get("/v1/momentum/ticker/btc", window="30m", bucket="1m")
        assert body["config"] | {"since": "", "until": ""} == {
            "entity": "ticker:BTC",
            "window": "30m",
            "bucket": "1m",
            "window_s": 1800,
            "bucket_s": 60,
            "resolution_s": 60,
            "since": "",
            "until": "",
            "as_of": None,
        }
        assert len(body["data"]) == 30
        assert body["current"]["score"] == 0.9
        assert [gap["cause"] for gap in body["gaps"]] == ["disconnect"]
        unwatched = [bucket for bucket in body["data"] if bucket["coverage"] == 0]
        assert unwatched
        assert all(bucket["mentions"] is None and bucket["rate"] is None for bucket in unwatched)
        watched = [bucket for bucket in body["data"] if bucket["coverage"] == 1]
        assert all(bucket["rate"] == bucket["mentions"] for bucket in watched)
        assert any(bucket["authors"] for bucket in watched)
        unknown = await world.get("/v1/momentum/name/Nobody")
        assert unknown["current"] is None
        problem(await world.client.get("/v1/momentum/ticker/123"), 404)

    in_world(url, scenario)


def test_a_half_watched_bucket_doubles_what_was_seen_in_it(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("UPDATE coverage SET observed_seconds = 30")

    async def scenario(world: World) -> None:
        body = await world.get("/v1/momentum/ticker/BTC", window="30m", bucket="1m")
        seen = [bucket for bucket in body["data"] if bucket["mentions"]]
        assert seen
        assert all(bucket["rate"] == 2 * bucket["mentions"] for bucket in seen)
        assert all(bucket["coverage"] == 0.5 for bucket in seen)

    in_world(url, scenario)


def test_long_windows_get_longer_buckets(url: str) -> None:
    async def scenario(world: World) -> None:
        assert (await world.get("/v1/momentum/ticker/BTC", window="1d"))["config"]["bucket"] == "15m"
        assert (await world.get("/v1/momentum/ticker/BTC", window="100d"))["config"]["bucket"] == "1d"

    in_world(url, scenario)


def test_a_history_that_cannot_be_answered_names_the_parameter_at_fault(url: str) -> None:
    wrong: list[tuple[str, dict[str, str]]] = [
        ("bucket", {"window": "30d", "bucket": "1m"}),
        ("bucket", {"bucket": "90s"}),
        ("window", {"window": "0h"}),
        ("window", {"window": "1h", "since": "2026-07-04T00:00:00Z"}),
        ("until", {"since": "2026-07-04T01:00:00Z", "until": "2026-07-04T00:00:00Z"}),
        ("since", {"since": "2999-07-04T01:00:00Z"}),
        ("since", {"since": "yesterday"}),
        ("as_of", {"as_of": "2999-07-04T01:00:00Z"}),
        ("as_of", {"as_of": "0001-01-01T00:00:00Z"}),
        ("until", {"until": "0001-01-01T00:00:00Z"}),
    ]

    async def scenario(world: World) -> None:
        for field, parameters in wrong:
            response = await world.client.get("/v1/momentum/ticker/BTC", params=parameters)
            problem(response, 400, field=field)
        for as_of in ("2999-07-04T01:00:00Z", "0001-01-01T00:00:00Z"):
            problem(await world.client.get("/v1/momentum", params={"as_of": as_of}), 400, field="as_of")

    in_world(url, scenario)


def test_a_history_carries_the_changes_of_stage_in_its_range(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for minutes, before, after in (
            (50, "dormant", "emerging"),
            (20, "emerging", "rising"),
            (5, "rising", "fading"),
        ):
            conn.execute(
                "INSERT INTO stage_changes (entity, at, from_stage, stage, score, evidence)"
                " VALUES ('ticker:BTC', date_trunc('minute', now()) - make_interval(mins => %s), %s, %s, 0.8, %s)",
                (minutes, before, after, Jsonb({"authors": 7})),
            )

    async def scenario(world: World) -> None:
        body = await world.get("/v1/momentum/ticker/BTC", window="30m")
        changes = [(change["from_stage"], change["stage"]) for change in body["stage_changes"]]
        assert changes == [("emerging", "rising"), ("rising", "fading")]
        assert body["stage_changes"][0]["evidence"] == {"authors": 7}
        then = body["stage_changes"][1]["time"]
        past = await world.get("/v1/momentum/ticker/BTC", window="30m", as_of=then)
        assert [change["stage"] for change in past["stage_changes"]] == ["rising"]
        assert past["config"]["as_of"] == then
        assert past["current"]["stage"] == "rising"
        assert past["current"]["as_of"] == then

    in_world(url, scenario)


def test_time_travel_tells_what_was_moving_then_as_it_is_known_now(url: str) -> None:
    async def scenario(world: World) -> None:
        async with world.pool.connection() as conn:
            row = await (await conn.execute("SELECT date_trunc('minute', now()) - interval '6 minutes'")).fetchone()
        assert row is not None
        then = row[0].isoformat()
        listing = await world.get("/v1/momentum", as_of=then)
        moving = {row["entity"]: row for row in listing["data"]}
        assert moving.keys() >= {"ticker:BTC", "hashtag:kcon"}
        assert [r["score"] for r in listing["data"]] == sorted((r["score"] for r in listing["data"]), reverse=True)
        async with world.pool.connection() as conn:
            counted = await (
                await conn.execute(
                    "SELECT count(*), count(DISTINCT author) FROM posts WHERE 'ticker:BTC' = ANY(entities)"
                    " AND event_time < %s::timestamptz AND event_time >= %s::timestamptz - interval '15 minutes'"
                    " AND date_trunc('minute', event_time) IN (SELECT minute FROM coverage)",
                    (then, then),
                )
            ).fetchone()
        assert counted is not None
        assert moving["ticker:BTC"]["mentions"] == counted[0]
        first = await world.get("/v1/momentum", as_of=then, limit=1)
        rest = await world.get("/v1/momentum", as_of=then, cursor=first["next_cursor"])
        assert first["data"] + rest["data"] == listing["data"]
        tickers = await world.get("/v1/momentum", as_of=then, kind="ticker")
        assert [row["entity"] for row in tickers["data"]] == ["ticker:BTC"]
        assert (await world.get("/v1/momentum", as_of=then, stage="rising"))["data"] == []
        long_ago = await world.get("/v1/momentum", as_of="2001-01-01T00:00:00Z")
        assert long_ago["data"] == []

    in_world(url, scenario)


def test_the_past_before_counts_by_the_minute_is_refused_by_name_and_told_in_longer_buckets(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "UPDATE resolutions SET kept_from = date_trunc('hour', now()) - interval '1 day' WHERE resolution = 60"
        )
        then = conn.execute("SELECT to_char(now() - interval '3 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')").fetchone()
    assert then is not None

    async def scenario(world: World) -> None:
        refused = await world.client.get("/v1/momentum", params={"as_of": then[0]})
        assert "earliest" in problem(refused, 400, field="as_of")["detail"]
        body = await world.get("/v1/momentum/ticker/BTC", as_of=then[0])
        assert body["config"]["bucket"] == "5m"
        assert body["current"] is None

    in_world(url, scenario)


def test_two_sources_add_their_rates_and_share_coverage(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("INSERT INTO coverage SELECT 'second', minute, 30 FROM coverage")
        conn.execute("INSERT INTO minute_authors SELECT DISTINCT entity, minute, 'second', 'x', 1 FROM minute_authors")

    async def scenario(world: World) -> None:
        body = await world.get("/v1/momentum/ticker/BTC", window="30m", bucket="1m")
        seen = [bucket for bucket in body["data"] if bucket["mentions"]]
        assert seen
        assert all(bucket["coverage"] == 0.75 for bucket in seen)
        assert all(bucket["rate"] == (bucket["mentions"] - 1) + 2 for bucket in seen)

    in_world(url, scenario)
