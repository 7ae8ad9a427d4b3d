"""Loads whatever an entry of the embedding chain names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from weakref import WeakSet

from groundswell.adapters.encoder.process import EncoderProcess
from groundswell.adapters.hardware import free_memory, probe_cuda, usable_cores
from groundswell.core.embedding_chain import Cuda, Device, Hardware, ModelEntry
from groundswell.errors import EmbeddingUnavailable
from groundswell.ports.vectors import LoadedModel

_CPU_SHARE = 0.8
"""Of the memory that is free, a model on the processor may take this part."""


class EmbeddingModels:
    """`ports.ModelLoader` over the static model and fastembed.

    Args:
        models_dir: a folder of model folders; what is fetched is kept there too.
        fetch: whether fastembed may fetch a model that is not there.
        memory_bytes: the most that a model's process may take on the processor.
        load_timeout_s: for finding or fetching, loading and first use together.
        preload: modules that model processes import first.
    """

    def __init__(
        self,
        *,
        models_dir: Path,
        fetch: bool,
        memory_bytes: int,
        load_timeout_s: float,
        preload: Sequence[str] = (),
    ) -> None:
        self._models_dir = models_dir
        self._fetch = fetch
        self._memory_bytes = memory_bytes
        self._load_timeout_s = load_timeout_s
        self._preload = preload
        self._started: WeakSet[EncoderProcess] = WeakSet()
        self._ended = False
        self._lock = Lock()

    def probe(self, *, with_cuda: bool) -> Hardware:
        cuda = probe_cuda(self._start) if with_cuda else Cuda(usable=False, why="no model of the chain could use it")
        return Hardware(cores=usable_cores(), memory_bytes=free_memory(), cuda=cuda)

    def load(self, entry: ModelEntry, device: Device, hardware: Hardware) -> LoadedModel:
        # Imported in the thread that loads: whoever only starts does not wait for it.
        if entry.kind == "static":
            from groundswell.adapters.static_model import WORDLLAMA_256, StaticModel

            if entry.space != WORDLLAMA_256.name:
                raise EmbeddingUnavailable(f"this build knows no such static model (known: {WORDLLAMA_256.name})")
            return StaticModel()
        from groundswell.adapters.fastembed_models import FastembedModel

        limit = None
        if device == "cpu":  # on a GPU the driver maps more than it uses, and a limit would count it all
            limit = self._memory_bytes
            if hardware.memory_bytes is not None:
                limit = min(limit, int(hardware.memory_bytes * _CPU_SHARE))
        return FastembedModel(
            entry,
            device,
            models_dir=self._models_dir,
            fetch=self._fetch,
            threads=max(1, hardware.cores - 1),
            memory_bytes=limit,
            timeout_s=self._load_timeout_s,
            process=self._start(),
        )

    def interrupt(self) -> None:
        """End every process that was started here, above all one that is still loading: nobody waits for it."""
        with self._lock:
            self._ended = True
            started = [*self._started]
        for process in started:
            process.interrupt()

    def _start(self) -> EncoderProcess:
        with self._lock:
            if self._ended:
                raise EmbeddingUnavailable("everything is being stopped")
            process = EncoderProcess(self._preload)
            self._started.add(process)
        return process
