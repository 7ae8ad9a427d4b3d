"""How alike two texts must be to have anything to do with each other."""

from __future__ import annotations

import numpy as np
import pytest

from groundswell.adapters.static_model import StaticModel
from groundswell.core.near_duplicates import fingerprints, repeated_share
from groundswell.core.relatedness import UNRELATED, similarity_floor


def test_what_the_static_model_says_of_itself_is_what_its_vectors_say() -> None:
    model = StaticModel()
    assert model.min_similarity == pytest.approx(similarity_floor(model.embed(UNRELATED).rows), abs=0.03)


def test_a_model_whose_vectors_fill_a_narrow_cone_has_a_higher_floor() -> None:
    rows = StaticModel().embed(UNRELATED).rows
    shifted = rows + 2 * np.eye(1, rows.shape[1], dtype=np.float32)
    narrow = shifted / np.linalg.norm(shifted, axis=1, keepdims=True)
    assert similarity_floor(narrow) > 0.7
    related = StaticModel().embed(["parliament votes on the budget", "the budget vote in parliament"]).rows
    assert related[0] @ related[1] > similarity_floor(rows)


def test_a_floor_is_a_cosine_from_0_to_1() -> None:
    assert similarity_floor(np.eye(4, dtype=np.float32)) == 0
    assert similarity_floor(np.ones((3, 1), np.float32)) == 1


def test_the_texts_that_models_are_asked_about_do_not_repeat_each_other() -> None:
    assert len(UNRELATED) == len(set(UNRELATED))
    assert repeated_share(fingerprints(UNRELATED)) == 0
