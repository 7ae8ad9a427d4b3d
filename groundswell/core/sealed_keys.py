"""Keys as people paste them: hex, base58 or base64, told apart and checked. Pure; a key never shows in a message."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

WalletKind: TypeAlias = Literal["ed25519", "secp256k1"]

SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""SEC 2, section 2.4.1: a private key is from 1 to below this."""
FEED_KEY_BYTES = 32
WALLET_KEY_BYTES: Mapping[WalletKind, tuple[int, ...]] = {"ed25519": (32, 64), "secp256k1": (32,)}
"""Ed25519 also as wallets export it: the private key and the public one after it."""

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE = {letter: value for value, letter in enumerate(_BASE58)}
_LONGEST_CHARS = 256
_ADDRESS_BYTES = 20
_NAMED = re.compile(r"(hex|base58|base64):(.*)", re.DOTALL)
_FORMS = "Give it as hex, base58 or base64"


def parse_key(text: str, sizes: Collection[int]) -> bytes:
    """The bytes of a key of one of `sizes`, whichever of the three encodings it is in.

    `hex:`, `base58:` or `base64:` in front says which; hex may begin with `0x`; base64 may be of the URL kind and
    without its `=`.

    Raises:
        ValueError: a sentence that says what is wrong and what would be right, and shows nothing of the key.
    """
    text = text.strip()
    wanted = " or ".join(str(size) for size in sizes)
    if len(text) > _LONGEST_CHARS:
        raise ValueError(f"has {len(text)} characters, and a key of {wanted} bytes has at most {max(sizes) * 2}.")
    named = _NAMED.fullmatch(text)
    if named is not None:
        encoding = named[1]
        found = {encoding: _DECODERS[encoding](named[2].strip())}
        if found[encoding] is None:
            raise ValueError(
                f"says that it is {encoding}, and is not. Copy it again, or correct what stands before it."
            )
    elif text[:2] in ("0x", "0X"):
        found = {"hex": _from_hex(text)}
    else:
        found = {encoding: decode(text) for encoding, decode in _DECODERS.items()}
    decoded = {encoding: key for encoding, key in found.items() if key is not None}
    fitting = {encoding: key for encoding, key in decoded.items() if len(key) in sizes}
    if not fitting:
        raise ValueError(_why_none(text, decoded, wanted))
    if len(set(fitting.values())) > 1:
        names = " and ".join(fitting)
        first, *_ = fitting
        raise ValueError(f"can be read as {names}. Put the one that it is in front, for example {first}:KEY.")
    key = next(iter(fitting.values()))
    if len(set(key)) == 1:
        raise ValueError("is no key: all of its bytes are the same. Set the real one.")
    return key


def parse_feed_key(text: str) -> bytes:
    """The 32 bytes that open what a sealed feed hands out.

    Raises:
        ValueError: as `parse_key`.
    """
    return parse_key(text, (FEED_KEY_BYTES,))


def parse_wallet_key(text: str, kind: WalletKind) -> bytes:
    """The private key of a wallet; 64 bytes where an Ed25519 one came with its public key.

    Raises:
        ValueError: as `parse_key`, and where a secp256k1 key is outside its range.
    """
    key = parse_key(text, WALLET_KEY_BYTES[kind])
    if kind == "secp256k1" and not 0 < int.from_bytes(key) < SECP256K1_ORDER:
        raise ValueError("is no private key of secp256k1: it is outside the range of the curve. Copy it again.")
    return key


def base58(data: bytes) -> str:
    """Bitcoin's base58, without a checksum: how Ed25519 wallets write their address."""
    zeros = len(data) - len(data.lstrip(b"\0"))
    number = int.from_bytes(data)
    letters: list[str] = []
    while number:
        number, rest = divmod(number, 58)
        letters.append(_BASE58[rest])
    return "1" * zeros + "".join(reversed(letters))


def _from_hex(text: str) -> bytes | None:
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    return bytes.fromhex(digits) if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", digits) else None


def _from_base58(text: str) -> bytes | None:
    number = 0
    for letter in text:
        value = _BASE58_VALUE.get(letter)
        if value is None:
            return None
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8) if text else None


def _from_base64(text: str) -> bytes | None:
    letters = text.rstrip("=").replace("-", "+").replace("_", "/")
    padding = -len(letters) % 4
    if not re.fullmatch(r"[A-Za-z0-9+/]+", letters) or len(text) - len(letters.rstrip("=")) not in (0, padding):
        return None
    try:
        key = base64.b64decode(letters + "=" * padding, validate=True)
    except binascii.Error:
        return None
    # Bits that belong to no byte are zero in what an encoder wrote.
    return key if base64.b64encode(key).decode().rstrip("=") == letters else None


_DECODERS = {"hex": _from_hex, "base58": _from_base58, "base64": _from_base64}


def _why_none(text: str, decoded: Mapping[str, bytes], wanted: str) -> str:
    if not text:
        return f"is empty. {_FORMS}: {wanted} bytes."
    if re.fullmatch(r"(?:0[xX])?[0-9a-fA-F]+", text):
        digits = len(text) - (2 if text[:2] in ("0x", "0X") else 0)
        if digits == 2 * _ADDRESS_BYTES:
            return f"is an address (20 bytes in hex), and not the private key that belongs to it ({wanted} bytes)."
        return f"reads as hex with {digits} digits, and {wanted} bytes have two digits each. Copy the whole of it."
    if not decoded:
        return f"is in none of hex, base58 and base64. {_FORMS}: {wanted} bytes."
    said = " and ".join(f"{len(key)} bytes as {encoding}" for encoding, key in decoded.items())
    return f"has {said}, and {wanted} are needed. Copy the whole of it, and no other key."
