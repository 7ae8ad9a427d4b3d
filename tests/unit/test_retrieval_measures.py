"""How the quality of search is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundswell.benchmarks.search import quality, sentence_pairs, stories
from groundswell.errors import InvalidRequest


def write(folder: Path, text: str) -> Path:
    file = folder / "pairs.tsv"
    file.write_text(text, "utf-8")
    return file


def test_recall_and_reciprocal_rank_count_the_first_right_answer() -> None:
    found = quality([1, 2, None, 10])
    assert (found.questions, found.recall_at_1, found.recall_at_10) == (4, 0.25, 0.75)
    assert found.reciprocal_rank == pytest.approx((1 + 0.5 + 0.1) / 4)
    assert quality([]).recall_at_10 == 0


def test_pairs_of_four_and_more_are_questions_and_every_second_sentence_is_a_post(tmp_path: Path) -> None:
    file = write(tmp_path, "5\ta cat\tthe cat sleeps\n\n3.9\ta dog\tthe dog barks\n4\tthe cat\tthe cat sleeps\n")
    labelled = sentence_pairs(file)
    assert [post.text for post in labelled.posts] == ["the cat sleeps", "the dog barks"]
    assert [question.asked for question in labelled.questions] == ["a cat", "the cat"]
    assert [labelled.questions[0].answers(post) for post in labelled.posts] == [True, False]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5\tonly one", "line 1 is no labelled pair"),
        ("5\ta\tb\nmany\ta\tb", "line 2 is no labelled pair"),
        ("1\ta\tb", "no pair with a score of 4 or more"),
        ("", "no pair with a score of 4 or more"),
    ],
)
def test_a_file_that_holds_no_labelled_pairs_is_refused_by_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        sentence_pairs(write(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"none\.tsv cannot be read"):
        sentence_pairs(tmp_path / "none.tsv")


def test_every_question_about_a_story_has_posts_that_answer_it() -> None:
    labelled = stories()
    for question in labelled.questions:
        assert any(question.answers(post) for post in labelled.posts), question.asked
