"""How the C library keeps memory: told to give large blocks back, which by itself it does ever less."""

from __future__ import annotations

import ctypes
import sys

LARGE_BYTES = 1 << 20
"""Blocks of this size and more come from the system and go back to it. Python's own pages are smaller."""
ARENAS = 2
"""Heaps that threads share. By default there may be eight for each processor, and each keeps what was freed in it."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Of glibc's malloc.h."""


def give_large_blocks_back() -> bool:
    """Ask glibc for it, for the whole process; answers whether there is a glibc that does.

    Left alone, glibc takes the first large block that is freed (up to 32 MB) as a reason to keep blocks of that size on
    its heap. There they lie between small ones that stay: a process that once caught up after an outage keeps what that
    took, and grows in steps.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, as musl
        return False
    wishes = {_M_MMAP_THRESHOLD: LARGE_BYTES, _M_TRIM_THRESHOLD: LARGE_BYTES, _M_ARENA_MAX: ARENAS}
    granted = [mallopt(name, value) for name, value in wishes.items()]
    return all(granted)
