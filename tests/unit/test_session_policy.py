"""When to come back, how long to wait, and when to give up."""

from __future__ import annotations

import socket
import ssl
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.session import ConnectionLost, Fatal, Refused, Retry, full_jitter_backoff, verdict
from groundswell.errors import ConfigError, SourceFailed, StoreUnavailable


@given(st.integers(0, 2**32), st.floats(0.01, 5), st.floats(5, 120))
def test_every_wait_lies_between_zero_and_a_bound_that_doubles_to_a_cap(seed: int, base: float, cap: float) -> None:
    bound = base
    for wait in islice(full_jitter_backoff(Random(seed), base, cap), 20):
        assert 0 <= wait <= bound
        bound = min(cap, bound * 2)


def test_waits_spread_over_their_whole_range() -> None:
    waits = list(islice(full_jitter_backoff(Random(1), 1.0, 1.0), 1000))
    assert min(waits) < 0.05
    assert max(waits) > 0.95


def test_the_same_seed_waits_alike() -> None:
    assert list(islice(full_jitter_backoff(Random(3)), 9)) == list(islice(full_jitter_backoff(Random(3)), 9))


def test_a_senseless_backoff_is_refused() -> None:
    with pytest.raises(ValueError, match="base_s"):
        next(full_jitter_backoff(Random(), 2.0, 1.0))


@pytest.mark.parametrize(
    "trouble",
    [
        ConnectionRefusedError("refused"),
        ConnectionResetError(),
        TimeoutError(),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLError("handshake"),
        EOFError("the end"),
        ConnectionLost("closed with 1006"),
        Refused(429, "wss://h"),
        Refused(500, "wss://h"),
        Refused(503, "wss://h"),
        Refused(200, "wss://h"),
        StoreUnavailable("Postgres is away"),
    ],
)
def test_what_time_can_mend_is_tried_again(trouble: Exception) -> None:
    assert isinstance(verdict(trouble), Retry)


@pytest.mark.parametrize(
    ("trouble", "word"),
    [
        (Refused(400, "wss://h"), "HTTP 400"),
        (Refused(401, "wss://h"), "credentials"),
        (Refused(403, "wss://h"), "HTTP 403"),
        (Refused(404, "wss://h"), "path"),
        (Refused(418, "wss://h"), "HTTP 418"),
        (Refused(301, "wss://h"), "elsewhere"),
        (Refused(None, "wss:/h is no address"), "no address"),
        (SourceFailed("the key is wrong"), "the key is wrong"),
        (ConfigError(["A is wrong", "B is wrong"]), "B is wrong"),
        (TypeError("a bug"), "a bug"),
    ],
)
def test_what_only_a_person_can_mend_is_fatal_and_named(trouble: Exception, word: str) -> None:
    judged = verdict(trouble)
    assert isinstance(judged, Fatal)
    assert word in judged.message
