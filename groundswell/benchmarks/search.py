"""What `groundswell bench search` prints: how well search finds what is meant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from groundswell.benchmarks.story_questions import STORY_QUESTIONS
from groundswell.core.near_duplicates import fingerprint, is_near
from groundswell.core.posts import MICROS_PER_SECOND, Post
from groundswell.errors import EmbeddingUnavailable, InvalidRequest
from groundswell.ports.search import Searcher
from groundswell.ports.vectors import SearchFilters
from groundswell.settings_model import EmbeddedSettings
from groundswell.wiring.search_stand import Stand, search_stand, simulated_posts

LABELLED = Path("../shared/data/sts-headlines.tsv")
"""Headlines with people's judgement, where they lie beside the repository."""
MATCH = 4.0
"""Score from which two sentences say the same."""
DEPTH = 10
LEGS = ("lexical", "semantic", "fused")
_BEGAN = 1_760_000_000 * MICROS_PER_SECOND


class Question(msgspec.Struct, frozen=True):
    asked: str
    answers: Callable[[Post], bool]
    """Whether a post is what was asked for."""


class LabelledSet(msgspec.Struct, frozen=True):
    name: str
    posts: list[Post]
    questions: list[Question]


class Quality(msgspec.Struct, frozen=True):
    """Over the questions of a set, each counting once."""

    questions: int
    recall_at_1: float
    """The part whose first answer is right."""
    recall_at_10: float
    """The part with a right one among the first ten."""
    reciprocal_rank: float
    """Mean of 1 / rank of the first right answer, 0 where none of the first ten is."""


def quality(ranks: Sequence[int | None]) -> Quality:
    """`ranks`: of the first right answer to each question, from 1; None where there is none among the first ten."""
    found = [rank for rank in ranks if rank is not None]
    total = max(1, len(ranks))
    return Quality(len(ranks), found.count(1) / total, len(found) / total, sum(1 / rank for rank in found) / total)


def sentence_pairs(file: Path) -> LabelledSet:
    """Pairs of sentences as questions and posts.

    Raises:
        InvalidRequest: the file cannot be read, a line is no labelled pair, or no pair is a match.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"--pairs {file} cannot be read ({error}). Name a UTF-8 text file.") from error
    posts: dict[str, Post] = {}
    questions: list[Question] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            score, asked, said = line.split("\t")
            matches = float(score) >= MATCH
        except ValueError:
            raise InvalidRequest(
                f"--pairs {file}, line {number} is no labelled pair: write score, tab, sentence, tab, sentence."
            ) from None
        posts.setdefault(said, _post(len(posts), said))
        if matches:
            questions.append(Question(asked, _says(said)))
    if not questions:
        raise InvalidRequest(f"--pairs {file} holds no pair with a score of {MATCH:g} or more: nothing to look for.")
    return LabelledSet(f"sentences of {file.name}", list(posts.values()), questions)


def stories() -> LabelledSet:
    """The simulated network's stories, asked for by meaning, by words, and as they are written."""
    posts = simulated_posts(list(STORY_QUESTIONS))
    asked = [(story, question) for story, questions in STORY_QUESTIONS.items() for question in questions]
    return LabelledSet("stories of the simulator", posts, [Question(text, _is_about(story)) for story, text in asked])


async def ask(searcher: Searcher, questions: Sequence[Question]) -> Quality:
    ranks: list[int | None] = []
    for question in questions:
        hits = (await searcher.search(question.asked, SearchFilters(), DEPTH)).hits
        ranks.append(next((rank for rank, hit in enumerate(hits, start=1) if question.answers(hit.post)), None))
    return quality(ranks)


def measure(settings: EmbeddedSettings, pairs: Path | None, models: Sequence[str]) -> dict[str, object]:
    """Every set with every model; prints tables and answers the numbers.

    Raises:
        InvalidRequest: as `sentence_pairs`.
        EmbeddingUnavailable: a model that was asked for by name does not work here.
    """
    console = Console()
    sets: list[LabelledSet] = []
    file = pairs or (LABELLED if LABELLED.exists() else None)
    if file is not None:
        sets.append(sentence_pairs(file))
    else:
        console.print(f"Labelled sentences: left out, {LABELLED} is not there. Use --pairs.")
    sets.append(stories())
    values: dict[str, object] = {}
    for model in models or [entry for entry in settings.embedding_chain if entry != "none"]:
        try:
            measured = asyncio.run(_measure_model(settings, model, sets))
        except EmbeddingUnavailable as error:
            if models:
                raise
            console.print(f"{model}: left out. {error.detail}")
            continue
        table, values[model] = _table(model, sets, measured)
        console.print(table)
    return values


async def _measure_model(
    settings: EmbeddedSettings, model: str, sets: Sequence[LabelledSet]
) -> list[tuple[Stand, dict[str, Quality]]]:
    found: list[tuple[Stand, dict[str, Quality]]] = []
    for labelled in sets:
        async with search_stand(settings, model, labelled.posts) as stand:
            found.append((stand, {leg: await ask(stand.legs[leg], labelled.questions) for leg in LEGS}))
    return found


def _table(
    model: str, sets: Sequence[LabelledSet], measured: Sequence[tuple[Stand, dict[str, Quality]]]
) -> tuple[Table, dict[str, object]]:
    stand = measured[0][0]
    memory = "" if stand.model_bytes is None else f", {stand.model_bytes / 2**20:.0f} MiB of memory"
    speed = max(each.embedded_per_s for each, _ in measured)
    table = Table(title=f"{model}: {speed:,.0f} posts embedded a second{memory}", title_justify="left")
    for heading in ("Set", "Posts", "Questions", "Leg", "Recall@1", "Recall@10", "MRR"):
        table.add_column(heading)
    values: dict[str, object] = {"embedded_per_s": speed, "memory_bytes": stand.model_bytes}
    rows = [(each.name, len(each.posts), found) for each, (_, found) in zip(sets, measured, strict=True)]
    if len(rows) > 1:
        rows.append(("all questions", sum(row[1] for row in rows), {leg: _together(rows, leg) for leg in LEGS}))
    for name, posts, found in rows:
        for leg, one in found.items():
            numbers = (one.recall_at_1, one.recall_at_10, one.reciprocal_rank)
            table.add_row(name, f"{posts:,}", f"{one.questions:,}", leg, *(f"{number:.3f}" for number in numbers))
        table.add_section()
        values[name] = {leg: msgspec.structs.asdict(one) for leg, one in found.items()}
    return table, values


def _together(rows: Sequence[tuple[str, int, dict[str, Quality]]], leg: str) -> Quality:
    parts = [found[leg] for _, _, found in rows]
    total = sum(part.questions for part in parts)

    def mean(value: Callable[[Quality], float]) -> float:
        return sum(value(part) * part.questions for part in parts) / total

    return Quality(
        total,
        mean(lambda part: part.recall_at_1),
        mean(lambda part: part.recall_at_10),
        mean(lambda part: part.reciprocal_rank),
    )


def _post(number: int, text: str) -> Post:
    """All at one instant: what is newer must not tell."""
    return Post(f"pair:{number}", "pairs", "nobody", text, _BEGAN, "a", _BEGAN)


def _says(text: str) -> Callable[[Post], bool]:
    """A post that stands for its copies and near-copies is as good as any of them."""
    wanted = fingerprint(text)
    return lambda post: post.text == text or is_near(fingerprint(post.text), wanted)


def _is_about(story: str) -> Callable[[Post], bool]:
    return lambda post: story in post.entities
