"""An operator's commands for one deployment on AWS."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from groundswell.adapters.aws_deployment import AwsDeployment, FunctionFailed
from groundswell.adapters.aws_restore import PointInTime
from groundswell.core.operator_commands import Answer, Chosen, choose
from groundswell.errors import EX_TEMPFAIL, CloudUnavailable, InvalidRequest
from groundswell.wiring.costs import choose as chosen_knobs

SLICE_S = 240.0
"""How long a command runs at a time. One that goes on by itself is called again: routers on the way forget a
connection on which nothing passes for some minutes."""
OUTPUT_OF: Mapping[str, str] = {"admin": "AdminFunctionName", "migrate": "MigrateFunctionName"}
"""By function, the output of the stack `Platform` that names it."""


def deployment(overrides: Mapping[str, object]) -> AwsDeployment:
    """The deployment that cdk/cdk.json of this checkout describes, with knobs laid over it.

    Raises:
        ConfigError: a knob is wrong.
        CloudUnavailable: there are no credentials.
    """
    chosen = chosen_knobs(overrides)
    return AwsDeployment(chosen.name, chosen.region)


def run(
    words: Sequence[str],
    found: AwsDeployment,
    told: Callable[[Answer], None],
    *,
    columns: int,
    slice_s: float = SLICE_S,
) -> int:
    """Run a command inside the deployment, again and again until its work is done. Answers its exit code.

    `told` gets each answer as it comes.

    Raises:
        InvalidRequest: the command is not permitted there.
        CloudUnavailable: the function cannot be invoked, or ended without an answer.
    """
    chosen = choose(words)
    function = found.output("Platform", OUTPUT_OF[chosen.rule.function])
    event = {"command": list(words), "within_s": slice_s, "columns": columns}
    while True:
        answer = _once(found, function, chosen, event)
        told(answer)
        if answer.exit != EX_TEMPFAIL or not chosen.rule.continues:
            return answer.exit


def _once(found: AwsDeployment, function: str, chosen: Chosen, event: Mapping[str, object]) -> Answer:
    migrates = chosen.rule.function == "migrate"
    try:
        said = found.invoke(function, {} if migrates else event)
    except FunctionFailed as error:
        raise CloudUnavailable(
            f"`{chosen.name}` ended without an answer: {error}. The log of {function} may say more."
        ) from error
    if migrates:
        before, after = said["before"], said["after"]
        same = f"The schema is up to date: version {after}.\n"
        return Answer(0, same if before == after else f"The schema went from version {before} to {after}.\n")
    return msgspec.convert(said, Answer)


def restore(overrides: Mapping[str, object], to: str, tell: Callable[[str], None]) -> PointInTime:
    """A restore to the time `to`, checked and not begun.

    Raises:
        InvalidRequest: that is no time, or none that can be restored.
        CloudUnavailable: AWS does not say.
    """
    work = PointInTime(deployment(overrides), parse_time(to), tell, time.sleep)
    work.check()
    return work


def parse_time(text: str) -> datetime:
    """A time with its offset from UTC. Raises InvalidRequest."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no time. Write it as 2026-11-29T12:00Z.", field="--to") from error
    if found.tzinfo is None:
        raise InvalidRequest(f"{text!r} does not say which zone. Write {text}Z for UTC.", field="--to")
    return found.astimezone(UTC)


def gaps(api: str) -> str:
    """The newest gaps as the API lists them; where it does not answer yet, where to look."""
    url = f"{api}/v1/gaps?limit=20"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 -- the deployment's own https address
            return answer.read().decode()
    except (urllib.error.URLError, TimeoutError) as error:
        return f"{url} does not answer yet ({error}). Open it in a minute."
