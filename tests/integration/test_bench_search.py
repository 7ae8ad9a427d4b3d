"""Search quality on labelled sentences, held at what it was measured to be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from groundswell import settings
from groundswell.benchmarks.search import LABELLED, Quality, ask, sentence_pairs
from groundswell.wiring.search_stand import search_stand

HEADLINES = Path(__file__).resolve().parents[2] / LABELLED


@pytest.mark.slow
def test_the_static_model_finds_headlines_that_say_the_same_and_fusion_costs_nothing() -> None:
    if not HEADLINES.exists():
        pytest.skip(f"{HEADLINES} is not there")

    async def scenario() -> dict[str, Quality]:
        labelled = sentence_pairs(HEADLINES)
        chosen = settings.load(settings.EmbeddedSettings)
        async with search_stand(chosen, "static:wordllama-256", labelled.posts) as stand:
            return {leg: await ask(searcher, labelled.questions) for leg, searcher in stand.legs.items()}

    found = asyncio.run(scenario())
    assert found["semantic"].recall_at_1 >= 0.85
    assert found["semantic"].recall_at_10 == 1.0
    assert found["fused"].recall_at_10 >= max(found["lexical"].recall_at_10, found["semantic"].recall_at_10)
    assert found["fused"].reciprocal_rank > max(found["lexical"].reciprocal_rank, found["semantic"].reciprocal_rank)
