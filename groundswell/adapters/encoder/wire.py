"""What the relay and the encoder process say to each other: MessagePack in frames with a length in front."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from groundswell.core.embedding_chain import Cuda, Device

HEADER_BYTES = 4
MAX_FRAME_BYTES = 64 * 2**20
"""Beyond this a frame is nonsense: some library wrote to our pipe."""


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Load a model and embed something with it."""

    model: str
    models_dir: str
    """Where model folders lie, and where what is fetched is kept."""
    fetch: bool
    """Whether a model that is not there may be fetched."""
    device: Device
    threads: int
    memory_bytes: int | None = None
    """Data memory that the process may take; None leaves it without a limit."""


class Probe(msgspec.Struct, frozen=True, tag="probe"):
    """Find out whether CUDA works."""


class Embed(msgspec.Struct, frozen=True, tag="embed"):
    texts: list[str]
    question: bool = False


Request: TypeAlias = Load | Probe | Embed


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    dimensions: int
    precision: str
    """Such as `float16`."""
    source: str
    """Where the files are."""


class Probed(msgspec.Struct, frozen=True, tag="probed"):
    cuda: Cuda


class Embedded(msgspec.Struct, frozen=True, tag="embedded"):
    rows: bytes
    """float32, little-endian, one row for each text."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    why: str


Reply: TypeAlias = Loaded | Probed | Embedded | Failed


def frame(message: Request | Reply) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEADER_BYTES, "big") + body
