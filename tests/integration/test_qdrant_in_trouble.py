"""What the index makes of a Qdrant in trouble, and of other things that may answer at its address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import pytest

from groundswell.adapters import qdrant_rest
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_rest import KEEP_ALIVE_S, base_url
from groundswell.errors import VectorIndexUnavailable
from groundswell.ports.vectors import SearchFilters, Space, Vector, VectorPoint
from tests.fake_qdrant import CANNED, FakeQdrant, fake_qdrant

SPACE = Space("toy", 2)
TOWARD = Vector(SPACE, np.array([1, 0], np.float32))
POINT = VectorPoint(1, TOWARD, {"pk": 1, "author": "a", "event_time": 1})

Use = Callable[[QdrantIndex], Awaitable[object]]
READS: dict[str, Use] = {
    "check": lambda index: index.check(),
    "spaces": lambda index: index.spaces(),
    "search": lambda index: index.search(TOWARD, SearchFilters(), 1),
    "count": lambda index: index.count(),
    "pks": lambda index: index.pks(-1, 1),
    "outdated": lambda index: index.outdated(-1, 1),
}
WRITES: dict[str, Use] = {
    "upsert": lambda index: index.upsert([POINT]),
    "delete": lambda index: index.delete([1]),
    "delete_before": lambda index: index.delete_before(5),
}
CHANGES: dict[str, Use] = {
    "ensure": lambda index: index.ensure(SPACE),
    "drop": lambda index: index.drop(SPACE.name),
    "clear": lambda index: index.clear(),
}
USES = {**READS, **WRITES, **CHANGES}


def refused(mode: str, *uses: Use) -> tuple[list[VectorIndexUnavailable], FakeQdrant]:
    """What each of `uses` in turn is refused with."""

    async def scenario(server: FakeQdrant) -> list[VectorIndexUnavailable]:
        index = QdrantIndex(f"http://127.0.0.1:{server.port}", timeout_s=5)
        errors: list[VectorIndexUnavailable] = []
        try:
            for use in uses:
                with pytest.raises(VectorIndexUnavailable) as raised:
                    await use(index)
                errors.append(raised.value)
        finally:
            await index.close()
        return errors

    with fake_qdrant(mode) as server:
        return asyncio.run(scenario(server)), server


def used(mode: str, *uses: Use) -> tuple[list[object], FakeQdrant]:
    async def scenario(server: FakeQdrant) -> list[object]:
        index = QdrantIndex(f"http://127.0.0.1:{server.port}", timeout_s=5)
        try:
            return [await use(index) for use in uses]
        finally:
            await index.close()

    with fake_qdrant(mode) as server:
        return asyncio.run(scenario(server)), server


@pytest.mark.parametrize("mode", CANNED)
@pytest.mark.parametrize("use", USES)
def test_whatever_answers_in_its_place_the_index_is_unavailable_and_nothing_else_is_raised(mode: str, use: str) -> None:
    refused(mode, USES[use])


@pytest.mark.parametrize("mode", ["ingress 404", "html", "empty", "a list", "not utf-8", "redirect"])
def test_what_is_no_qdrant_is_named_with_what_it_answered(mode: str) -> None:
    for error in refused(mode, *READS.values())[0]:
        assert "but not as Qdrant 1.19 or newer" in error.detail
        assert "yet" not in error.detail


def test_a_login_page_is_shown_with_its_first_words() -> None:
    (error,) = refused("html", READS["count"])[0]
    assert "text/html" in error.detail
    assert "Please log in" in error.detail


def test_a_server_that_is_too_old_is_refused_with_its_version() -> None:
    for error in refused("old", READS["check"], CHANGES["ensure"])[0]:
        assert "is Qdrant 1.17.1, and Groundswell needs 1.19 or newer" in error.detail


def test_a_newer_server_that_says_more_is_understood() -> None:
    results, _ = used("extra fields", *READS.values(), *WRITES.values(), *CHANGES.values())
    assert results[0] == "1.19.1"
    assert results[1] == [SPACE]


@pytest.mark.parametrize("status", ["wait_timeout", "acknowledged"])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_was_not_applied_in_time_is_no_success(status: str, write: str) -> None:
    (error,) = refused(status, WRITES[write])[0]
    assert f"has not applied it in time ({status})" in error.detail


@pytest.mark.parametrize(("mode", "seconds"), [("429", 3), ("429 date", 1), ("429 alone", 1)])
def test_a_server_that_limits_the_rate_is_left_alone_for_as_long_as_it_asks(mode: str, seconds: int) -> None:
    errors, server = refused(mode, READS["count"], READS["count"], WRITES["upsert"])
    assert server.asked == ["GET /collections"], "the later ones were not sent"
    assert {error.retry_after_s for error in errors} == {seconds}
    assert "limits the rate of requests (HTTP 429)" in errors[-1].detail


def test_after_that_time_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_rest, "LONGEST_WAIT_S", 0.0)
    _, server = refused("429", READS["count"], READS["count"])
    assert len(server.asked) == 2


def test_a_full_server_is_told_from_one_that_is_down() -> None:
    assert "is full (HTTP 507: Quota exceeded: storage)" in refused("507", WRITES["upsert"])[0][0].detail
    assert "refused a request (HTTP 503): 'upstream connect error'" in refused("503", READS["count"])[0][0].detail


def test_strict_mode_is_told_in_qdrants_own_words() -> None:
    assert 'Index required but not found for "e"' in refused("strict mode", READS["search"])[0][0].detail


def test_a_connection_that_is_closed_under_a_request_costs_one_more_try_and_no_failure() -> None:
    results, server = used("closes idle", READS["count"], READS["count"], WRITES["upsert"])
    assert results == [1, 1, None]
    assert server.dropped > 0


def test_idle_connections_are_given_up_before_a_qdrant_server_closes_them() -> None:
    assert KEEP_ALIVE_S < 5


def test_whatever_a_transport_raises_is_the_indexs_own_failure() -> None:
    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise KeyError("a bug")

    async def scenario() -> None:
        index = QdrantIndex("http://127.0.0.1:9", transport=Broken())
        with pytest.raises(VectorIndexUnavailable, match=r"does not answer \(KeyError: 'a bug'\)"):
            await index.count()

    asyncio.run(scenario())


def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert used("fine", READS["count"])[0] == [1]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://qdrant.internal", "http://qdrant.internal:6333"),
        ("https://abc.cloud.qdrant.io", "https://abc.cloud.qdrant.io:6333"),
        ("https://abc.cloud.qdrant.io:443/", "https://abc.cloud.qdrant.io:443"),
        ("http://[::1]", "http://[::1]:6333"),
        ("http://127.0.0.1:8000/qdrant/", "http://127.0.0.1:8000/qdrant"),
    ],
)
def test_an_address_without_a_port_means_6333(given: str, asked: str) -> None:
    assert base_url(given) == asked
