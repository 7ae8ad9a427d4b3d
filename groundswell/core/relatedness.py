"""How alike two texts must be to have anything to do with each other: a property of each embedding model.

Cosines of different models cannot be compared. One puts unrelated texts at 0.1, another at 0.6, since its vectors fill
a narrow cone only (Ethayarajh, "How Contextual are Contextualized Word Representations?", EMNLP 2019). So a model is
asked about texts that are known to be unrelated, and what 99 in 100 pairs of them do not reach is its floor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UNRELATED = (
    "the bakery on our street sells out of rye bread by nine",
    "parliament votes tonight on the new budget",
    "my knee hurts after that ten mile run",
    "the telescope found water vapour on a distant planet",
    "anyone else having trouble logging in to the bank app?",
    "our goalkeeper saved two penalties, what a match",
    "heavy rain closes the coastal road until Friday",
    "finally finished the last chapter of that novel",
    "the cat has decided that my keyboard is her bed",
    "oil prices fall for the third day in a row",
    "new album is out at midnight, listen with headphones",
    "a museum in Lisbon returns the stolen painting",
    "learning to knit is harder than it looks",
    "the vaccine trial enters its second phase",
    "nurses announce a strike over pay",
    "this compiler error message makes no sense at all",
    "grandma's recipe needs twice as much garlic",
    "a train derailed near the border, nobody was hurt",
    "the tomatoes on the balcony are ripe at last",
    "happy birthday to the best brother in the world",
    "court rules that the merger may go ahead",
    "whales were seen close to the harbour this morning",
    "looking for a used bicycle, any colour is fine",
    "the last season of that series was a let-down",
)
"""Posts about as many things, no two of which have anything to do with each other."""

UNREACHED = 0.99
"""The part of these pairs that stays below the floor. Posts of a real network, which share their small words and their
tone, are alike more often: with the static model nine in ten unrelated pairs stay below it."""


def similarity_floor(rows: npt.NDArray[np.float32]) -> float:
    """The cosine that hardly any pair of unrelated texts reaches, 0 to 1.

    Args:
        rows: unit vectors of `UNRELATED`; shape (texts, dimensions).
    """
    import numpy as np

    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return float(np.clip(np.quantile(cosines, UNREACHED), 0.0, 1.0))
