"""The archive of a drill, asked and looked after as a person does: with the commands of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from groundswell.core.instants import parse_rfc3339

if TYPE_CHECKING:
    from groundswell.drills.harness.oracle import StoredPost
    from groundswell.drills.harness.rig import Rig

COMMAND_LIMIT_S = 60.0
MOST_POSTS = 1_000_000
MOVE = ("move", "--within", "8")
"""While posts come and are due at once, a mover would find ever more to move."""
QUERY = "SELECT id, author, rev, event_time, entities FROM posts"


async def archive_command(rig: Rig, *arguments: str, **more: str) -> tuple[int, str]:
    """Run `groundswell archive …` to its end; its exit code, and what it said.

    Raises:
        TimeoutError: it has not ended after `COMMAND_LIMIT_S`.
    """
    command = await rig.run(f"archive-{arguments[0]}-{len(rig.commands)}", "archive", *arguments, **more)
    try:
        code = await command.ended(COMMAND_LIMIT_S)
    except TimeoutError as error:
        raise TimeoutError(f"`archive {arguments[0]}` has not ended after {COMMAND_LIMIT_S:g} s") from error
    return code, command.last_words(MOST_POSTS)


async def archived_posts(rig: Rig) -> list[StoredPost]:
    """Every post of the archive that may be shown, once per place that it is in. What was withdrawn is settled first.

    Raises:
        AssertionError: the archive cannot be read.
    """
    await let_leases_end(rig)
    code, said = await archive_command(rig, *MOVE)
    assert code == 0, f"withdrawals cannot be settled: {said}"
    code, said = await archive_command(rig, "query", QUERY, "--format", "json", "--limit", f"{MOST_POSTS}")
    if code == 0:
        return [_post(line) for line in said.splitlines() if line.startswith("{")]
    assert "empty" in said or not any(rig.archive_dir.rglob("*.parquet")), f"the archive cannot be asked: {said}"
    return []


async def let_leases_end(rig: Rig) -> None:
    """What a quarter of an hour of waiting does: claims of movers that died are over."""
    await rig.query("UPDATE archive_files SET lease_until = now() - interval '1 s' WHERE state = 'claimed'")


def _post(line: str) -> StoredPost:
    row: dict[str, Any] = msgspec.json.decode(line)
    return row["id"], row["author"], row["rev"], parse_rfc3339(row["event_time"]), tuple(row["entities"] or ())
