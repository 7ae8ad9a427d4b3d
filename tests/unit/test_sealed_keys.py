"""Keys as people paste them: recognised, checked, and never shown."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.sealed_keys import SECP256K1_ORDER, base58, parse_feed_key, parse_key, parse_wallet_key

KEY = bytes(range(7, 39))
HEX, BASE58, BASE64 = KEY.hex(), base58(KEY), base64.b64encode(KEY).decode()
keys = st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 1)


def refusal(text: str, *sizes: int) -> str:
    with pytest.raises(ValueError) as caught:
        parse_key(text, sizes or (32,))
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        HEX,
        HEX.upper(),
        f"0x{HEX}",
        f"  {HEX}\n",
        f"hex:{HEX}",
        BASE58,
        f"base58:{BASE58}",
        BASE64,
        BASE64.rstrip("="),
        base64.urlsafe_b64encode(KEY).decode(),
        f"base64: {BASE64}",
    ],
)
def test_a_key_is_recognised_in_each_encoding(text: str) -> None:
    assert parse_feed_key(text) == KEY


def test_base58_is_bitcoins() -> None:
    assert base58(b"\0\0hello world") == "11StV1DL6CwTryKyV"
    assert parse_key("11StV1DL6CwTryKyV", (13,)) == b"\0\0hello world"


@given(keys)
def test_any_key_is_read_back_from_any_encoding_that_says_which_it_is(key: bytes) -> None:
    for text in (f"hex:{key.hex()}", f"base58:{base58(key)}", f"base64:{base64.b64encode(key).decode()}"):
        assert parse_feed_key(text) == key


@given(keys)
def test_a_bare_key_is_read_rightly_or_the_ambiguity_is_named(key: bytes) -> None:
    for text in (key.hex(), base58(key), base64.b64encode(key).decode(), base64.b64encode(key).decode().rstrip("=")):
        try:
            assert parse_feed_key(text) == key
        except ValueError as error:
            assert "can be read as" in str(error)


def test_what_reads_as_two_different_keys_is_refused_and_both_are_named() -> None:
    twofold = "9" * 42 + "A"
    assert parse_key(f"base58:{twofold}", (32,)) != parse_key(f"base64:{twofold}", (32,))
    assert refusal(twofold).startswith("can be read as base58 and base64.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (HEX[:-1], "reads as hex with 63 digits"),
        (HEX[:-2], "reads as hex with 62 digits"),
        ("0x" + "ab12" * 10, "is an address (20 bytes in hex)"),
        (base58(KEY[:31]), "31 bytes as base58"),
        (base64.b64encode(KEY + b"\1").decode() + "\n", "33 bytes as base64"),
        ("correct horse battery staple", "is in none of hex, base58 and base64"),
        ("hex:" + BASE58, "says that it is hex, and is not"),
        ("base58:" + BASE64, "says that it is base58, and is not"),
        ("base64:" + BASE64 + "==", "says that it is base64, and is not"),
        ("00" * 32, "all of its bytes are the same"),
        ("a" * 300, "has 300 characters"),
    ],
)
def test_what_is_no_key_is_named(text: str, said: str) -> None:
    assert said in refusal(text)


@given(st.text(st.sampled_from("0123456789abcdefABCDEFghXYZ+/=:_-!"), min_size=13, max_size=300))
def test_nothing_of_what_was_pasted_shows_in_a_message(text: str) -> None:
    try:
        parse_feed_key(text)
    except ValueError as error:
        assert text.strip() not in str(error)


def test_an_ed25519_wallet_may_come_with_its_public_key_and_a_secp256k1_one_may_not() -> None:
    both = KEY + bytes(32 - n for n in range(32))
    assert parse_wallet_key(base58(both), "ed25519") == both
    with pytest.raises(ValueError, match="32 are needed"):
        parse_wallet_key(base58(both), "secp256k1")


@pytest.mark.parametrize("number", [SECP256K1_ORDER, SECP256K1_ORDER + 1, 2**256 - 2])
def test_a_number_outside_the_curve_is_no_secp256k1_key(number: int) -> None:
    with pytest.raises(ValueError, match="outside the range of the curve"):
        parse_wallet_key(number.to_bytes(32).hex(), "secp256k1")
