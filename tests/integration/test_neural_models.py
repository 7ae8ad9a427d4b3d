"""Neural models through fastembed and ONNX Runtime, each in a real process. CUDA is simulated, and real where it is."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from groundswell.adapters.embedding_models import EmbeddingModels
from groundswell.adapters.encoder import cuda, wire
from groundswell.adapters.encoder.process import EncoderProcess
from groundswell.adapters.fastembed_models import FastembedModel
from groundswell.core.embedding_chain import Cuda, Device, Hardware, ModelEntry
from groundswell.errors import EmbeddingUnavailable
from tests.tiny_encoder import MAX_TOKENS, make_encoder, write_json

NAME = "tiny/encoder"
ENTRY = ModelEntry("fastembed", NAME)
HARDWARE = Hardware(cores=2, memory_bytes=None, cuda=Cuda(usable=False, why="not asked"))
REAL_CUDA = cuda.probe()
LONG_S = 120.0

Load = Callable[..., FastembedModel]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    make_encoder(tmp_path / NAME)
    return tmp_path


@pytest.fixture
def load(models: Path) -> Iterator[Load]:
    """Loads the tiny encoder, as the chain does; whatever was loaded is ended."""
    loaders: list[EmbeddingModels] = []

    def load(entry: ModelEntry = ENTRY, device: Device = "cpu", *, memory_mb: int = 2_000, cuda: str = "") -> object:
        loader = EmbeddingModels(
            models_dir=models,
            fetch=False,
            memory_bytes=memory_mb * 2**20,
            load_timeout_s=LONG_S,
            preload=[f"tests.simulated_cuda.{cuda}"] if cuda else [],
        )
        loaders.append(loader)
        return loader.load(entry, device, HARDWARE)

    yield load  # type: ignore[misc]
    for loader in loaders:
        loader.interrupt()


def test_a_model_folder_is_loaded_in_a_process_of_its_own_and_finds_what_is_alike(load: Load) -> None:
    model = load()
    assert model.space.name == "tiny--encoder"
    assert model.space.dimensions == 8
    assert model.device == "cpu"
    assert "float32" in model.about
    assert psutil.Process(model.pid).ppid() == os.getpid()
    a, b, c = model.embed(["bitcoin climbs after the cut", "the bitcoin climbs", "my cat sleeps all day"]).rows
    assert a @ b > a @ c
    assert np.allclose(model.embed_query("bitcoin climbs after the cut").values, a, atol=1e-6)
    model.close()
    model.close()


def test_any_text_has_a_finite_unit_vector_and_no_batch_changes_it(load: Load) -> None:
    model = load()
    texts = [
        "",
        " ",
        "🎉" * 10_000,
        "مرحبا بكم",
        "a\0b\ud800",
        "cat " * MAX_TOKENS * 3,
        *(f"cat {n}" for n in range(600)),
    ]
    rows = model.embed(texts).rows
    assert rows.shape == (len(texts), 8)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    assert np.allclose(model.embed(texts[-3:]).rows, rows[-3:], atol=1e-5)
    assert len(model.embed([])) == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.onnx", b"\x08\x08 nonsense"),
        ("tokenizer.json", b"{"),
        ("tokenizer_config.json", b""),
        ("config.json", b"["),
    ],
)
def test_a_damaged_file_is_named(load: Load, models: Path, name: str, content: bytes) -> None:
    path = models / NAME / name
    path.write_bytes(content)
    with pytest.raises(EmbeddingUnavailable, match=rf"{path}.* damaged"):
        load()


def test_a_truncated_model_is_named(load: Load, models: Path) -> None:
    path = models / NAME / "model.onnx"
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(EmbeddingUnavailable, match=rf"{path}.* damaged"):
        load()


def test_a_missing_file_or_folder_is_named(load: Load, models: Path) -> None:
    (models / NAME / "tokenizer.json").unlink()
    with pytest.raises(EmbeddingUnavailable, match=r"tokenizer\.json is missing"):
        load()
    with pytest.raises(EmbeddingUnavailable, match=r"no folder BAAI/bge-small-en-v1\.5.* fetching is switched off"):
        load(ModelEntry("fastembed", "BAAI/bge-small-en-v1.5"))
    with pytest.raises(EmbeddingUnavailable, match="fastembed does not know no/such"):
        load(ModelEntry("fastembed", "no/such"))
    make_encoder(models / "other/one")
    (models / "other/one/1_Pooling/config.json").unlink()
    with pytest.raises(EmbeddingUnavailable, match=r"1_Pooling/config\.json has to say how its vectors are pooled"):
        load(ModelEntry("fastembed", "other/one"))


def test_a_model_that_makes_other_vectors_than_it_says_is_refused(load: Load, models: Path) -> None:
    write_json(
        models / NAME / "1_Pooling/config.json", {"word_embedding_dimension": 9, "pooling_mode_mean_tokens": True}
    )
    with pytest.raises(EmbeddingUnavailable, match="vectors of 8 numbers and was to make 9"):
        load()


def test_a_model_that_fastembed_knows_is_taken_from_its_folder(load: Load, models: Path) -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    make_encoder(models / name, dimensions=384)
    model = load(ModelEntry("fastembed", name))
    assert model.space.dimensions == 384
    assert str(models / name) in model.about


# ------------------------------------------------------------------ the process
def test_a_killed_process_is_an_error_that_says_so_and_nothing_hangs(load: Load) -> None:
    model = load()
    os.kill(model.pid, signal.SIGKILL)
    with pytest.raises(EmbeddingUnavailable, match="SIGKILL"):
        model.embed(["a cat"])
    with pytest.raises(EmbeddingUnavailable):
        model.embed(["a cat"])
    model.close()


def test_a_process_that_does_not_answer_is_stopped() -> None:
    process = EncoderProcess()
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(EmbeddingUnavailable, match=r"no answer within 0\.2 s, and was stopped"):
        process.ask(wire.Probe(), 0.2)
    assert not psutil.pid_exists(process.pid)
    process.close()


def test_loading_is_ended_when_the_program_stops() -> None:
    process = EncoderProcess()
    os.kill(process.pid, signal.SIGSTOP)
    told: list[str] = []

    def ask() -> None:
        try:
            process.ask(wire.Probe(), LONG_S)
        except EmbeddingUnavailable as error:
            told.append(error.detail)

    asking = threading.Thread(target=ask)
    asking.start()
    process.interrupt()
    asking.join(LONG_S)
    assert "SIGKILL" in told[0]
    process.close()


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="memory is limited on Linux")
def test_a_model_beyond_its_memory_is_refused_and_harms_nobody_else(load: Load) -> None:
    with pytest.raises(EmbeddingUnavailable):
        load(memory_mb=40)


def test_the_process_ends_with_its_parent() -> None:
    process = EncoderProcess()
    child = psutil.Process(process.pid)
    process._requests.close()  # pyright: ignore[reportPrivateUsage] -- what the end of a parent looks like
    assert child.wait(LONG_S) == 0
    process.close()


# ------------------------------------------------------------------ CUDA
def probed(name: str) -> Cuda:
    loader = EmbeddingModels(
        models_dir=Path(),
        fetch=False,
        memory_bytes=2**31,
        load_timeout_s=LONG_S,
        preload=[f"tests.simulated_cuda.{name}"],
    )
    return loader.probe(with_cuda=True).cuda


def test_cuda_counts_only_when_a_model_ran_on_it() -> None:
    assert probed("works").usable


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("listed_only", "lists it, but a model does not run on it: libcudnn"),
        ("falls_back", "went to CPUExecutionProvider"),
        ("crashes", "SIGABRT"),
    ],
)
def test_a_cuda_that_is_listed_and_does_not_work_is_no_cuda(name: str, why: str) -> None:
    found = probed(name)
    assert not found.usable
    assert why in found.why


def test_on_a_gpu_a_model_runs_at_half_precision_and_says_the_same(load: Load, models: Path) -> None:
    whole, half = load(), load(device="cuda", cuda="works")
    assert half.device == "cuda"
    assert half.about.startswith("float16")
    assert half.space == whole.space
    texts = ["bitcoin climbs", "my cat sleeps"]
    agreement = (half.embed(texts).rows * whole.embed(texts).rows).sum(axis=1)
    assert (agreement > 0.999).all()
    assert not np.array_equal(half.embed(texts).rows, whole.embed(texts).rows)
    made = models / "half" / NAME / "model.onnx"
    before = made.stat().st_mtime_ns
    assert load(device="cuda", cuda="works").about.startswith("float16")
    assert made.stat().st_mtime_ns == before


def test_a_model_that_was_moved_off_the_gpu_in_silence_is_refused(load: Load) -> None:
    with pytest.raises(EmbeddingUnavailable, match="moved it from CUDA"):
        load(device="cuda", cuda="falls_back")


def test_a_gpu_without_room_is_refused_with_its_cause(load: Load) -> None:
    assert probed("out_of_memory").usable
    with pytest.raises(EmbeddingUnavailable, match="out of memory"):
        load(device="cuda", cuda="out_of_memory")


@pytest.mark.skipif(not REAL_CUDA.usable, reason=f"no GPU here: {REAL_CUDA.why}")
def test_a_real_gpu_does_all_of_that(load: Load) -> None:
    found = EmbeddingModels(models_dir=Path(), fetch=False, memory_bytes=2**31, load_timeout_s=LONG_S).probe(
        with_cuda=True
    )
    assert found.cuda.usable
    assert found.cuda.device
    whole, half = load(), load(device="cuda")
    assert half.about.startswith("float16")
    texts = ["bitcoin climbs", "my cat sleeps"] * 300
    assert ((half.embed(texts).rows * whole.embed(texts).rows).sum(axis=1) > 0.999).all()


def test_the_model_of_the_probe_is_a_model() -> None:
    import onnx

    onnx.checker.check_model(onnx.load_from_string(cuda.ADD_MODEL))
