"""Which model is tried where, and what the chain does when models fail, break and come back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import numpy as np
import pytest

from groundswell.core.embedding_chain import Cuda, Device, Hardware, ModelEntry, devices_for, entry_of, parse_chain
from groundswell.errors import EmbeddingUnavailable
from groundswell.ports.vectors import Space, Vector, Vectors
from groundswell.services.embeddings import EmbeddingChain

NO_CUDA = Cuda(usable=False, why="onnxruntime is built without it")
WITHOUT = Hardware(cores=2, memory_bytes=8 * 2**30, cuda=NO_CUDA)
WITH = Hardware(cores=2, memory_bytes=8 * 2**30, cuda=Cuda(usable=True, why="a model ran on it"))
CHAIN = parse_chain(["fastembed:big/one@gpu", "static:small", "fastembed:mid/one"])


# ------------------------------------------------------------------ the rules
def test_a_chain_is_read_up_to_none() -> None:
    assert parse_chain(["static:a", "fastembed:b/c@gpu", "none", "static:d"]) == (
        ModelEntry("static", "a"),
        ModelEntry("fastembed", "b/c", "gpu"),
    )
    assert parse_chain(["none"]) == ()
    assert [str(entry) for entry in CHAIN] == ["fastembed:big/one@gpu", "static:small", "fastembed:mid/one"]


@pytest.mark.parametrize("text", ["", "wordllama", "static:", "torch:x", "static:a@tpu"])
def test_what_is_no_model_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no embedding model"):
        parse_chain([text])


def test_spaces_are_named_without_slashes_and_without_the_device() -> None:
    assert CHAIN[0].space == "big--one"
    assert parse_chain(["fastembed:big/one"])[0].space == CHAIN[0].space
    for entry in parse_chain(["fastembed:big/one", "static:small"]):
        assert entry_of(entry.space) == entry


@pytest.mark.parametrize(
    ("entry", "hardware", "devices"),
    [
        ("fastembed:m", WITH, ("cuda", "cpu")),
        ("fastembed:m", WITHOUT, ("cpu",)),
        ("fastembed:m@gpu", WITH, ("cuda",)),
        ("fastembed:m@gpu", WITHOUT, ()),
        ("fastembed:m@cpu", WITH, ("cpu",)),
        ("static:m", WITH, ("cpu",)),
        ("static:m@gpu", WITH, ()),
        ("fastembed:m", Hardware(cores=1, memory_bytes=2**20, cuda=NO_CUDA), ()),
        ("fastembed:m", Hardware(cores=1, memory_bytes=None, cuda=NO_CUDA), ("cpu",)),
        ("static:m", Hardware(cores=1, memory_bytes=0, cuda=NO_CUDA), ("cpu",)),
    ],
)
def test_where_a_model_is_tried_follows_from_the_entry_and_the_machine(
    entry: str, hardware: Hardware, devices: tuple[Device, ...]
) -> None:
    found, why = devices_for(parse_chain([entry])[0], hardware)
    assert found == devices
    assert bool(why) == (not devices)


# ------------------------------------------------------------------ the chain at work
class Model:
    about = "float32, from a test"
    min_similarity = 0.0

    def __init__(self, space: str, device: Device) -> None:
        self.space = Space(space, 3)
        self.device: Device = device
        self.works = True
        self.closed = False

    def embed(self, texts: Sequence[str]) -> Vectors:
        if not self.works:
            raise EmbeddingUnavailable("its process was killed by SIGKILL")
        return Vectors(self.space, np.ones((len(texts), 3), np.float32))

    def embed_query(self, text: str) -> Vector:
        return self.embed([text])[0]

    def close(self) -> None:
        self.closed = True


class Loader:
    """Loads what is not in `broken`, and remembers what it was asked for."""

    def __init__(self, hardware: Hardware = WITHOUT) -> None:
        self.hardware = hardware
        self.broken: dict[str, str] = {}
        self.asked: list[tuple[str, Device]] = []
        self.loaded: list[Model] = []
        self.held: asyncio.Event | None = None

    def probe(self, *, with_cuda: bool) -> Hardware:
        return self.hardware

    def load(self, entry: ModelEntry, device: Device, hardware: Hardware) -> Model:
        self.asked.append((entry.name, device))
        why = self.broken.get(entry.name) or self.broken.get(f"{entry.name} {device}")
        if why is not None:
            raise EmbeddingUnavailable(why)
        self.loaded.append(Model(entry.space, device))
        return self.loaded[-1]

    def interrupt(self) -> None: ...


class Ticks:
    """A clock whose sleeps end when the test says so."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        self.tick = asyncio.Event()

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await self.tick.wait()
        self.tick.clear()


def running(
    loader: Loader, scenario: Callable[[EmbeddingChain, Ticks], Awaitable[None]], entries: Sequence[ModelEntry] = CHAIN
) -> None:
    async def main() -> None:
        clock = Ticks()
        chain = EmbeddingChain(entries, loader, clock)
        stop = asyncio.Event()
        task = asyncio.create_task(chain.run(stop))
        try:
            await asyncio.wait_for(scenario(chain, clock), 30)
        finally:
            stop.set()
            await task
            await chain.close()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 -- what is waited for tells nobody
        await asyncio.sleep(0.005)


def in_use(chain: EmbeddingChain) -> str | None:
    return None if chain.active is None else chain.active.space.name


def test_on_a_gpu_the_first_model_is_used_and_on_a_processor_the_static_one() -> None:
    async def on_gpu(chain: EmbeddingChain, clock: Ticks) -> None:
        await until(lambda: in_use(chain) == "big--one")
        assert chain.status()[1]["device"] == "cuda"

    async def on_cpu(chain: EmbeddingChain, clock: Ticks) -> None:
        await until(lambda: in_use(chain) == "small")
        outcomes = [attempt.outcome for attempt in chain.attempts]
        assert outcomes == ["skipped", "chosen", "untried"]
        assert "CUDA cannot be used here: onnxruntime is built without it" in (chain.attempts[0].why or "")
        state, detail = chain.status()
        assert (state, detail["why"], detail["fallback"]) == ("ready", None, False)

    running(Loader(WITH), on_gpu)
    running(Loader(WITHOUT), on_cpu)


def test_a_gpu_that_refuses_a_model_leaves_it_to_the_processor() -> None:
    loader = Loader(WITH)
    loader.broken["any cuda"] = "out of memory"

    async def scenario(chain: EmbeddingChain, clock: Ticks) -> None:
        await until(lambda: in_use(chain) == "any")
        assert loader.asked == [("any", "cuda"), ("any", "cpu")]
        assert chain.attempts[0].device == "cpu"

    running(loader, scenario, parse_chain(["fastembed:any"]))


def test_what_fails_is_logged_once_with_its_cause_and_the_next_is_used(caplog: pytest.LogCaptureFixture) -> None:
    loader = Loader(WITH)
    loader.broken["big/one"] = "the file model.onnx is damaged"

    async def scenario(chain: EmbeddingChain, clock: Ticks) -> None:
        for retries in range(1, 4):
            await until(lambda retries=retries: len(clock.sleeps) == retries)
            clock.tick.set()
        await until(lambda: len(clock.sleeps) == 4)
        assert in_use(chain) == "small"
        state, detail = chain.status()
        assert (state, detail["fallback"]) == ("ready", True)
        assert "model.onnx is damaged" in str(detail["why"])

    with caplog.at_level(logging.INFO):
        running(loader, scenario)
    assert loader.asked.count(("big/one", "cuda")) == 4
    assert sum("model.onnx is damaged" in record.message for record in caplog.records) == 1


def test_the_preferred_model_comes_back_without_a_restart() -> None:
    loader = Loader(WITH)
    loader.broken["big/one"] = "no file"
    changes: list[str | None] = []

    async def scenario(chain: EmbeddingChain, clock: Ticks) -> None:
        chain.on_change.append(lambda: changes.append(in_use(chain)))
        await until(lambda: len(clock.sleeps) == 1)
        assert chain.current.embed(["a"]).space.name == "small"
        loader.broken.clear()
        clock.tick.set()
        await until(lambda: in_use(chain) == "big--one")
        await until(lambda: loader.loaded[0].closed)
        assert chain.current.embed(["a"]).space.name == "big--one"
        assert [attempt.outcome for attempt in chain.attempts] == ["chosen", "untried", "untried"]
        assert changes[-1] == "big--one"
        assert len(clock.sleeps) == 1, "with the best of all there is nothing to wait for"

    running(loader, scenario)


def test_a_model_that_breaks_is_replaced_at_once() -> None:
    loader = Loader(WITH)

    async def scenario(chain: EmbeddingChain, clock: Ticks) -> None:
        await until(lambda: in_use(chain) == "big--one")
        loader.broken["big/one"] = "it does not start again"
        loader.loaded[0].works = False
        with pytest.raises(EmbeddingUnavailable, match="SIGKILL"):
            await asyncio.to_thread(chain.current.embed, ["a"])
        await until(lambda: in_use(chain) == "small")
        await until(lambda: loader.loaded[0].closed)
        loader.broken.clear()
        await until(lambda: bool(clock.sleeps))
        clock.tick.set()
        await until(lambda: in_use(chain) == "big--one")

    running(loader, scenario)


def test_when_nothing_works_embeddings_are_off_with_every_reason_and_are_tried_again() -> None:
    loader = Loader(WITHOUT)
    loader.broken.update({"small": "not installed", "mid/one": "cannot be fetched"})

    async def scenario(chain: EmbeddingChain, clock: Ticks) -> None:
        await until(lambda: len(clock.sleeps) == 1)
        state, detail = chain.status()
        assert state == "disabled"
        for reason in ("CUDA cannot be used", "static:small: not installed", "mid/one: cannot be fetched"):
            assert reason in str(detail["why"])
        with pytest.raises(EmbeddingUnavailable, match="no embedding model of the chain works"):
            chain.current.embed(["a"])
        loader.broken.clear()
        clock.tick.set()
        await until(lambda: in_use(chain) == "small")

    running(loader, scenario)


def test_an_empty_chain_says_that_it_was_switched_off() -> None:
    async def scenario(chain: EmbeddingChain, clock: Ticks) -> None:
        assert chain.status()[0] == "disabled"
        assert "GROUNDSWELL_EMBEDDING_CHAIN" in (chain.why_none() or "")

    running(Loader(), scenario, ())


def test_a_start_does_not_wait_for_a_model_that_takes_long() -> None:
    async def main() -> None:
        loader = Loader()
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        load = loader.load

        def slow(entry: ModelEntry, device: Device, hardware: Hardware) -> Model:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)
            return load(entry, device, hardware)

        loader.load = slow  # type: ignore[method-assign]
        chain = EmbeddingChain(CHAIN, loader, Ticks())
        await chain.start(wait_s=0.01)
        assert chain.status()[0] == "loading"
        assert chain.why_none() == "the model is being loaded"
        release.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(chain.start(30), 30)
        assert in_use(chain) == "small"

    asyncio.run(main())
