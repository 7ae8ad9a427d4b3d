"""The vector index through a function: what is forwarded, what is refused, and how each failure is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import httpx
import numpy as np
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.session import Session

from groundswell.adapters.archive_s3 import S3Archive
from groundswell.adapters.forwarding import forwarder as forwarding
from groundswell.adapters.forwarding.forwarder import VectorForwarder
from groundswell.adapters.forwarding.transport import FunctionTransport, endpoint_of
from groundswell.adapters.forwarding.wire import MAX_PAYLOAD_BYTES
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.adapters.system_clock import SystemClock
from groundswell.configuration.references import resolve
from groundswell.errors import VectorIndexUnavailable
from groundswell.ports.vectors import SearchFilters, Space, Vector, VectorPoint

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:vectors"
SPACE = Space("static", 8)
NORTH = Vector(SPACE, np.eye(8, dtype=np.float32)[0])
Handler = Callable[[dict[str, Any]], Any]


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test as a plain function."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@asynccontextmanager
async def served(routes: Callable[[web.Request], Any]) -> AsyncGenerator[str]:
    """A server of one handler. Yields its address."""
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def through_a_function(
    handler: Handler, *, url: str = "https://x.cloud.qdrant.io"
) -> AsyncGenerator[QdrantIndex]:
    """An index whose requests `handler` gets, as the events of a function that Lambda runs."""

    async def invoke(request: web.Request) -> web.Response:
        assert request.path == "/2015-03-31/functions/vectors/invocations"
        assert "/eu-central-1/lambda/aws4_request" in request.headers["Authorization"]
        answer = await asyncio.to_thread(handler, await request.json())
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    async with served(invoke) as endpoint:
        own = Credentials("key", "secret")
        index = QdrantIndex(url, transport=FunctionTransport(ARN, endpoint=endpoint, credentials=own))
        try:
            yield index
        finally:
            await index.close()


@on_a_loop
async def test_all_that_the_adapter_asks_reaches_the_index_and_comes_back(tmp_path: Any) -> None:
    async with EmbeddedQdrant(tmp_path) as engine:
        forwarder = VectorForwarder(engine.url, SystemClock(), collection="posts", key=engine.api_key)
        async with through_a_function(forwarder.forward, url=engine.url) as index:
            assert await index.pks(0, 10) == []
            await index.ensure(SPACE)
            await index.upsert([VectorPoint(pk=pk, vector=NORTH, payload={}) for pk in (1, 2, 3)])
            assert len(await index.search(NORTH, SearchFilters(), 5)) == 3
            await index.delete([1, 2])
            assert (await index.pks(0, 10), await index.count()) == ([3], 1)
            assert await index.spaces() == [SPACE]
            await index.clear()
            assert await index.spaces() == []


@on_a_loop
async def test_what_is_not_of_its_own_collections_is_not_forwarded() -> None:
    forwarder = VectorForwarder("http://127.0.0.1:9", SystemClock(), collection="posts")
    for method, target in (
        ("POST", "/collections/other/points/delete"),
        ("POST", "/collections/posts-staging/points/delete"),
        ("DELETE", "/collections/other"),
        ("PUT", "/collections/aliases"),
        ("POST", "/collections/posts/snapshots"),
        ("POST", "/collections/posts/points"),
        ("DELETE", "/collections/posts/points"),
        ("GET", "/collections/posts/../../telemetry"),
        ("GET", "/telemetry"),
        ("POST", "/collections/posts/points/query?x=http://elsewhere"),
    ):
        refused = forwarder.forward({"method": method, "target": target, "body": "{}"})
        assert "is not forwarded from functions" in refused["unreachable"], target
    assert "is no request" in forwarder.forward({"httpMethod": "GET"})["unreachable"]


@on_a_loop
async def test_the_function_adds_the_key_and_reads_it_anew_when_it_is_refused() -> None:
    seen: list[str | None] = []

    async def cluster(request: web.Request) -> web.Response:
        seen.append(request.headers.get("api-key"))
        if seen[-1] != "new":
            return web.json_response({"status": {"error": "forbidden"}}, status=403)
        if request.path == "/collections":
            return web.json_response({"result": {"collections": [{"name": "posts.static.u8"}]}})
        return web.json_response({"result": {"count": 7}, "status": "ok", "time": 0.1})

    async with served(cluster) as url:
        forwarder = VectorForwarder(url, SystemClock(), collection="posts", key="old", renew=lambda: "new")
        async with through_a_function(forwarder.forward, url=url) as index:
            with pytest.raises(VectorIndexUnavailable, match="refuses the API key"):
                await index.count()
            assert await index.count() == 7
    assert seen[:2] == ["old", "new"] and set(seen[1:]) == {"new"}


def _failed(_: dict[str, Any]) -> web.Response:
    failure = {"errorType": "ConfigError", "errorMessage": "GROUNDSWELL_QDRANT_URL: is not set"}
    return web.json_response(failure, headers={"X-Amz-Function-Error": "Unhandled"})


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (lambda _: {"unreachable": "ConnectTimeoutError: too late"}, "does not answer .ConnectError: ConnectTimeout"),
        (_failed, "the function vectors failed: .*GROUNDSWELL_QDRANT_URL: is not set"),
        (lambda _: web.json_response({"Message": "Rate Exceeded."}, status=429), "HTTP 429: .*Rate Exceeded"),
        (lambda _: web.json_response({"Message": "not authorized"}, status=403), "HTTP 403: .*not authorized"),
        (lambda _: ["something"], "answers something else"),
    ],
)
@on_a_loop
async def test_whatever_fails_on_the_way_is_an_index_that_does_not_answer(handler: Handler, said: str) -> None:
    async with through_a_function(handler) as index:
        with pytest.raises(VectorIndexUnavailable, match=said):
            await index.count()


@on_a_loop
async def test_a_cluster_that_cannot_be_reached_is_told_as_such() -> None:
    forwarder = VectorForwarder("http://127.0.0.1:9", SystemClock(), collection="posts", timeout_s=2)
    async with through_a_function(forwarder.forward) as index:
        with pytest.raises(VectorIndexUnavailable, match=r"does not answer .*Connection refused"):
            await index.count()


@on_a_loop
async def test_a_request_that_lambda_would_not_take_is_refused_before_it_is_sent() -> None:
    async def never(_: web.Request) -> web.Response:
        raise AssertionError("sent")

    async with served(never) as endpoint:
        transport = FunctionTransport(ARN, endpoint=endpoint, credentials=Credentials("a", "b"))
        async with httpx.AsyncClient(transport=transport) as client:
            answer = await client.post("https://x.cloud.qdrant.io/", content=b"1" * MAX_PAYLOAD_BYTES)
    assert answer.status_code == 413 and f"Lambda takes {MAX_PAYLOAD_BYTES}" in answer.text


@on_a_loop
async def test_an_answer_that_lambda_would_not_return_says_so_instead_of_failing_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def cluster(_: web.Request) -> web.Response:
        return web.json_response({"result": ["x" * 500]})

    monkeypatch.setattr(forwarding, "MAX_PAYLOAD_BYTES", 400)
    async with served(cluster) as url:
        forwarder = VectorForwarder(url, SystemClock(), collection="posts")
        result = await asyncio.to_thread(forwarder.forward, {"method": "GET", "target": "/collections/posts"})
    assert result["status"] == 413 and len(json.dumps(result)) < 400


# ------------------------------------------------------------------ the addresses of AWS
@pytest.mark.parametrize(
    ("partition", "region"), [("aws", "us-east-1"), ("aws", "eu-central-2"), ("aws-cn", "cn-north-1")]
)
def test_lambda_is_reached_where_botocore_would_over_ipv6(partition: str, region: str) -> None:
    session: Any = Session()
    client = session.create_client(
        "lambda", region_name=region, aws_access_key_id="a", aws_secret_access_key="b",
        config=Config(use_dualstack_endpoint=True),
    )  # fmt: skip
    assert endpoint_of(partition, region) == client.meta.endpoint_url


@pytest.mark.parametrize("dual_stack", ["true", "false"])
@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1"])
@pytest.mark.parametrize(("service", "name"), [("secretsmanager", "secret:database"), ("ssm", "parameter/key")])
def test_secrets_are_read_where_botocore_would_read_them(
    service: str, name: str, region: str, dual_stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL_SECRETS_MANAGER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    asked: list[str] = []

    def urlopen(request: Any, **_: object) -> Any:
        asked.append(request.full_url)
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    partition = "aws-cn" if region.startswith("cn-") else "aws"
    with pytest.raises(ValueError, match="no network here"):
        resolve(f"arn:{partition}:{service}:{region}:123456789012:{name}")
    session: Any = Session()
    client = session.create_client(service, region_name=region, aws_access_key_id="a", aws_secret_access_key="b")
    assert set(asked) == {f"{client.meta.endpoint_url}/"}


def test_s3_stays_on_the_address_that_its_gateway_endpoint_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_USE_DUALSTACK_ENDPOINT", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    client = S3Archive("bucket")._connect()
    assert "dualstack" not in client.meta.endpoint_url
    assert "dualstack" not in client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "a"})


@on_a_loop
async def test_the_environment_names_another_lambda_as_for_every_client(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lambda_api(_: web.Request) -> web.Response:
        return web.json_response({"status": 200, "body": "hello"})

    async with served(lambda_api) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", endpoint)
        transport = FunctionTransport(ARN, credentials=Credentials("a", "b"))
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get("https://x.cloud.qdrant.io/collections/posts")).text == "hello"


def test_another_name_than_a_functions_is_refused() -> None:
    with pytest.raises(ValueError, match="is not the ARN of a Lambda function"):
        FunctionTransport("vectors")
