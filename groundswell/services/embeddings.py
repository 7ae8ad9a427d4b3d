"""Keeps the best embedding model of the chain that works here: loads it, falls back, and comes back to it.

Nothing waits for a model: posts are stored without their vectors, and those follow from the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

import msgspec

from groundswell.core.embedding_chain import Device, Hardware, ModelEntry, devices_for, entry_of
from groundswell.errors import EmbeddingUnavailable
from groundswell.ports.time import Clock
from groundswell.ports.vectors import LoadedModel, ModelLoader, Space, Vector, Vectors
from groundswell.services.pausing import pause

log = logging.getLogger(__name__)

RETRY_S = 300.0
"""Between two attempts to get back to a model that is preferred to the one in use."""
RETRY_WITHOUT_S = 30.0
"""The same while there is no model at all."""
READER_WAIT_S = 2.0
"""A search waits this long for a model that it needs beside the one in use, and then says that it did without."""
START_WAIT_S = 15.0
"""A start waits this long for its model and then goes on without; loading continues."""

Outcome: TypeAlias = Literal["untried", "skipped", "failed", "chosen"]


class Attempt(msgspec.Struct):
    """What became of one entry of the chain when it was last looked at."""

    entry: ModelEntry
    outcome: Outcome = "untried"
    device: Device | None = None
    why: str | None = None
    """Why it was skipped or failed; what was loaded."""
    seconds: float | None = None
    """How long it took to load or to fail."""


class _Reader(msgspec.Struct):
    """A model that is there for questions alone."""

    loading: asyncio.Task[LoadedModel | None]
    failed_at: float | None = None


class EmbeddingChain:
    """Call `start` once, or `begin` before each use; keep `run` running where the process runs all the time.

    `active` is the model in use.

    Args:
        entries: in order of preference.
        retry_s: between two attempts to improve.
    """

    def __init__(
        self,
        entries: Sequence[ModelEntry],
        loader: ModelLoader,
        clock: Clock,
        *,
        retry_s: float = RETRY_S,
        retry_without_s: float = RETRY_WITHOUT_S,
    ) -> None:
        self.entries = tuple(entries)
        self.active: LoadedModel | None = None
        self.hardware: Hardware | None = None
        """What was found when last looked; None before the first look."""
        self.attempts = [Attempt(entry) for entry in self.entries]
        self.current = CurrentModel(self)
        self._loader = loader
        self._clock = clock
        self._retry_s = retry_s
        self._retry_without_s = retry_without_s
        self._broken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: set[tuple[ModelEntry, str]] = set()
        self._turn = asyncio.Lock()
        self._readers: dict[str, _Reader] = {}
        self._loading: asyncio.Task[None] | None = None
        self._settled = False
        self.on_change: list[Callable[[], None]] = []
        """Called whenever another model is in use."""

    # ------------------------------------------------------------------ life
    async def start(self, wait_s: float = START_WAIT_S) -> None:
        """Begin to load, and wait for the outcome for `wait_s` at the most."""
        self._loop = asyncio.get_running_loop()
        self._loading = asyncio.create_task(self.load())
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._loading), wait_s)

    async def begin(self) -> None:
        """Begin to load where nobody has, and wait for the outcome as a search does: a process may never be asked."""
        if self._loading is None and not self._settled:
            await self.start(READER_WAIT_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Retry what is preferred, and replace what breaks, until `stop`."""
        self._loop = asyncio.get_running_loop()
        if self._loading is None:
            self._loading = asyncio.create_task(self.load())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({self._loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._loading.done():
            self._loading.result()
        while not stop.is_set():
            wait_s = self._retry_s if self.active is not None else self._retry_without_s
            if not self.entries or self.attempts[0].outcome == "chosen":
                wait_s = None
            await pause(self._clock, wait_s, stop, self._broken)
            if not stop.is_set():
                await self.load()

    async def close(self) -> None:
        """End every model, loaded or loading."""
        await asyncio.to_thread(self._loader.interrupt)
        readers = [reader.loading for reader in self._readers.values()]
        tasks = [*readers, *([] if self._loading is None else [self._loading])]
        await asyncio.gather(*tasks, return_exceptions=True)
        for model in (self.active, *(task.result() for task in readers if task.exception() is None)):
            if model is not None:
                await asyncio.to_thread(model.close)
        self.active = None
        self._readers.clear()

    # ------------------------------------------------------------------ choosing
    async def load(self) -> None:
        """Go through the chain until a model works. What is in use already is not loaded again."""
        async with self._turn:
            self._broken.clear()
            try:
                await self._choose()
            finally:
                self._settled = True

    async def _choose(self) -> None:
        self.hardware = await asyncio.to_thread(self._loader.probe, with_cuda=self._wants_cuda())
        for attempt in self.attempts:
            if attempt.outcome == "chosen" and self.active is not None:
                return
            model = await self._try(attempt, self.hardware)
            if model is not None:
                await self._use(attempt, model)
                return
        if self.entries and self.active is None:
            self._tell_once(self.entries[-1], "none", "No embedding model works: search goes on by words alone.")

    # ------------------------------------------------------------------ reading other spaces
    def spaces(self) -> list[str]:
        """The spaces of the chain, the preferred one first, each once."""
        return list(dict.fromkeys(entry.space for entry in self.entries))

    async def reader(self, space: str) -> LoadedModel | None:
        """A model to embed questions in `space`: the one in use, or another one, loaded for that alone.

        A model that the chain does not name any more will do, as long as its files are there. Where a model is meant
        to run does not matter here: a question is one short text. None while it is loading and takes longer than
        `READER_WAIT_S`, or where it does not work; that is tried again after a while.
        """
        if self.active is not None and self.active.space.name == space:
            return self.active
        known = self._readers.get(space)
        failed_at = None if known is None else known.failed_at
        if known is None or (failed_at is not None and self._clock.monotonic() - failed_at >= self._retry_s):
            known = self._readers[space] = _Reader(asyncio.create_task(self._load_reader(space)))
        if not known.loading.done():
            await asyncio.wait({known.loading}, timeout=READER_WAIT_S)
        if not known.loading.done():
            return None
        model = known.loading.result()
        if model is None and known.failed_at is None:
            known.failed_at = self._clock.monotonic()
        return model

    def keep_readers(self, spaces: Collection[str]) -> None:
        """Let go of the models that were loaded for other spaces than these."""
        for space in [*self._readers]:
            reader = self._readers[space]
            needless = space not in spaces or (self.active is not None and self.active.space.name == space)
            if needless and reader.loading.done() and reader.failed_at is None:
                self._release(self._readers.pop(space).loading.result())

    async def _load_reader(self, space: str) -> LoadedModel | None:
        entry = next((entry for entry in self.entries if entry.space == space), None) or entry_of(space)
        hardware = self.hardware or await asyncio.to_thread(self._loader.probe, with_cuda=False)
        for device in reversed(devices_for(msgspec.structs.replace(entry, only=None), hardware)[0]):
            try:
                model = await asyncio.to_thread(self._loader.load, entry, device, hardware)
            except EmbeddingUnavailable as error:
                why = f"on {device} for questions: {error.detail}"
                self._tell_once(entry, why, f"embedding model {entry} does not work {why}")
                continue
            log.info("questions are embedded with %s on %s too (%s)", entry, device, model.about)
            return model
        return None

    def _release(self, model: LoadedModel | None) -> None:
        if model is not None:
            asyncio.get_running_loop().run_in_executor(None, model.close)

    def _wants_cuda(self) -> bool:
        return any(entry.kind != "static" and entry.only != "cpu" for entry in self.entries)

    async def _try(self, attempt: Attempt, hardware: Hardware) -> LoadedModel | None:
        devices, why = devices_for(attempt.entry, hardware)
        if not devices:
            attempt.outcome, attempt.device, attempt.why, attempt.seconds = "skipped", None, why, None
            self._tell_once(attempt.entry, why, f"embedding model {attempt.entry} is passed over: {why}", logging.INFO)
            return None
        reasons: list[str] = []
        for device in devices:
            started = self._clock.monotonic()
            try:
                model = await asyncio.to_thread(self._loader.load, attempt.entry, device, hardware)
            except EmbeddingUnavailable as error:
                reasons.append(f"on {device}: {error.detail}" if len(devices) > 1 else error.detail)
                continue
            finally:
                attempt.seconds = round(self._clock.monotonic() - started, 3)
            attempt.device = device
            return model
        self._failed(attempt, "; ".join(reasons))
        return None

    def _failed(self, attempt: Attempt, why: str) -> None:
        attempt.outcome, attempt.device, attempt.why = "failed", None, why
        self._tell_once(attempt.entry, why, f"embedding model {attempt.entry} does not work: {why}")

    async def _use(self, attempt: Attempt, model: LoadedModel) -> None:
        before, self.active = self.active, model
        for other in self.attempts:
            if other.outcome == "chosen":
                other.outcome, other.why = "untried", None
        attempt.outcome, attempt.why = "chosen", model.about
        # A model that works again may fail again, and that is news.
        self._told = {(entry, why) for entry, why in self._told if entry != attempt.entry and why != "none"}
        log.info("embedding with %s on %s (%s)", attempt.entry, attempt.device, model.about)
        if before is not None:
            await asyncio.to_thread(before.close)
        for call in self.on_change:
            call()

    def _tell_once(self, entry: ModelEntry, why: str, text: str, level: int = logging.WARNING) -> None:
        """The same cause, found again at every retry, is no news."""
        log.log(logging.DEBUG if (entry, why) in self._told else level, "%s", text)
        self._told.add((entry, why))

    def broke(self, model: LoadedModel, why: str) -> None:
        """`model` stopped working. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._drop, model, why)

    def _drop(self, model: LoadedModel, why: str) -> None:
        for reader in self._readers.values():
            if reader.loading.done() and reader.loading.result() is model:
                reader.failed_at = self._clock.monotonic()
                reader.loading = asyncio.create_task(_nothing())
        if model is self.active:
            self.active = None
            for attempt in self.attempts:
                if attempt.outcome == "chosen":
                    self._failed(attempt, why)
            self._broken.set()
        asyncio.get_running_loop().run_in_executor(None, model.close)

    # ------------------------------------------------------------------ status
    def why_none(self) -> str | None:
        """Why there is no model; None where there is one."""
        if self.active is not None:
            return None
        if not self.entries:
            return "switched off by GROUNDSWELL_EMBEDDING_CHAIN"
        if not self._settled:
            return "the model is being loaded"
        reasons = [f"{a.entry}: {a.why}" for a in self.attempts if a.why is not None]
        return "no embedding model of the chain works. " + " ".join(f"{reason}." for reason in reasons)

    def status(self) -> tuple[str, Mapping[str, object]]:
        """State and detail for `/v1/status`. `ready` with a `why` where a fallback is in use."""
        active = self.active
        failed = [f"{a.entry}: {a.why}" for a in self.attempts if a.outcome == "failed"]
        chosen = next((a for a in self.attempts if a.outcome == "chosen"), None)
        detail: dict[str, object] = {
            "why": self.why_none() if active is None else "; ".join(failed) or None,
            "space": None if active is None else active.space.name,
            "model": None if chosen is None else str(chosen.entry),
            "device": None if active is None else active.device,
            "fallback": active is not None and bool(failed),
        }
        if active is not None:
            return "ready", detail
        return "loading" if self.entries and not self._settled else "disabled", detail


async def _nothing() -> None:
    """What has broken is not there."""


class CurrentModel:
    """Whatever model the chain has in use, as one `ports.Embedder`; its vectors say which space they are of."""

    def __init__(self, chain: EmbeddingChain) -> None:
        self._chain = chain

    @property
    def space(self) -> Space:
        return self._model().space

    @property
    def min_similarity(self) -> float:
        return self._model().min_similarity

    def embed(self, texts: Sequence[str]) -> Vectors:
        model = self._model()
        try:
            return model.embed(texts)
        except EmbeddingUnavailable as error:
            self._chain.broke(model, error.detail)
            raise

    def embed_query(self, text: str) -> Vector:
        model = self._model()
        try:
            return model.embed_query(text)
        except EmbeddingUnavailable as error:
            self._chain.broke(model, error.detail)
            raise

    def _model(self) -> LoadedModel:
        model = self._chain.active
        if model is None:
            raise EmbeddingUnavailable(self._chain.why_none() or "the model is being loaded")
        return model
