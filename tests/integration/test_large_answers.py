"""Answers that would be larger than AWS Lambda carries: they end earlier, and say where to go on."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import re
from typing import Any

import psycopg
import pytest

from functions.api.answers import MAX_ANSWER_BYTES, fitting
from functions.api.lambda_limits import sendable
from groundswell.errors import InternalError
from rehearsal.events import http_event
from rehearsal.local_lambda import RESPONSE_LIMIT_BYTES, FunctionFailed, LocalFunction
from tests.api_world import World, fill, in_world

MANY = 16_000
WIDE = 210
LONGEST = 8_000
"""Characters of a text; `groundswell.core.jetstream.MAX_TEXT_CHARS`."""

FILL = """
INSERT INTO posts (id, source, author, text, lang, event_time, rev, entities)
SELECT 'at://did:plc:ann/app.bsky.feed.post/' || n, 'many', 'did:plc:ann',
       'say "no" to \\ back' || chr(10) || n || repeat(' zażółć 🎉', 20), 'pl',
       now() - make_interval(secs => n / 7), 'a', '{ticker:BTC}'
FROM generate_series(1, %(many)s) AS n
"""
FILL_WIDE = """
WITH stored AS (
    INSERT INTO posts (id, source, author, text, lang, event_time, rev, entities)
    SELECT 'at://did:plc:bob/app.bsky.feed.post/' || n, 'wide', 'did:plc:bob',
           (SELECT string_agg(md5(n::text || word), ' ') FROM generate_series(1, 40) AS word)
           || repeat(%(mark)s, %(length)s - 1319), 'en',
           now() - make_interval(secs => n), 'a', '{}'
    FROM generate_series(1, %(wide)s) AS n
    RETURNING pk
)
INSERT INTO events (type, live, data, pks) SELECT 'posts.new', true, '{}', ARRAY[pk] FROM stored
"""


def body_of(answer: dict[str, Any]) -> str:
    assert answer["statusCode"] == 200, answer
    body = answer["body"]
    return base64.b64decode(body).decode() if answer["isBase64Encoded"] else body


def next_link(headers: dict[str, str]) -> str | None:
    found = re.fullmatch(r'<(/v1/export\?[^>]+)>; rel="next"', headers.get("link", ""))
    return found[1] if found else None


def ids_of(body: str, form: str) -> list[str]:
    if form == "csv":
        return [row["id"] for row in csv.DictReader(io.StringIO(body))]
    return [json.loads(line)["id"] for line in body.splitlines()]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_of_many_megabytes_is_read_page_by_page_through_a_function(database_url: str, form: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(FILL, {"many": MANY})

    async def run() -> tuple[list[str], list[int]]:
        settings = {"GROUNDSWELL_DATABASE_URL": database_url, "GROUNDSWELL_DATABASE_STATEMENT_TIMEOUT_S": "20"}
        found: list[str] = []
        sizes: list[int] = []
        async with LocalFunction("api", "functions.api.handler.handler", settings) as function:
            path: str | None = f"/v1/export?format={form}&limit=100000&source=many"
            while path is not None:
                where, _, query = path.partition("?")
                answer = await function.invoke(http_event("GET", where, query=query))
                body = body_of(answer)
                found += ids_of(body, form)
                sizes.append(len(body.encode()))
                path = next_link(answer["headers"])
        return found, sizes

    found, sizes = asyncio.run(run())
    assert sum(sizes) > RESPONSE_LIMIT_BYTES
    assert max(sizes) <= MAX_ANSWER_BYTES + 1000
    assert len(found) == len(set(found)) == MANY


def test_the_same_loop_reads_an_export_of_a_platform_in_one_process(database_url: str) -> None:
    fill(database_url)
    with psycopg.connect(database_url) as conn:
        conn.execute(FILL, {"many": MANY})

    async def scenario(world: World) -> None:
        found: list[str] = []
        path: str | None = "/v1/export?limit=7000&source=many"
        pages = 0
        while path is not None:
            answer = await world.client.get(path)
            found += ids_of(answer.text, "ndjson")
            path = next_link(dict(answer.headers))
            pages += 1
        assert len(found) == len(set(found)) == MANY
        assert pages == 3
        assert "link" not in (await world.client.get("/v1/export?source=nobody")).headers

    in_world(database_url, scenario, statement_timeout_s=20)


@pytest.mark.parametrize("mark", ["\x01", "🎉", '"'], ids=["control characters", "emoji", "quotes"])
def test_no_listing_is_larger_than_a_function_may_answer_however_long_its_posts(database_url: str, mark: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(FILL_WIDE, {"mark": mark, "length": LONGEST, "wide": WIDE})

    async def run() -> dict[str, int]:
        settings = {"GROUNDSWELL_DATABASE_URL": database_url, "GROUNDSWELL_DATABASE_STATEMENT_TIMEOUT_S": "20"}
        found: dict[str, int] = {}
        async with LocalFunction("api", "functions.api.handler.handler", settings) as function:
            for path, asked in (("/v1/posts", {}), ("/v1/search", {"q": ""}), ("/v1/events", {"cursor": "0"})):
                query: dict[str, str] | None = {"limit": "200", **asked}
                found[path] = 0
                while query is not None:
                    answer = json.loads(body_of(await function.invoke(http_event("GET", path, query=query))))
                    found[path] += len(answer["data"])
                    cursor = answer["next_cursor"]
                    query = None if cursor is None else {**query, "cursor": cursor}
        return found

    found = asyncio.run(run())
    assert found == {"/v1/posts": WIDE, "/v1/search": WIDE, "/v1/events": WIDE}


def test_a_page_holds_at_least_one_row_and_no_more_than_fit() -> None:
    assert [bytes(value) for value in fitting(["aa", "bb", "cc"], 10)] == [b'"aa"', b'"bb"']
    assert [bytes(value) for value in fitting(["a" * 100], 10)] == [b'"' + b"a" * 100 + b'"']
    assert fitting([]) == []


def test_a_result_that_no_form_makes_small_enough_is_an_error_of_ours() -> None:
    small = {"statusCode": 200, "body": "é", "isBase64Encoded": False}
    assert sendable(small) is small
    large = sendable({"statusCode": 200, "body": '"' * 2_000_000, "isBase64Encoded": False})
    assert large["isBase64Encoded"] is True
    assert base64.b64decode(large["body"]) == b'"' * 2_000_000
    with pytest.raises(InternalError, match="AWS Lambda takes"):
        sendable({"statusCode": 200, "body": "x" * 5_000_000, "isBase64Encoded": False})


def test_a_local_function_refuses_a_result_as_large_as_lambda_does() -> None:
    async def run() -> None:
        async with LocalFunction("large", "tests.large_result.handler", {}) as function:
            assert len(await function.invoke({"bytes": RESPONSE_LIMIT_BYTES - 2})) == RESPONSE_LIMIT_BYTES - 2
            with pytest.raises(FunctionFailed, match="ResponseSizeTooLarge"):
                await function.invoke({"bytes": RESPONSE_LIMIT_BYTES - 1})

    asyncio.run(run())
