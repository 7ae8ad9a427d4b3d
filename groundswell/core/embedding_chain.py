"""Which embedding models are tried, and on what: decided from the chain and from what the machine has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

Device: TypeAlias = Literal["cuda", "cpu"]

SMALLEST_NEURAL_BYTES = 384 * 2**20
"""With less memory than this to spare no neural model is started: it would be killed, or kill something else."""


class ModelEntry(msgspec.Struct, frozen=True):
    """One entry of the chain: `KIND:NAME`, with `@gpu` or `@cpu` where it is meant for one of them alone."""

    kind: Literal["static", "fastembed"]
    name: str
    only: Literal["gpu", "cpu"] | None = None

    @property
    def space(self) -> str:
        """The name of its space. Qdrant keeps vectors in folders of that name, so it has no slash."""
        return self.name.replace("/", "--")

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" + (f"@{self.only}" if self.only else "")


class Cuda(msgspec.Struct, frozen=True):
    """Whether a model really ran on a GPU, not whether one is listed."""

    usable: bool
    why: str
    """What was found, in a few words."""
    device: str | None = None
    """The GPU's name."""
    memory_bytes: int | None = None
    """All of its memory."""


class Hardware(msgspec.Struct, frozen=True):
    """What this process may use."""

    cores: int
    memory_bytes: int | None
    """Free for it, within the limits it runs under. None where that cannot be told."""
    cuda: Cuda


def parse_chain(texts: Sequence[str]) -> tuple[ModelEntry, ...]:
    """The entries up to `none`, which ends a chain.

    Raises:
        ValueError: an entry is none of `static:NAME`, `fastembed:NAME` and `none`.
    """
    entries: list[ModelEntry] = []
    for text in texts:
        if text == "none":
            break
        kind, _, rest = text.partition(":")
        name, _, only = rest.partition("@")
        if kind not in ("static", "fastembed") or not name or only not in ("", "gpu", "cpu"):
            raise ValueError(f"{text!r} is no embedding model: write static:NAME, fastembed:NAME, or none")
        entries.append(ModelEntry(kind, name, only or None))
    return tuple(entries)


def entry_of(space: str) -> ModelEntry:
    """The entry that made a space of that name; the inverse of `ModelEntry.space`."""
    owner, _, name = space.partition("--")
    return ModelEntry("fastembed", f"{owner}/{name}") if name else ModelEntry("static", space)


def devices_for(entry: ModelEntry, hardware: Hardware) -> tuple[tuple[Device, ...], str]:
    """The devices to try `entry` on, the best first; where there is none, why not."""
    if entry.kind == "static":
        return (("cpu",), "") if entry.only != "gpu" else ((), "it runs on processors only")
    devices: list[Device] = []
    reasons: list[str] = []
    if entry.only != "cpu":
        if hardware.cuda.usable:
            devices.append("cuda")
        else:
            reasons.append(f"it is for a GPU, and CUDA cannot be used here: {hardware.cuda.why}")
    if entry.only != "gpu":
        if hardware.memory_bytes is None or hardware.memory_bytes >= SMALLEST_NEURAL_BYTES:
            devices.append("cpu")
        else:
            reasons.append(
                f"only {hardware.memory_bytes >> 20} MB of memory are free, "
                f"and a neural model needs {SMALLEST_NEURAL_BYTES >> 20}"
            )
    return tuple(devices), "; ".join(reasons) if not devices else ""
