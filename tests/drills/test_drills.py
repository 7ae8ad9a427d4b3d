"""Every drill in its short form: the real platform, a real fault, and not one promise broken.

The long forms are run by name: `groundswell drill NAME`.
"""

from __future__ import annotations

import asyncio

import pytest

from groundswell.drills.catalogue import DRILLS
from groundswell.drills.harness.running import Drill, run_drill


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.timeout(300)
@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_every_promise_of_the_drill_is_kept(drill: Drill) -> None:
    said: list[str] = []
    verdict = asyncio.run(run_drill(drill, say=said.append))
    if verdict.skipped:
        pytest.skip(verdict.skipped)
    broken = [
        f"{check.what}: promised {check.promised}, found {check.measured}" for check in verdict.checks if not check.kept
    ]
    bad = verdict.answers.bad if verdict.answers else ()
    examples = verdict.reconciliation.examples if verdict.reconciliation else ()
    assert verdict.passed, "\n".join([*said, *broken, *bad, *examples, verdict.failed or ""])
    assert verdict.checks, "a drill that promises nothing proves nothing"
