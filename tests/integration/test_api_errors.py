"""Every error leaves as a problem document, whatever went wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import psycopg
import pytest

from functions.api.app import create_app
from functions.api.problems import FAILURES_A_MINUTE, FailureLog
from groundswell.adapters.postgres_pool import open_pool
from groundswell.ports.search import SearchAnswer
from groundswell.ports.vectors import SearchFilters
from tests.api_world import SCHEMA, VERSION, World, fill, in_world, parts, problem
from tests.roles import keys_of


@pytest.fixture
def url(database_url: str) -> str:
    fill(database_url)
    return database_url


def test_what_does_not_exist_is_404_and_the_nearest_path_is_named(url: str) -> None:
    async def scenario(world: World) -> None:
        assert "/v1/posts" in problem(await world.client.get("/v1/post"), 404)["detail"]
        for method in ("GET", "POST", "DELETE", "PUT"):
            problem(await world.client.request(method, "/nothing/here"), 404)

    in_world(url, scenario)


UNKNOWN_TO_ANY_FILE_SYSTEM = ("/%00", "/assets/%00", f"/{'a' * 256}", f"/assets/{'a' * 5000}", "/%0a18:00%1b%5b2J")


@pytest.mark.parametrize("path", UNKNOWN_TO_ANY_FILE_SYSTEM)
def test_a_path_that_no_file_can_have_is_404_and_forges_no_line_of_the_log(
    url: str, path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")

    async def scenario(world: World) -> None:
        problem(await world.client.get(path), 404)

    in_world(url, scenario, site_dir=tmp_path)
    assert not caplog.records


def test_paths_of_the_page_are_limited_as_those_of_the_api_are(url: str) -> None:
    async def scenario(world: World) -> None:
        answers = [await world.client.get(f"/nothing/{n}") for n in range(3)]
        assert [answer.status_code for answer in answers] == [404, 404, 429]

    in_world(url, scenario, rate_limit_per_minute=2)


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        messages = iter([{"type": "http.request", "body": b'{"na', "more_body": True}, {"type": "http.disconnect"}])
        sent: list[object] = []
        headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer x")]

        async def receive() -> dict[str, object]:
            return dict(next(messages))

        async def send(message: object) -> None:
            sent.append(message)

        scope = {
            "type": "http", "scheme": "http", "http_version": "1.1", "client": ("192.0.2.1", 1), "headers": headers,
            "method": "POST", "path": "/v1/alerts/rules", "raw_path": b"/v1/alerts/rules", "query_string": b"",
        }  # fmt: skip
        await world.app(scope, receive, send)  # type: ignore[arg-type]
        assert not sent

    in_world(url, scenario)
    assert not caplog.records


def test_a_wrong_method_is_405_and_the_right_ones_are_allowed(url: str) -> None:
    async def scenario(world: World) -> None:
        for path, allowed in {
            "/v1/posts": "GET, HEAD",
            "/v1/alerts/rules": "GET, HEAD, POST",
            "/v1/alerts/rules/1": "DELETE",
            "/v1/momentum/ticker/BTC": "GET, HEAD",
            "/openapi.json": "GET, HEAD",
        }.items():
            response = await world.client.patch(path)
            problem(response, 405)
            assert response.headers["allow"] == allowed

    in_world(url, scenario)


MALFORMED = (
    ("/v1/posts?entitty=$BTC", "entitty", "did you mean 'entity'"),
    ("/v1/alerts/rules?x=1", "x", "takes none"),
    ("/v1/posts?limit=0", "limit", "greater than or equal to 1"),
    ("/v1/posts?limit=201", "limit", "less than or equal to 200"),
    ("/v1/posts?limit=99999999999999999999999999", "limit", "whole number"),
    ("/v1/posts?limit=1.0", "limit", "whole number"),
    ("/v1/posts?limit=%201", "limit", "whole number"),
    ("/v1/posts?limit=1&limit=2", "limit", "twice"),
    ("/v1/posts?entity=BTC", "entity", "$BTC"),
    ("/v1/posts?entity=%00", "entity", "NUL"),
    ("/v1/posts?author=%ff", "url", "UTF-8"),
    ("/v1/posts?author=%ed%a0%80", "url", "UTF-8"),
    ("/v1/posts?since=yesterday", "since", "RFC 3339"),
    ("/v1/posts?since=2026-07-04T14:38:06", "since", "offset"),
    ("/v1/posts?until=2026-02-30T00:00:00Z", "until", "no instant"),
    ("/v1/posts?cursor=abc", "cursor", "pattern"),
    ("/v1/posts/at%00x", "path", "NUL"),
    ("/v1/posts/%ff", "url", "UTF-8"),
    ("/v1/search", "q", "missing"),
    ("/v1/search?q=x&explain=maybe", "explain", "true or false"),
    ("/v1/momentum?min_score=nan", "min_score", "number"),
    ("/v1/momentum?min_score=2", "min_score", "less than or equal to 1"),
    ("/v1/momentum/coin/BTC", "kind", "ticker"),
    ("/v1/momentum/ticker/BTC?window=soon", "window", "mhd"),
    ("/v1/events?cursor=-1", "cursor", "pattern"),
    ("/v1/events?cursor=9999999999999999999999", "cursor", "pattern"),
    ("/v1/stats?minutes=1e9", "minutes", "whole number"),
    ("/v1/export?format=xml", "format", "csv"),
)
"""Path, the field at fault, and a part of what the answer says about it."""


def test_a_malformed_request_is_400_and_names_the_part_at_fault(url: str) -> None:
    async def scenario(world: World) -> None:
        for path, field, says in MALFORMED:
            assert says in problem(await world.client.get(path), 400, field=field)["detail"], path

    in_world(url, scenario)


def test_extreme_but_valid_values_are_answered(url: str) -> None:
    async def scenario(world: World) -> None:
        for query in (
            "since=0001-01-01T00:00:00%2B23:59",
            "until=9999-12-31T23:59:59.999999999-23:59",
            "since=2016-12-31T23:59:60Z",
            "since=2030-01-01T00:00:00Z&until=2020-01-01T00:00:00Z",
            "cursor=" + "f" * 32,
            "cursor=" + "0" * 32,
            "cursor=8" + "0" * 31,
            "entity=%23%F0%9F%8E%89",
            "author=%F4%8F%BF%BF",
        ):
            await world.get(f"/v1/posts?{query}")
        await world.get("/v1/momentum?cursor=7ff8000000000000ff00")
        await world.get("/v1/events?cursor=999999999999999999")

    in_world(url, scenario)


def test_what_the_accept_header_excludes_is_406(url: str) -> None:
    async def scenario(world: World) -> None:
        problem(await world.client.get("/v1/posts", headers={"Accept": "text/csv"}), 406)
        problem(await world.client.get("/v1/posts", headers={"Accept": "*/*, application/json;q=0"}), 406)
        problem(await world.client.get("/v1/export", headers={"Accept": "application/json"}), 406)
        for accept in ("application/*", "text/html, */*;q=0.1", "application/json; charset=utf-8"):
            assert (await world.client.get("/v1/posts", headers={"Accept": accept})).status_code == 200

    in_world(url, scenario)


def test_rules_are_changed_only_with_a_key_and_only_by_valid_bodies(url: str) -> None:
    async def scenario(world: World) -> None:
        rules = "/v1/alerts/rules"
        problem(response := await world.client.post(rules, json={}), 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
        for wrong in ("Bearer nobody", "Bearer gsk_" + "x" * 43, "Basic YTpi", "Bearer"):
            problem(await world.client.post(rules, json={}, headers={"Authorization": wrong}), 401)

        async with keys_of(url) as keys:
            key = await keys.create("tests")
        world.client.headers["Authorization"] = f"Bearer {key}"
        made = await world.client.post(rules, json={"entity": "$btc", "min_score": 0.5, "stage": "peaking"})
        assert made.status_code == 201
        rule = made.json()["data"]
        assert (rule["entity"], rule["stage"], rule["min_score"]) == ("ticker:BTC", "peaking", 0.5)
        assert rule in (await world.get(rules))["data"]

        problem(await world.client.post(rules, content="{}", headers={"Content-Type": "text/plain"}), 415)
        problem(await world.client.post(rules, content="{}"), 415)
        problem(await world.client.post(rules, json={"entity": "$" + "x" * 20_000}), 413)
        as_json = {"Content-Type": "application/json"}
        problem(await world.client.post(rules, content="{", headers=as_json), 400, field="body")
        problem(await world.client.post(rules, content=b'{"kind": "\xff"}', headers=as_json), 400)
        problem(await world.client.post(rules, content='{"entity": "\\ud800"}', headers=as_json), 400, field="entity")
        for body, field in (
            ({"stage": "rising", "colour": "red"}, "colour"),
            ({"min_score": "0.5"}, "min_score"),
            ({"min_score": 7}, "min_score"),
            ({"entity": "BTC"}, "entity"),
            ([], "body"),
        ):
            problem(await world.client.post(rules, json=body), 400, field=field)

        assert (await world.client.delete(f"{rules}/{rule['id']}")).status_code == 204
        problem(await world.client.delete(f"{rules}/{rule['id']}"), 404)
        problem(await world.client.delete(f"{rules}/{2**63}"), 400, field="id")
        async with keys_of(url) as keys:
            await keys.revoke("tests")
        problem(await world.client.delete(f"{rules}/1"), 401)

    in_world(url, scenario)


def test_a_database_that_is_away_is_503_with_retry_after_and_comes_back(url: str) -> None:
    async def scenario(world: World) -> None:
        assert (await world.client.get("/readyz")).json()["status"] == "ready"
        async with world.pool.connection() as conn:
            row = await (await conn.execute("SELECT current_database()")).fetchone()
        assert row is not None
        server = url.replace(f"/{row[0]}?", "/postgres?")
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {row[0]} ALLOW_CONNECTIONS false")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (row[0],))
            for path in ("/v1/posts", "/v1/search?q=x", "/v1/export", "/v1/status", "/readyz"):
                response = await world.client.get(path)
                problem(response, 503, type="/docs/problems#store-unavailable")
                assert int(response.headers["retry-after"]) > 0
            assert (await world.client.get("/healthz")).status_code == 200
            admin.execute(f"ALTER DATABASE {row[0]} ALLOW_CONNECTIONS true")
        # An attempt to connect that began before may still fail: each request waits for the next one.
        answers = [await world.client.get("/v1/posts")]
        while answers[-1].status_code != 200 and len(answers) < 20:
            answers.append(await world.client.get("/v1/posts"))
        assert answers[-1].status_code == 200

    in_world(url, scenario, wait_s=1)


def test_an_exhausted_pool_is_503_and_recovers(url: str) -> None:
    async def scenario(world: World) -> None:
        async with world.pool.connection():
            problem(await world.client.get("/v1/posts"), 503)
        assert (await world.client.get("/v1/posts")).status_code == 200

    in_world(url, scenario, pool_size=1, wait_s=0.2)


def test_a_store_in_trouble_fills_no_log(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.api.problems.FAILURES_A_MINUTE", 2)

    async def scenario(world: World) -> None:
        async with world.pool.connection():
            for _ in range(5):
                problem(await world.client.get("/v1/posts"), 503)

    in_world(url, scenario, pool_size=1, wait_s=0.05)
    assert sum("GET /v1/posts" in record.message for record in caplog.records) == 2


def test_failures_that_were_left_out_are_counted_with_the_next_line(caplog: pytest.LogCaptureFixture) -> None:
    failures = FailureLog()
    for number in range(FAILURES_A_MINUTE + 7):
        failures.log(f"failure {number}", now=1_000.0)
    failures.log("a minute later", now=1_060.0)
    said = [record.message for record in caplog.records]
    assert len(said) == FAILURES_A_MINUTE + 2
    assert said[-2:] == ["7 more requests failed since the last such line", "a minute later"]


def test_a_query_that_takes_too_long_is_503(url: str) -> None:
    async def scenario(world: World) -> None:
        with psycopg.connect(url) as blocker:
            blocker.execute("LOCK TABLE momentum IN ACCESS EXCLUSIVE MODE")
            problem(await world.client.get("/v1/momentum"), 503, type="/docs/problems#query-timeout")

    in_world(url, scenario, statement_timeout_s=0.3)


def test_a_schema_that_is_too_old_is_not_ready_and_says_what_to_do(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP TABLE alembic_version")

    async def scenario(world: World) -> None:
        assert "groundswell migrate" in problem(await world.client.get("/readyz"), 503)["detail"]
        with world.owner() as conn:
            conn.execute("CREATE TABLE alembic_version (version_num text)")
            conn.execute("INSERT INTO alembic_version VALUES ('0000')")
            conn.execute("GRANT SELECT ON alembic_version TO PUBLIC")
        assert SCHEMA in problem(await world.client.get("/readyz"), 503)["detail"]

    in_world(url, scenario)


def test_an_unforeseen_failure_tells_nothing_of_its_inside(url: str) -> None:
    class Broken:
        async def search(self, query: str, filters: SearchFilters, limit: int, **more: object) -> SearchAnswer:
            raise ZeroDivisionError("secret inside")

    async def run() -> None:
        pool = await open_pool(url, size=2, wait_s=1, statement_timeout_s=1, application_name="test")
        try:
            services, _ = parts(pool)
            broken = services.__class__(**{**services.__dict__, "search": Broken()})
            app = create_app(broken, version=VERSION)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                response = await client.get("/v1/search?q=x")
                problem(response, 500)
                assert "secret" not in response.text
                assert "Zero" not in response.text
                assert response.headers["x-content-type-options"] == "nosniff"
        finally:
            await pool.close()

    asyncio.run(run())


def test_a_client_that_asks_too_often_is_told_when_to_come_back(url: str) -> None:
    async def scenario(world: World) -> None:
        first = await world.client.get("/v1/gaps")
        assert first.headers["ratelimit-policy"] == '"default";q=3;w=60'
        assert first.headers["ratelimit"].startswith('"default";r=2;t=')
        for _ in range(2):
            assert (await world.client.get("/v1/gaps")).status_code == 200
        spent = await world.client.get("/v1/gaps")
        problem(spent, 429)
        assert 0 < int(spent.headers["retry-after"]) <= 20
        assert (await world.client.get("/healthz")).status_code == 200
        # The test client's address is a trusted proxy here: whoever it speaks for has requests of their own.
        other = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
        assert (await world.client.get("/v1/gaps", headers=other)).status_code == 200

    in_world(url, scenario, rate_limit_per_minute=3, trusted_proxies=["127.0.0.1"])


def test_a_proxy_that_writes_forwarded_is_believed_by_that_header_alone(url: str) -> None:
    """API Gateway writes Forwarded towards a task; an X-Forwarded-For beside it is the client's own."""

    async def scenario(world: World) -> None:
        made_up = [{"Forwarded": "for=203.0.113.9", "X-Forwarded-For": f"203.0.113.{n}"} for n in range(3)]
        answers = [await world.client.get("/v1/gaps", headers=headers) for headers in made_up]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert (await world.client.get("/v1/gaps", headers={"Forwarded": "for=203.0.113.8"})).status_code == 200

    in_world(url, scenario, rate_limit_per_minute=2, trusted_proxies=["127.0.0.1"], proxy_header="forwarded")


def test_forwarded_addresses_of_strangers_are_not_believed(url: str) -> None:
    async def scenario(world: World) -> None:
        answers = [await world.client.get("/v1/gaps", headers={"X-Forwarded-For": f"203.0.113.{n}"}) for n in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]

    in_world(url, scenario, rate_limit_per_minute=2)


def test_other_sites_may_read_only_where_they_are_named(url: str) -> None:
    async def scenario(world: World) -> None:
        ours = {"Origin": "https://ours.example"}
        allowed = await world.client.get("/v1/gaps", headers=ours)
        assert allowed.headers["access-control-allow-origin"] == "https://ours.example"
        assert "ETag" in allowed.headers["access-control-expose-headers"]
        assert "Origin" in allowed.headers["vary"]
        theirs = await world.client.get("/v1/gaps", headers={"Origin": "https://theirs.example"})
        assert "access-control-allow-origin" not in theirs.headers
        preflight = await world.client.options(
            "/v1/alerts/rules", headers={**ours, "Access-Control-Request-Method": "POST"}
        )
        assert preflight.status_code == 204
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        failed = await world.client.get("/v1/nothing", headers=ours)
        assert failed.headers["access-control-allow-origin"] == "https://ours.example"

    in_world(url, scenario, cors_origins=["https://ours.example"])


def test_every_route_is_in_the_reference_and_the_reference_needs_nothing_from_elsewhere(url: str) -> None:
    async def scenario(world: World) -> None:
        document = await world.get("/openapi.json")
        page = (await world.client.get("/docs")).text
        for path, operations in document["paths"].items():
            assert path in page
            for operation in operations.values():
                assert operation["description"]
                assert "422" not in operation["responses"]
        assert "<script" not in page
        assert "https://" not in page.replace("https://bsky.app", "").replace("https://example.com", "")
        errors = (await world.client.get("/docs/problems")).text
        for path in ("/v1/nothing", "/v1/posts?x=1"):
            code = (await world.client.get(path)).json()["type"].partition("#")[2]
            assert f'id="{code}"' in errors

    in_world(url, scenario)


def test_the_site_is_served_with_a_policy_that_fits_it(url: str, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<h1>the page</h1>")
    (tmp_path / "assets" / "app-1.js").write_text("1")
    secret = tmp_path.parent / "secret.txt"
    secret.write_text("no")

    async def scenario(world: World) -> None:
        page = await world.client.get("/")
        assert page.text == "<h1>the page</h1>"
        assert page.headers["cache-control"] == "no-cache"
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "connect-src 'self' wss://api.example" in policy
        asset = await world.client.get("/assets/app-1.js")
        assert "immutable" in asset.headers["cache-control"]
        assert "javascript" in asset.headers["content-type"]
        for path in ("/assets", "/assets/", "/other.html", "/%2e%2e/secret.txt", "/v1", "/v1/x"):
            problem(await world.client.get(path), 404)
        assert await world.get("/config.json") == {
            "apiUrl": "",
            "wsUrl": "wss://api.example",
            "version": VERSION,
            "contact": "",
        }

    in_world(url, scenario, site_dir=tmp_path, public_ws_url="wss://api.example")


def test_a_site_that_was_not_built_says_so(url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        page = await world.client.get("/")
        assert page.status_code == 200
        assert "has not been built" in page.text

    in_world(url, scenario, site_dir=tmp_path / "dist")
