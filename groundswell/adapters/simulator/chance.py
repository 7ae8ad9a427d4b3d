"""Counter-based random numbers: any draw of any second can be repeated on its own, in any process.

The mixer is SplitMix64's finaliser (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Hashes: TypeAlias = npt.NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_STIR_1 = 0xBF58476D1CE4E5B9
_STIR_2 = 0x94D049BB133111EB

_BASE32 = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)
_SORTABLE_LETTERS = "234567abcdefghijklmnopqrstuvwxyz"
_BASE32_SORTABLE = np.frombuffer(_SORTABLE_LETTERS.encode(), dtype=np.uint8)
_TID_SHIFTS = np.arange(60, -1, -5, dtype=np.uint64)
_CID_LENGTH = 52
_DID_LENGTH = 24
_AUTHOR_NAMESPACE = 0xA117
_ONCE_NAMESPACE = 0x0CCE


def mix(value: int) -> int:
    """One 64-bit hash of a 64-bit value."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _STIR_1) & _MASK
    value = ((value ^ (value >> 27)) * _STIR_2) & _MASK
    return value ^ (value >> 31)


def mix_all(values: Hashes) -> Hashes:
    """`mix` of every element, whatever the shape."""
    values = values + np.uint64(_GOLDEN)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_STIR_1)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_STIR_2)
    return values ^ (values >> np.uint64(31))


_WORDS = np.array([mix(n) for n in range(8)], dtype=np.uint64)


def derive(key: int, *parts: int) -> int:
    """A key of its own for every path of integers below `key`."""
    for part in parts:
        key = mix(key ^ mix(part & _MASK))
    return key


def unit(value: int) -> float:
    """A hash as a number in [0, 1)."""
    return (value >> 11) / (1 << 53)


def units(values: Hashes) -> npt.NDArray[np.float64]:
    """Hashes as numbers in [0, 1)."""
    return (values >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def round_by_chance(expected: float, value: int) -> int:
    """An integer whose mean over all hashes is `expected`."""
    return int(expected + unit(value))


def tids(micros: npt.NDArray[np.int64], clock_ids: npt.NDArray[np.int64]) -> list[str]:
    """Timestamp identifiers (AT Protocol): 53 bits of microseconds, 10 bits of clock id, base32-sortable."""
    values = (micros.astype(np.uint64) << np.uint64(10)) | clock_ids.astype(np.uint64)
    letters = _BASE32_SORTABLE[((values[:, None] >> _TID_SHIFTS) & np.uint64(31)).astype(np.intp)]
    return _rows(letters, len(_TID_SHIFTS))


def tid(micros: int, clock_id: int) -> str:
    """One timestamp identifier."""
    value = micros << 10 | clock_id
    return "".join([_SORTABLE_LETTERS[value >> shift & 31] for shift in range(60, -1, -5)])


def cids(hashes: Hashes) -> list[str]:
    """A content id for every hash: `bafyrei` and 52 letters, as DAG-CBOR records have them."""
    return ["bafyrei" + text for text in _letters(hashes, _CID_LENGTH)]


@lru_cache(maxsize=4)
def author_dids(count: int) -> list[str]:
    """The account ids of the world's regular authors, busiest first. They are the same for every seed."""
    numbers = np.arange(count, dtype=np.uint64) + np.uint64(_AUTHOR_NAMESPACE << 40)
    return ["did:plc:" + text for text in _letters(mix_all(numbers), _DID_LENGTH)]


@lru_cache(maxsize=4096)
def throwaway_did(key: int, number: int) -> str:
    """The account id of an author who exists only for one burst of spam."""
    value = np.array([derive(key, _ONCE_NAMESPACE, number)], dtype=np.uint64)
    return "did:plc:" + _letters(value, _DID_LENGTH)[0]


def zipf_authors(hashes: Hashes, count: int) -> npt.NDArray[np.int64]:
    """Author numbers below `count` by the Zipf-Mandelbrot law with exponent 1.

    The offset keeps the busiest author at about half a percent of all posts, as on real networks.
    """
    offset = min(30.0, count / 4)
    u = units(hashes)
    ranks = offset * ((count + offset) / offset) ** u - offset
    return np.minimum(ranks.astype(np.int64), count - 1)


def _letters(hashes: Hashes, length: int) -> list[str]:
    words = mix_all(hashes[:, None] ^ _WORDS[: -(-length // 8)])
    digits = words.astype("<u8").view(np.uint8)[:, :length]
    return _rows(_BASE32[(digits & 31).astype(np.intp)], length)


def _rows(letters: npt.NDArray[np.uint8], length: int) -> list[str]:
    text = letters.tobytes().decode("ascii")
    return [text[at : at + length] for at in range(0, len(text), length)]
