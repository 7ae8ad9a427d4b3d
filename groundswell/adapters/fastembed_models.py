"""Neural models through fastembed and ONNX Runtime, each served by a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from groundswell.adapters.encoder import wire
from groundswell.adapters.encoder.process import EncoderProcess
from groundswell.adapters.static_model import embeddable
from groundswell.core.embedding_chain import Device, ModelEntry
from groundswell.core.relatedness import UNRELATED, similarity_floor
from groundswell.errors import EmbeddingUnavailable
from groundswell.ports.vectors import Space, Vector, Vectors

EMBED_TIMEOUT_S = 60.0
"""For `TEXTS_PER_REQUEST` posts: a slow processor takes a few seconds."""
TEXTS_PER_REQUEST = 256


class FastembedModel:
    """A model in its process. Fulfils `ports.LoadedModel`.

    Loading finds or fetches the files, loads them, and embeds a few texts: what is returned has worked.

    Args:
        models_dir: a folder of model folders, such as `BAAI/bge-small-en-v1.5`; what is fetched is kept there too.
        threads: of the processor, for the network.
        memory_bytes: what its process may allocate; None for no limit of ours.
        process: a fresh one, which becomes the model's own.

    Raises:
        EmbeddingUnavailable: with what stood in the way.
    """

    def __init__(
        self,
        entry: ModelEntry,
        device: Device,
        *,
        models_dir: Path,
        fetch: bool,
        threads: int,
        memory_bytes: int | None,
        timeout_s: float,
        process: EncoderProcess,
    ) -> None:
        self.device: Device = device
        self._process = process
        try:
            reply = self._process.ask(
                wire.Load(
                    model=entry.name,
                    models_dir=str(models_dir.expanduser().resolve()),
                    fetch=fetch,
                    device=device,
                    threads=threads,
                    memory_bytes=memory_bytes,
                ),
                timeout_s,
            )
        except EmbeddingUnavailable:
            self._process.close()
            raise
        assert isinstance(reply, wire.Loaded)
        self.space = Space(entry.space, reply.dimensions)
        self.about = f"{reply.precision}, from {reply.source}"
        try:
            self.min_similarity = similarity_floor(self.embed(UNRELATED).rows)
        except EmbeddingUnavailable:
            self._process.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = np.empty((len(texts), self.space.dimensions), np.float32)
        for start in range(0, len(texts), TEXTS_PER_REQUEST):
            chunk = [embeddable(text) for text in texts[start : start + TEXTS_PER_REQUEST]]
            rows[start : start + len(chunk)] = self._ask(wire.Embed(chunk))
        return Vectors(self.space, rows)

    def embed_query(self, text: str) -> Vector:
        return Vector(self.space, self._ask(wire.Embed([embeddable(text)], question=True))[0])

    def close(self) -> None:
        self._process.close()

    def _ask(self, request: wire.Embed) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        reply = self._process.ask(request, EMBED_TIMEOUT_S)
        assert isinstance(reply, wire.Embedded)
        return np.frombuffer(reply.rows, np.float32).reshape(len(request.texts), self.space.dimensions)
