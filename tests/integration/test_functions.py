"""The Lambda functions as AWS runs them: the real runtime client, in a process, against a local Runtime API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from groundswell.adapters.migrations import REQUIRED_VERSION
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_pool import open_pool
from rehearsal.connections_endpoint import ConnectionsEndpoint
from rehearsal.events import http_event, socket_event
from rehearsal.local_lambda import FunctionFailed, LocalFunction
from tests.api_world import fill, post_id
from tests.roles import as_role

NOWHERE = "postgresql://nobody:nothing@127.0.0.1:9/none"


def with_api(url: str, scenario: Callable[[LocalFunction], Awaitable[None]], **environment: str) -> None:
    async def run() -> None:
        given = {"GROUNDSWELL_DATABASE_URL": as_role(url, "api"), "GROUNDSWELL_DATABASE_POOL_SIZE": "1", **environment}
        async with LocalFunction("api", "functions.api.handler.handler", given) as function:
            await scenario(function)

    asyncio.run(run())


def with_sockets(
    url: str, scenario: Callable[[LocalFunction, ConnectionsEndpoint], Awaitable[None]], **environment: str
) -> None:
    async def run() -> None:
        async with ConnectionsEndpoint() as endpoint:
            given = {
                "GROUNDSWELL_DATABASE_URL": as_role(url, "api"),
                "GROUNDSWELL_WS_ENDPOINT": endpoint.url,
                **environment,
            }
            async with LocalFunction("sockets", "functions.api.sockets.handler", given) as function:
                await scenario(function, endpoint)

    asyncio.run(run())


def test_http_events_are_answered_as_the_api_answers_and_each_leaves_one_structured_line(database_url: str) -> None:
    fill(database_url)

    async def scenario(function: LocalFunction) -> None:
        listing = await function.invoke(http_event("GET", "/v1/posts", query={"limit": "3"}))
        assert listing["statusCode"] == 200
        assert len(json.loads(listing["body"])["data"]) == 3
        again = await function.invoke(
            http_event("GET", "/v1/momentum", query="limit=5", headers={"accept": "application/json"})
        )
        assert again["statusCode"] == 200
        wrong = await function.invoke(http_event("GET", "/v1/posts", query={"limt": "3"}))
        assert wrong["statusCode"] == 400
        assert json.loads(wrong["body"])["field"] == "limt"
        said = [json.loads(line) for line in function.log if line.startswith("{") and '"request"' in line]
        lines = [line for line in said if line.get("message") == "request"]
        assert [(line["path"], line["status"]) for line in lines] == [
            ("/v1/posts", 200),
            ("/v1/momentum", 200),
            ("/v1/posts", 400),
        ]
        assert len([line for line in function.log if "/v1/momentum" in line]) == 1
        assert any("_aws" in json.loads(line) for line in function.log if line.startswith('{"_aws"') or "_aws" in line)

    with_api(database_url, scenario)


def test_a_function_without_its_database_answers_503_and_says_when_to_come_back() -> None:
    async def scenario(function: LocalFunction) -> None:
        answer = await function.invoke(http_event("GET", "/v1/posts"))
        assert answer["statusCode"] == 503
        assert int(answer["headers"]["retry-after"]) > 0
        assert json.loads(answer["body"])["type"].endswith("#store-unavailable")
        alive = await function.invoke(http_event("GET", "/healthz"))
        assert alive["statusCode"] == 200

    with_api(NOWHERE, scenario, GROUNDSWELL_DATABASE_POOL_WAIT_S="1")


def test_a_client_cannot_choose_the_address_that_it_is_counted_by(database_url: str) -> None:
    async def scenario(function: LocalFunction) -> None:
        left: list[str] = []
        for forged in ("198.51.100.1", "198.51.100.2", "198.51.100.3"):
            headers = {"x-forwarded-for": f"{forged}, 203.0.113.7"}
            answer = await function.invoke(http_event("GET", "/v1/gaps", headers=headers, source_ip="203.0.113.7"))
            left.append(answer["headers"]["ratelimit"].partition(";")[2])
        assert left[0] > left[1] > left[2]
        other = await function.invoke(http_event("GET", "/v1/gaps", source_ip="203.0.113.8"))
        assert other["headers"]["ratelimit"].partition(";")[2].startswith("r=59;")

    with_api(database_url, scenario, GROUNDSWELL_RATE_LIMIT_PER_MINUTE="60")


def test_behind_cloudfront_viewers_are_told_apart_where_its_networks_are_trusted(database_url: str) -> None:
    """CloudFront passes on whom it heard from, after what that client claimed; API Gateway adds CloudFront itself."""

    async def scenario(function: LocalFunction) -> None:
        left: list[str] = []
        for passed in ("203.0.113.7, 130.176.0.7", "6.6.6.6, 203.0.113.7, 130.176.0.9", "203.0.113.8, 130.176.0.7"):
            edge = passed.rpartition(" ")[2]
            answer = await function.invoke(
                http_event("GET", "/v1/gaps", headers={"x-forwarded-for": passed}, source_ip=edge)
            )
            left.append(answer["headers"]["ratelimit"].split(";")[1])
        assert left == ["r=59", "r=58", "r=59"]

    with_api(
        database_url,
        scenario,
        GROUNDSWELL_RATE_LIMIT_PER_MINUTE="60",
        GROUNDSWELL_TRUSTED_PROXIES="130.176.0.0/17",
    )


def test_a_wrong_environment_is_a_500_that_the_log_explains_and_the_client_does_not_see() -> None:
    async def scenario(function: LocalFunction) -> None:
        answer = await function.invoke(http_event("GET", "/v1/posts"))
        assert answer["statusCode"] == 500
        assert "GROUNDSWELL" not in answer["body"]
        assert any("GROUNDSWELL_DATABASE_POOL_SIZE" in line for line in function.log)
        assert any("GROUNDSWELL_LOG_LEVEL" in line for line in function.log)

    with_api(NOWHERE, scenario, GROUNDSWELL_DATABASE_POOL_SIZE="many", GROUNDSWELL_LOG_LEVEL="loud")


def test_a_client_connects_is_greeted_subscribes_and_leaves(database_url: str) -> None:
    async def scenario(function: LocalFunction, endpoint: ConnectionsEndpoint) -> None:
        assert (await function.invoke(socket_event("$connect", "c1=", kind="CONNECT")))["statusCode"] == 200
        body = json.dumps({"action": "subscribe", "topics": ["momentum"]})
        assert (await function.invoke(socket_event("subscribe", "c1=", body=body)))["statusCode"] == 200
        assert endpoint.types("c1=") == ["hello", "info"]
        body = json.dumps({"action": "dance"})
        assert (await function.invoke(socket_event("$default", "c1=", body=body)))["statusCode"] == 200
        assert endpoint.heard["c1="][-1]["data"]["code"] == "unknown-action"
        with psycopg.connect(database_url) as conn:
            assert conn.execute("SELECT connection_id, topics FROM ws_connections").fetchall() == [
                ("c1=", ["momentum"])
            ]
        assert (await function.invoke(socket_event("$disconnect", "c1=", kind="DISCONNECT")))["statusCode"] == 200
        with psycopg.connect(database_url) as conn:
            assert conn.execute("SELECT count(*) FROM ws_connections").fetchone() == (0,)
        lines = [json.loads(line) for line in function.log if '"event"' in line and line.startswith("{")]
        assert [line["route"] for line in lines if line.get("message") == "event"] == [
            "$connect",
            "subscribe",
            "$default",
            "$disconnect",
        ]

    with_sockets(database_url, scenario)


def test_pages_of_this_deployment_open_the_socket_and_those_of_other_sites_do_not(database_url: str) -> None:
    origins = {
        None: 200,  # no browser
        "https://d111.cloudfront.net": 200,
        "https://friend.example": 200,
        "https://evil.example": 403,
        "https://d111.cloudfront.net.evil.example": 403,
        "http://d111.cloudfront.net": 403,
        "null": 403,
    }

    async def scenario(function: LocalFunction, endpoint: ConnectionsEndpoint) -> None:
        for origin, status in origins.items():
            headers = {"Host": "ws.example.com", **({"Origin": origin} if origin else {})}
            event = socket_event("$connect", "c", kind="CONNECT", headers=headers)
            assert (await function.invoke(event))["statusCode"] == status, origin
        assert endpoint.types("c") == []

    with_sockets(
        database_url,
        scenario,
        GROUNDSWELL_PUBLIC_API_URL="https://d111.cloudfront.net",
        GROUNDSWELL_CORS_ORIGINS="https://friend.example",
    )


def test_a_wrong_token_is_refused_with_401_and_a_right_one_is_not(database_url: str) -> None:
    async def make_key() -> str:
        pool = await open_pool(database_url, size=1, wait_s=5, statement_timeout_s=5, application_name="test")
        try:
            return await PostgresKeys(pool).create("screen")
        finally:
            await pool.close()

    key = asyncio.run(make_key())

    async def scenario(function: LocalFunction, endpoint: ConnectionsEndpoint) -> None:
        for token, status in ((None, 401), ("gs_wrong", 401), (key, 200)):
            event = socket_event("$connect", "c", kind="CONNECT", query={"token": token} if token else None)
            assert (await function.invoke(event))["statusCode"] == status
        assert not any(key in line for line in function.log)

    with_sockets(database_url, scenario, GROUNDSWELL_WS_TOKEN_REQUIRED="yes")


def test_the_migration_runs_as_a_function_and_fails_loudly(postgres_server: str) -> None:
    async def run(url: str) -> object:
        async with LocalFunction(
            "migrate", "functions.migrate.handler.handler", {"GROUNDSWELL_DATABASE_URL": url}
        ) as function:
            return await function.invoke({})

    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute("CREATE DATABASE by_function")
    try:
        url = postgres_server.replace("/postgres?", "/by_function?")
        assert asyncio.run(run(url)) == {"before": None, "after": REQUIRED_VERSION, "logins": {}}
        assert asyncio.run(run(url)) == {"before": REQUIRED_VERSION, "after": REQUIRED_VERSION, "logins": {}}
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as conn:
            conn.execute("DROP DATABASE by_function WITH (FORCE)")
    with pytest.raises(FunctionFailed, match="cannot be reached"):
        asyncio.run(run(NOWHERE))


REST_API_EVENT: dict[str, Any] = {
    "version": "1.0",
    "httpMethod": "GET",
    "path": "/v1/posts",
    "requestContext": {"resourcePath": "/v1/posts", "httpMethod": "GET", "requestId": "r", "stage": "prod"},
}
SCHEDULED_EVENT: dict[str, Any] = {
    "version": "0",
    "id": "1",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "detail": {},
}
CONFIG_EVENT: dict[str, Any] = {
    "configRuleId": "config-rule-0123456",
    "invokingEvent": "{}",
    "resultToken": "t",
    "version": "1.0",
}


@pytest.mark.parametrize("handler", ["functions.api.handler.handler", "functions.api.sockets.handler"])
def test_an_event_of_another_kind_is_refused_by_name_and_the_next_is_answered(database_url: str, handler: str) -> None:
    async def run() -> None:
        given = {"GROUNDSWELL_DATABASE_URL": database_url, "GROUNDSWELL_WS_ENDPOINT": "http://127.0.0.1:9/live"}
        async with LocalFunction("api", handler, given) as function:
            others: list[dict[str, Any]] = [REST_API_EVENT, SCHEDULED_EVENT, CONFIG_EVENT, {}, {"requestContext": None}]
            for event in others:
                answer = await function.invoke(event)
                assert answer["statusCode"] == 400
                assert json.loads(answer["body"])["type"].endswith("#invalid-request")
                assert "invoke it through its API" in json.loads(answer["body"])["detail"]
            assert any("invoke it through its API" in line for line in function.log)
            if handler.endswith("api.handler.handler"):
                assert (await function.invoke(http_event("GET", "/healthz")))["statusCode"] == 200

    asyncio.run(run())


def test_a_post_is_found_in_every_form_that_its_id_takes_on_the_way(database_url: str) -> None:
    fill(database_url)
    written = post_id(3)
    forms = (
        written,
        written.replace("at://", "at:/"),
        quote(written, safe=""),
        quote(written),
        quote(written, safe="/"),
    )

    async def scenario(function: LocalFunction) -> None:
        for form in forms:
            for ending in ("", "/similar"):
                answer = await function.invoke(http_event("GET", f"/v1/posts/{form}{ending}"))
                assert answer["statusCode"] == 200, (form, ending)
            found = json.loads((await function.invoke(http_event("GET", f"/v1/posts/{form}")))["body"])
            assert found["data"]["id"] == written

    with_api(database_url, scenario)


def test_events_import_nothing_since_all_that_they_need_is_there_when_the_function_has_started(
    database_url: str,
) -> None:
    fill(database_url)

    async def run() -> None:
        settings = {"GROUNDSWELL_DATABASE_URL": database_url}
        async with LocalFunction("api", "tests.modules_after.handler", settings) as function:
            for path in ("/v1/momentum", "/v1/posts", "/v1/status", "/v1/events", "/v1/gaps", "/nothing"):
                answer = await function.invoke(http_event("GET", path))
                assert (path, answer) == (path, {"status": 404 if path == "/nothing" else 200, "imported": []})

    asyncio.run(run())


def test_a_function_connects_to_the_database_while_it_starts(database_url: str) -> None:
    async def scenario(function: LocalFunction) -> None:
        assert (await function.invoke(http_event("GET", "/healthz")))["statusCode"] == 200
        with psycopg.connect(database_url) as conn:
            counted = conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'groundswell api function'"
            ).fetchone()
        assert counted == (1,)

    with_api(database_url, scenario)


def test_a_function_that_could_not_start_properly_works_as_soon_as_it_can(database_url: str) -> None:
    """Its secret is not there at first: each event says so, in a process that goes on, until it is."""

    async def run() -> None:
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            client = boto3.client(
                "secretsmanager",
                "us-east-1",
                endpoint_url=f"http://{host}:{port}",
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )
            arn = client.create_secret(Name="late", SecretString=database_url)["ARN"]
            client.delete_secret(SecretId=arn)
            settings = {"GROUNDSWELL_DATABASE_URL": arn, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
            async with LocalFunction("api", "functions.api.handler.handler", settings) as function:
                for _ in range(2):
                    answer = await function.invoke(http_event("GET", "/v1/posts"))
                    assert answer["statusCode"] == 500
                said = [line for line in function.log if "GROUNDSWELL_DATABASE_URL" in line and "this role" in line]
                assert len(said) == 3, "as it starts, and for each event"
                process = function.pid
                client.restore_secret(SecretId=arn)
                assert (await function.invoke(http_event("GET", "/v1/posts")))["statusCode"] == 200
                assert function.pid == process
        finally:
            server.stop()

    asyncio.run(run())
