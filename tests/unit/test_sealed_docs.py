"""The worked example of docs/sealed.md is what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from groundswell.adapters.sealed import (
    HELD_BYTES,
    HELD_FRAMES,
    PATIENCE_ROUNDS,
    RENEW_AFTER,
    ROUND_S,
    UNOPENED_IN_A_ROW,
)
from groundswell.adapters.sealed_door import KeyRing
from groundswell.adapters.sealed_wallet import wallet_of
from groundswell.core import sealed
from groundswell.core.posts import Post
from groundswell.core.sealed_keys import parse_feed_key, parse_wallet_key

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sealed.md").read_text("utf-8")


@pytest.fixture
def example() -> dict[str, Any]:
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_example_wallet_signs_the_example_challenge(example: dict[str, Any]) -> None:
    wallet = wallet_of("ed25519", parse_wallet_key(example["wallet_key"], "ed25519"))
    assert wallet.address == example["wallet"]
    message = sealed.challenge_message("feed.example.org", wallet.address, example["challenge"])
    assert wallet.sign(message).hex() == example["signature"]


def test_the_signed_text_is_the_one_on_the_page(example: dict[str, Any]) -> None:
    (shown,) = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)
    filled = re.sub(r"\{host.*?\}", "feed.example.org", shown)
    filled = filled.replace("{wallet}", example["wallet"]).replace("{challenge}", example["challenge"])
    assert filled.encode() == sealed.challenge_message("feed.example.org", example["wallet"], example["challenge"])


def test_the_example_frame_opens_with_the_example_keys_and_is_a_post(example: dict[str, Any]) -> None:
    keys = KeyRing(parse_feed_key(example["feed_key"]), "https://feed.example.org")
    for notice in example["keys"]:
        keys.add(sealed.KeyNotice(**notice))
    frame = sealed.parse(bytes.fromhex(example["frame"]), 10_000)
    assert frame is not None
    assert (frame.kind, frame.sequence) == (sealed.EVENT, example["sequence"])
    cipher = keys.get(frame.key_id)
    assert cipher is not None
    plain = cipher.decrypt(frame.nonce, frame.sealed, frame.header)
    assert plain.decode() == example["event"]
    opened = sealed.opened(frame.kind, frame.sequence, plain)
    post = sealed.decode(opened, source="sealed", extractor=None, max_bytes=10_000)
    assert isinstance(post, Post)
    assert (post.text, post.cursor) == ("hello", 1001)


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    assert f"{HELD_FRAMES:,} frames or {HELD_BYTES // 2**20} MiB" in PAGE
    assert f"{UNOPENED_IN_A_ROW} frames in a row" in PAGE
    assert (ROUND_S, PATIENCE_ROUNDS, RENEW_AFTER) == (1 / 4, 3 * 4, 3 / 4), "four times a second, three seconds"


def test_every_kind_of_frame_is_on_the_page_with_its_number() -> None:
    assert f"{sealed.EVENT} event, {sealed.KEY} key, {sealed.HEAD} head" in PAGE
    assert f"the {sealed.HEADER_BYTES} bytes before" in PAGE
