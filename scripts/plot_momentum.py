"""Draws docs/images/momentum.png: what the detector makes of a surge, a decoy and an outage.

python scripts/plot_momentum.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

from groundswell.core.habit import Grid
from groundswell.core.recording import score_recording

mpl.use("Agg")
import matplotlib.pyplot as plt

IMAGE = Path(__file__).resolve().parents[1] / "docs" / "images" / "momentum.png"
GRID, DAYS, SHOWN_H = Grid(), 15, 12
DAY = 24 * GRID.hour
MONDAY = 4 * 24 * 60


def main() -> None:
    rng = np.random.default_rng(7)
    hours = np.arange(DAYS * DAY) / GRID.hour
    usual = 10 * (1 + 0.5 * np.cos(2 * np.pi * (hours - 19) / 24))
    calm = rng.poisson(usual).astype(float)
    start = 14 * DAY + 7 * GRID.hour
    surge, decoy, outage = slice(start, start + 18), slice(start, start + 4), slice(start, start + 24)

    crowded, people = calm.copy(), calm.copy()
    crowded[surge] += rng.poisson(np.linspace(70, 15, 18))
    people[surge] = crowded[surge] * 0.9
    shouted, few = calm.copy(), calm.copy()
    shouted[decoy] += 90
    few[decoy] += 4
    unseen, watched = calm.copy(), np.ones(len(calm))
    unseen[outage], watched[outage] = 0.0, 0.0
    stories = (
        ("A surge: many people", crowded, people, np.ones(len(calm))),
        ("A decoy: four accounts", shouted, few, np.ones(len(calm))),
        ("An outage: two hours unseen", unseen, unseen, watched),
    )
    window = slice(start - 4 * GRID.hour, start + (SHOWN_H - 4) * GRID.hour)
    at = (np.arange(len(calm))[window] - start) / GRID.hour
    figure, axes = plt.subplots(2, 3, figsize=(11, 4.6), sharex=True, sharey="row", layout="constrained")
    for column, (title, counts, authors, exposure) in enumerate(stories):
        scores = score_recording(GRID, counts[None], exposure, MONDAY, authors[None])
        above, below = axes[:, column]
        above.set_title(title, loc="left", fontsize=10)
        seen = exposure[window] > 0
        above.plot(at, np.where(seen, counts[window], np.nan), color="#24577a", lw=1.2, label="mentions in 5 minutes")
        above.plot(at, usual[window], color="#9aa7b0", lw=1, ls="--", label="usual")
        below.plot(
            at, np.where(seen, scores.anomaly[0, window], np.nan), color="#b5472f", lw=1.2, label="anomaly score"
        )
        below.axhline(0.9, color="#9aa7b0", lw=0.8, ls=":", label="told from here")
        if not seen.all():
            for axis in (above, below):
                axis.axvspan(0, 2, color="#dddddd", hatch="//", ec="#bbbbbb", lw=0)
        below.set_ylim(0, 1.04)
        below.set_xlabel("hours")
        for axis in (above, below):
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(fontsize=8, frameon=False)
    axes[1, 0].legend(fontsize=8, frameon=False)
    figure.savefig(IMAGE, dpi=110, metadata={"Software": None})  # pyright: ignore[reportUnknownMemberType]
    print(IMAGE)


if __name__ == "__main__":
    main()
