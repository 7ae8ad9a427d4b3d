"""The static model as its wheel carries it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.adapters.embedding_models import EmbeddingModels
from groundswell.adapters.static_model import MAX_CHARACTERS, StaticModel
from groundswell.core.embedding_chain import parse_chain
from groundswell.errors import EmbeddingUnavailable


@pytest.fixture(scope="module")
def model() -> StaticModel:
    return StaticModel()


def rows(model: StaticModel, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return model.embed(texts).rows


def test_similar_posts_are_nearer_than_unrelated_ones(model: StaticModel) -> None:
    a, b, c = rows(model, ["bitcoin price surges", "BTC rallies as bitcoin climbs", "my cat sleeps on the sofa"])
    assert a @ b > 0.5 > 0.2 > a @ c


def test_the_vector_of_a_text_does_not_depend_on_its_batch(model: StaticModel) -> None:
    texts = [f"post number {n} " + "about markets " * (n % 9) for n in range(150)]
    together = rows(model, texts)
    alone = np.vstack([rows(model, [text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


def test_texts_without_tokens_get_one_defined_vector(model: StaticModel) -> None:
    vectors = rows(model, ["", "", "a real post"])
    assert np.array_equal(vectors[0], vectors[1])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1)
    assert vectors[0] @ vectors[2] < 0.5


def test_no_texts_give_no_vectors(model: StaticModel) -> None:
    assert rows(model, []).shape == (0, 256)


def test_a_text_is_read_up_to_its_limit(model: StaticModel) -> None:
    assert np.isfinite(rows(model, ["🎉" * MAX_CHARACTERS * 3])).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(), max_size=60), max_size=5))
def test_every_text_has_a_finite_unit_vector(model: StaticModel, texts: list[str]) -> None:
    vectors = rows(model, texts)
    assert vectors.shape == (len(texts), 256)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_the_model_is_read_without_importing_its_package(model: StaticModel) -> None:
    assert model.space.name == "wordllama-256"
    assert "wordllama" not in sys.modules


def test_missing_files_say_what_still_works_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingUnavailable, match=r"groundswell\[embedded\]"):
        StaticModel(tmp_path)


def test_weights_that_are_none_are_named(tmp_path: Path, model: StaticModel) -> None:
    from groundswell.adapters import static_model

    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(EmbeddingUnavailable, match=r"w\.safetensors cannot be read"):
        static_model._map_weights(weights, 256)  # pyright: ignore[reportPrivateUsage]


def test_a_static_model_that_this_build_does_not_know_is_named() -> None:
    models = EmbeddingModels(models_dir=Path(), fetch=False, memory_bytes=2**30, load_timeout_s=10)
    hardware = models.probe(with_cuda=False)
    assert hardware.cores >= 1
    assert models.load(parse_chain(["static:wordllama-256"])[0], "cpu", hardware).space.name == "wordllama-256"
    with pytest.raises(EmbeddingUnavailable, match="no such static model"):
        models.load(parse_chain(["static:wordllama-512"])[0], "cpu", hardware)


def test_cut_off_weights_are_named(tmp_path: Path, model: StaticModel) -> None:
    from groundswell.adapters import static_model

    whole = static_model._package_folder() / "weights/l2_supercat_256.safetensors"  # pyright: ignore[reportPrivateUsage]
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(whole.read_bytes()[:1_000_000])
    with pytest.raises(EmbeddingUnavailable, match=r"w\.safetensors cannot be read"):
        static_model._map_weights(weights, 256)  # pyright: ignore[reportPrivateUsage]
