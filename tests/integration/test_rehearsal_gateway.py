"""The rehearsal's API Gateway and CloudFront: what functions and clients see of each other through them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rehearsal.acts import Here
from rehearsal.deployed import DeployedApi, DeployedSite
from rehearsal.gateway import EDGE, VIEWER, Gateway
from rehearsal.local_lambda import FunctionFailed
from rehearsal.network import Certificates

API, SOCKETS, SITE = "api.amazonaws.com", "sockets.amazonaws.com", "page.cloudfront.net"
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}
ROUTES = ("$connect", "$disconnect", "$default", "subscribe")


class Function:
    """Notes its events, and answers what the test says."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.answer: dict[str, Any] | FunctionFailed = {"statusCode": 200}
        self._heard = asyncio.Condition()

    async def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        async with self._heard:
            self.events.append(event)
            self._heard.notify_all()
        if isinstance(self.answer, FunctionFailed):
            raise self.answer
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
    def __init__(self, gateway: Gateway, client: aiohttp.ClientSession, api: Function, sockets: Function) -> None:
        self.gateway, self.client, self.api, self.sockets = gateway, client, api, sockets

    async def status(self, url: str, method: str = "GET", **more: Any) -> int:
        async with self.client.request(method, url, **more) as answer:
            await answer.read()
            return answer.status

    @property
    def routes(self) -> list[str]:
        return [event["requestContext"]["routeKey"] for event in self.sockets.events]


@asynccontextmanager
async def world(folder: Path) -> AsyncGenerator[World]:
    api, sockets = Function(), Function()
    certificates = Certificates(folder, [API, SOCKETS, SITE])
    gateway = Gateway(
        http=DeployedApi(API, "$default", "", {"ANY /{proxy+}": "api"}),
        sockets=DeployedApi(SOCKETS, "live", "$request.body.action", dict.fromkeys(ROUTES, "sockets")),
        site=DeployedSite(SITE, "the-bucket", "index.html", ["/v1/*", "/healthz"], API),
        functions={"api": api, "sockets": sockets},  # pyright: ignore[reportArgumentType]
        buckets=Bucket(),
        port=0,
    )
    await gateway.open(certificates.for_server())
    connector = aiohttp.TCPConnector(resolver=Here(gateway.port), ssl=certificates.for_client())
    try:
        async with aiohttp.ClientSession(connector=connector) as client:
            yield World(gateway, client, api, sockets)
    finally:
        await gateway.close()


def played(folder: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        async with world(folder) as here:
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
        assert here.gateway.clients == {}
        assert here.routes == ["$connect"]

    played(tmp_path, scenario)


def test_messages_reach_clients_by_signed_posts_alone_and_who_left_is_gone(tmp_path: Path) -> None:
    async def scenario(here: World) -> None:
        async with here.client.ws_connect(f"wss://{SOCKETS}/live") as client:
            await client.send_str('{"action":"subscribe"}')
            await here.sockets.event(1)
            ((connection, _),) = here.gateway.clients.items()
            url = f"https://{SOCKETS}/live/@connections/{connection}"
            assert await here.status(url, "POST", data=b"unsigned") == 403
            assert here.gateway.unsigned_posts == 1
            frame = json.dumps({"type": "hello"})
            assert await here.status(url, "POST", data=frame, headers=SIGNED) == 200
            assert await client.receive_str() == frame
            assert await here.status(url, "DELETE", headers=SIGNED) == 204
            assert (await client.receive()).type == aiohttp.WSMsgType.CLOSE
        await here.sockets.event(2)
        assert await here.status(url, "POST", data=frame, headers=SIGNED) == 410

    played(tmp_path, scenario)
