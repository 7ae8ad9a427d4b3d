"""The rehearsal's API Gateway and CloudFront: what functions and clients see of each other through them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from yarl import URL

from rehearsal.acts import Here
from rehearsal.cloudfront import (
    ALL,
    CACHE_POLICIES,
    EDGE,
    ORIGIN_REQUEST_POLICIES,
    Behaviour,
    DeployedSite,
    InvalidPolicy,
    Policy,
    only,
    policy_of,
)
from rehearsal.deployed import DeployedApi
from rehearsal.gateway import VIEWER, Gateway
from rehearsal.local_lambda import FunctionFailed, PayloadTooLarge
from rehearsal.network import HOST, Certificates
from rehearsal.websocket_api import Limits

API, SOCKETS, SITE = "api.amazonaws.com", "sockets.amazonaws.com", "page.cloudfront.net"
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}
WITH_HOST, WITHOUT_HOST = (CACHE_POLICIES["4cc15a8a-d715-48a4-82b8-cc0b614638fe"], Policy(only("origin"), query=ALL))
ALL_BUT_HOST = ORIGIN_REQUEST_POLICIES["b689b0a8-53d0-40ab-baf2-68738e2966ac"]
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ROUTES = ("$connect", "$disconnect", "$default", "subscribe")


class Function:
    """Notes its events, and answers what the test says."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.answer: dict[str, Any] | FunctionFailed = {"statusCode": 200}
        self.never = False
        """Whether it never answers."""
        self._heard = asyncio.Condition()

    async def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        async with self._heard:
            self.events.append(event)
            self._heard.notify_all()
        if isinstance(self.answer, FunctionFailed):
            raise self.answer
        if self.never:
            await asyncio.Event().wait()
        return self.answer

    async def event(self, number: int) -> dict[str, Any]:
        """The one with this number, once it is there."""
        async with asyncio.timeout(60), self._heard:
            await self._heard.wait_for(lambda: len(self.events) > number)
        return self.events[number]


class Bucket:
    """As much of a client of S3 as the page is read with."""

    class exceptions:  # noqa: N801 -- as botocore names it
        NoSuchKey = KeyError

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 -- as botocore names them
        content = {"index.html": (b"<title>page</title>", "text/html; charset=utf-8")}
        body, kind = content[Key]
        assert Bucket == "the-bucket"
        return {"Body": io.BytesIO(body), "ContentType": kind}


class World:
    def __init__(
        self, gateway: Gateway, client: aiohttp.ClientSession, api: Function, sockets: Function, tls: ssl.SSLContext
    ) -> None:
        self.gateway, self.client, self.api, self.sockets, self.tls = gateway, client, api, sockets, tls

    async def status(self, url: str, method: str = "GET", **more: Any) -> int:
        async with self.client.request(method, url, **more) as answer:
            await answer.read()
            return answer.status

    @property
    def routes(self) -> list[str]:
        return [event["requestContext"]["routeKey"] for event in self.sockets.events]


@asynccontextmanager
async def world(
    folder: Path,
    *,
    cache: Policy = WITHOUT_HOST,
    limits: Limits | None = None,
    integration_limit_s: float = 30.0,
    rate: float = 0.0,
    burst: int = 0,
) -> AsyncGenerator[World]:
    api, sockets = Function(), Function()
    certificates = Certificates(folder, [API, SOCKETS, SITE])
    gateway = Gateway(
        http=DeployedApi(API, "$default", "", {"ANY /{proxy+}": "api"}, rate=rate, burst=burst),
        sockets=DeployedApi(
            SOCKETS, "live", "$request.body.action", dict.fromkeys(ROUTES, "sockets"), rate=rate, burst=burst
        ),
        site=DeployedSite(
            SITE,
            "the-bucket",
            "index.html",
            Behaviour("*", "the-bucket.s3.amazonaws.com", frozenset({"GET", "HEAD"}), Policy(compresses=True)),
            [Behaviour(pattern, API, METHODS, cache, ALL_BUT_HOST) for pattern in ("/v1/*", "/healthz")],
        ),
        functions={"api": api, "sockets": sockets},  # pyright: ignore[reportArgumentType]
        buckets=Bucket(),
        port=0,
        limits=limits,
        integration_limit_s=integration_limit_s,
    )
    await gateway.open(certificates.for_server())
    connector = aiohttp.TCPConnector(resolver=Here(gateway.port), ssl=certificates.for_client())
    try:
        async with aiohttp.ClientSession(connector=connector) as client:
            yield World(gateway, client, api, sockets, certificates.for_client())
    finally:
        await gateway.close()


def played(folder: Path, scenario: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with world(folder, **settings) as here:
            await asyncio.wait_for(scenario(here), 100)

    asyncio.run(run())


def test_the_page_comes_from_the_bucket_and_what_is_not_there_is_forbidden(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        async with here.client.get(f"https://{SITE}/") as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert await answer.text() == "<title>page</title>"
        assert await here.status(f"https://{SITE}/nothing.js") == 403
        assert here.api.events == []

    played(tmp_path, scenario)


def test_a_function_is_told_who_asks_whatever_the_client_claims(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        claimed = {"X-Forwarded-For": "6.6.6.6"}
        await here.status(f"https://{API}/v1/posts?limit=3", headers=claimed)
        await here.status(f"https://{SITE}/v1/posts", headers=claimed)
        direct, through = here.api.events
        assert direct["requestContext"]["http"]["sourceIp"] == VIEWER
        assert direct["headers"]["x-forwarded-for"] == f"6.6.6.6, {VIEWER}"
        assert direct["rawQueryString"] == "limit=3"
        assert through["requestContext"]["http"]["sourceIp"] == EDGE
        assert through["headers"]["x-forwarded-for"] == f"6.6.6.6, {VIEWER}, {EDGE}"
        assert through["headers"]["host"] == API

    played(tmp_path, scenario)


# ------------------------------------------------------------------ CloudFront
def test_a_cache_policy_with_the_viewers_host_in_its_key_makes_api_gateway_refuse_every_request(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        async with here.client.get(f"https://{SITE}/v1/posts") as answer:
            assert (answer.status, await answer.json()) == (403, {"message": "Forbidden"})
        assert here.api.events == []

    played(tmp_path, scenario, cache=WITH_HOST)


def test_only_what_the_policies_name_reaches_the_origin(tmp_path: Path) -> None:
    narrow = Policy(only("accept"), cookies=only("theme"), query=only("limit"))

    async def scenario(here: World) -> None:
        headers = {"Accept": "text/csv", "X-Api-Key": "k", "Cookie": "theme=dark; id=7"}
        await here.status(f"https://{SITE}/v1/posts?limit=3&cursor=c", headers=headers)
        (event,) = here.api.events
        assert event["rawQueryString"] == "limit=3&cursor=c", "the origin request policy takes every query string"
        assert event["headers"]["x-api-key"] == "k"

    played(tmp_path, scenario, cache=narrow)
    behaviour = Behaviour("*", API, METHODS, narrow)
    sent = {"accept": "text/csv", "x-api-key": "k", "cookie": "theme=dark; id=7", "host": SITE, "te": "trailers"}
    assert behaviour.headers_for(sent, peer=VIEWER) == {
        "accept": "text/csv",
        "cookie": "theme=dark",
        "host": API,
        "user-agent": "Amazon CloudFront",
        "via": "2.0 rehearsal.cloudfront.net (CloudFront)",
        "x-forwarded-for": VIEWER,
    }
    assert behaviour.query_for("limit=3&cursor=c") == "limit=3"


def test_accepted_encodings_reach_the_origin_in_their_normal_form_where_the_policy_compresses() -> None:
    sent = {"accept-encoding": "zstd, gzip;q=0.8, br"}
    for cache, origin_request, received in (
        (Policy(compresses=True), Policy(), "br,gzip"),
        (Policy(), ALL_BUT_HOST, "zstd, gzip;q=0.8, br"),
        (Policy(), Policy(), None),
    ):
        behaviour = Behaviour("*", API, METHODS, cache, origin_request)
        assert behaviour.headers_for(sent, peer=VIEWER).get("accept-encoding") == received


def test_cloudfront_refuses_a_cache_policy_with_a_key_that_caches_nothing() -> None:
    keyed = {
        "EnableAcceptEncodingGzip": False,
        "HeadersConfig": {"HeaderBehavior": "whitelist", "Headers": ["Origin"]},
        "CookiesConfig": {"CookieBehavior": "none"},
        "QueryStringsConfig": {"QueryStringBehavior": "all"},
    }
    config = {"MinTTL": 0, "DefaultTTL": 0, "MaxTTL": 60, "ParametersInCacheKeyAndForwardedToOrigin": keyed}
    assert policy_of(config) == Policy(only("origin"), query=ALL)
    with pytest.raises(InvalidPolicy, match="HeaderBehavior is invalid for policy with caching disabled"):
        policy_of({**config, "MaxTTL": 0})


def test_a_method_that_the_behaviour_does_not_allow_and_a_read_with_a_body_are_refused(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        assert await here.status(f"https://{SITE}/", "POST") == 403
        assert await here.status(f"https://{SITE}/v1/posts", "GET", data=b"{}") == 403
        assert await here.status(f"https://{SITE}/v1/alerts/rules", "POST", data=b"{}") == 200
        assert len(here.api.events) == 1

    played(tmp_path, scenario)


# ------------------------------------------------------------------ the HTTP API
def test_the_http_api_refuses_a_host_that_is_not_its_own_and_a_path_without_a_route(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        async with here.client.get(f"https://{API}/v1/posts", headers={"Host": SITE}) as answer:
            assert (answer.status, await answer.json()) == (403, {"message": "Forbidden"})
        async with here.client.get(f"https://{API}/") as answer:
            assert (answer.status, await answer.json()) == (404, {"message": "Not Found"})
        assert here.api.events == []

    played(tmp_path, scenario)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("/v1/posts/at%3A%2F%2Fdid%3Aplc%3Aa%2Fpost%2F1", "/v1/posts/at://did:plc:a/post/1"),
        ("/v1/posts/at://did:plc:a/post/1", "/v1/posts/at://did:plc:a/post/1"),
        ("/v1/posts/a%3Fb%2Fc", "/v1/posts/a"),
        ("/v1/posts/%C3%A4", "/v1/posts/ä"),
    ],
)
def test_a_function_receives_the_decoded_path_cut_at_a_decoded_question_mark(
    tmp_path: Path, sent: str, received: str
) -> None:
    async def scenario(here: World) -> None:
        for host in (API, SITE):
            await here.status(URL(f"https://{host}{sent}?q=a%3Fb", encoded=True))  # pyright: ignore[reportArgumentType]
        for event in here.api.events:
            assert (event["rawPath"], event["requestContext"]["http"]["path"]) == (received, received)
            assert event["rawQueryString"] == "q=a%3Fb"
            assert event["routeKey"] == "ANY /{proxy+}"
            assert event["pathParameters"] == {"proxy": received.removeprefix("/")}
        assert len(here.api.events) == 2

    played(tmp_path, scenario)


def test_an_answer_that_takes_longer_than_the_limit_is_a_503(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        here.api.never = True
        async with here.client.get(f"https://{API}/v1/posts") as answer:
            assert (answer.status, await answer.json()) == (503, {"message": "Service Unavailable"})

    played(tmp_path, scenario, integration_limit_s=0.05)


def test_a_body_that_the_gateway_or_the_function_cannot_take_is_a_413(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        for host in (API, SITE):
            assert (
                await here.status(f"https://{host}/v1/alerts/rules", "POST", data=b" " * (10 * 1024 * 1024 + 1)) == 413
            )
        assert here.api.events == []
        here.api.answer = PayloadTooLarge("Request must be smaller than 6291456 bytes")
        assert await here.status(f"https://{API}/v1/alerts/rules", "POST", data=b"{}") == 413

    played(tmp_path, scenario)


def test_more_requests_than_the_stage_lets_through_are_429(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        statuses = [await here.status(f"https://{API}/v1/posts") for _ in range(3)]
        assert statuses == [200, 200, 429]
        async with here.client.get(f"https://{API}/v1/posts") as answer:
            assert await answer.json() == {"message": "Too Many Requests"}
        async with here.client.ws_connect(f"wss://{SOCKETS}/live") as client:
            await client.send_str('{"action":"subscribe"}')
            await here.sockets.event(1)
            await client.send_str('{"action":"subscribe"}')
            said = json.loads(await client.receive_str())
            assert said["message"] == "Too Many Requests"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await here.client.ws_connect(f"wss://{SOCKETS}/live")
            assert refused.value.status == 429

    played(tmp_path, scenario, rate=1e-9, burst=2)


def test_an_answer_is_passed_on_whole_and_a_failing_function_is_a_500(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        body = base64.b64encode(b"\x00\xff").decode()
        here.api.answer = {"statusCode": 418, "headers": {"etag": '"a"'}, "body": body, "isBase64Encoded": True}
        async with here.client.post(f"https://{API}/v1/alerts/rules", data=b"{}") as answer:
            assert (answer.status, answer.headers["etag"], await answer.read()) == (418, '"a"', b"\x00\xff")
        assert here.api.events[0]["body"]
        here.api.answer = FunctionFailed("it raised")
        async with here.client.get(f"https://{API}/healthz") as answer:
            assert (answer.status, await answer.json()) == (500, {"message": "Internal Server Error"})

    played(tmp_path, scenario)


def test_an_action_chooses_its_route_and_all_else_goes_to_the_default(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        async with here.client.ws_connect(f"wss://{SOCKETS}/live?token=t") as client:
            for said in ('{"action":"subscribe"}', '{"action":"dance"}', '{"action":7}', "no json", "[1]"):
                await client.send_str(said)
            await here.sockets.event(5)
        await here.sockets.event(6)
        assert here.routes == ["$connect", "subscribe", *["$default"] * 4, "$disconnect"]
        connected, spoken = here.sockets.events[:2]
        assert connected["queryStringParameters"] == {"token": "t"}
        assert spoken["body"] == '{"action":"subscribe"}'
        assert {event["requestContext"]["connectionId"] for event in here.sockets.events} == {
            connected["requestContext"]["connectionId"]
        }

    played(tmp_path, scenario)


@pytest.mark.parametrize(
    ("result", "status"), [({"statusCode": 401}, 401), ({"statusCode": 503}, 503), (FunctionFailed("it ended"), 502)]
)
def test_who_is_not_let_in_gets_no_socket(tmp_path: Path, result: Any, status: int) -> None:
    async def scenario(here: World) -> None:
        here.sockets.answer = result
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await here.client.ws_connect(f"wss://{SOCKETS}/live")
        assert refused.value.status == status
        assert here.gateway.websocket_api.clients == {}
        assert here.routes == ["$connect"]

    played(tmp_path, scenario)


def test_messages_reach_clients_by_signed_posts_alone_and_who_left_is_gone(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        async with here.client.ws_connect(f"wss://{SOCKETS}/live") as client:
            await client.send_str('{"action":"subscribe"}')
            await here.sockets.event(1)
            ((connection, _),) = here.gateway.websocket_api.clients.items()
            url = f"https://{SOCKETS}/live/@connections/{connection}"
            assert await here.status(url, "POST", data=b"unsigned") == 403
            assert here.gateway.websocket_api.refused_posts == ["Missing Authentication Token"]
            frame = json.dumps({"type": "hello"})
            assert await here.status(url, "POST", data=frame, headers=SIGNED) == 200
            assert await client.receive_str() == frame
            assert await here.status(url, "DELETE", headers=SIGNED) == 204
            assert (await client.receive()).type == aiohttp.WSMsgType.CLOSE
        await here.sockets.event(2)
        assert await here.status(url, "POST", data=frame, headers=SIGNED) == 410

    played(tmp_path, scenario)


# ------------------------------------------------------------------ limits of the WebSocket API
@pytest.mark.parametrize(
    ("frame", "code"),
    [("x" * (32 * 1024 + 1), aiohttp.WSCloseCode.MESSAGE_TOO_BIG), (b"\x00", aiohttp.WSCloseCode.UNSUPPORTED_DATA)],
)
def test_a_frame_above_32_kib_and_a_binary_one_close_the_socket(
    tmp_path: Path, frame: str | bytes, code: aiohttp.WSCloseCode
) -> None:
    async def scenario(here: World) -> None:
        async with here.client.ws_connect(f"wss://{SOCKETS}/live") as client:
            await client.send_str("x" * (32 * 1024))
            await here.sockets.event(1)
            await (client.send_str(frame) if isinstance(frame, str) else client.send_bytes(frame))
            closed = await client.receive()
            assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, code)
        assert (await here.sockets.event(2))["requestContext"]["routeKey"] == "$disconnect"

    played(tmp_path, scenario)


def test_a_message_of_many_frames_may_have_128_kib_and_no_more(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        for frames, accepted in ((4, True), (5, False)):
            begun = len(here.sockets.events)
            async with websockets.connect(
                f"wss://{SOCKETS}/live", host=HOST, port=here.gateway.port, ssl=here.tls, compression=None
            ) as client:
                await client.send(["x" * (32 * 1024)] * frames)
                if accepted:
                    assert len((await here.sockets.event(begun + 1))["body"]) == 128 * 1024
                else:
                    with pytest.raises(websockets.ConnectionClosedError) as closed:
                        await client.recv()
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG

    played(tmp_path, scenario)


@pytest.mark.parametrize("limits", [Limits(idle_s=0.05), Limits(life_s=0.05)])
def test_a_socket_that_is_idle_or_too_old_is_closed(tmp_path: Path, limits: Limits) -> None:
    async def scenario(here: World) -> None:
        async with here.client.ws_connect(f"wss://{SOCKETS}/live") as client:
            closed = await client.receive()
            assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)

    played(tmp_path, scenario, limits=limits)


def test_a_client_whose_route_fails_receives_api_gateways_own_error(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        async with here.client.ws_connect(f"wss://{SOCKETS}/live") as client:
            here.sockets.answer = FunctionFailed("it raised")
            await client.send_str('{"action":"subscribe"}')
            said = json.loads(await client.receive_str())
            assert said.keys() == {"message", "connectionId", "requestId"}
            assert said["message"] == "Internal server error"
            assert said["connectionId"] in here.gateway.websocket_api.clients

    played(tmp_path, scenario)


def test_a_post_that_is_too_long_or_one_too_many_is_refused(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        async with here.client.ws_connect(f"wss://{SOCKETS}/live") as client:
            await client.send_str('{"action":"subscribe"}')
            await here.sockets.event(1)
            (connection,) = here.gateway.websocket_api.clients
            url = f"https://{SOCKETS}/live/@connections/{connection}"
            for size, status, kind in (
                (128 * 1024 + 1, 413, "PayloadTooLargeException"),
                (128 * 1024, 200, None),
                (1, 200, None),
                (1, 429, "LimitExceededException"),
                (1, 200, None),
            ):
                async with here.client.post(url, data=b"x" * size, headers=SIGNED) as answer:
                    assert (answer.status, answer.headers.get("x-amzn-ErrorType")) == (status, kind)

    played(tmp_path, scenario, limits=Limits(throttled_post=3))
