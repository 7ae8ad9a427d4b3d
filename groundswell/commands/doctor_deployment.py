"""`groundswell doctor deployment`: the parts of a deployment, looked at from inside its network."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from groundswell import settings
from groundswell.commands.findings import Finding
from groundswell.core.posts import MICROS_PER_SECOND
from groundswell.core.status import HEALTHY_STATES, silent_after_s
from groundswell.errors import ArchiveUnavailable, GroundswellError, VectorIndexUnavailable

if TYPE_CHECKING:
    from groundswell.ports.reading import ComponentStatus, Status
    from groundswell.wiring.deployment_chores import Deployment


async def examine(chosen: settings.AdminSettings) -> AsyncGenerator[Finding]:
    """Every part in the order of the chain: database, relay and jobs, vector index, archive."""
    from groundswell.wiring import chores
    from groundswell.wiring.deployment_chores import deployment

    try:
        report = await chores.inspect_database(chosen.database_url.reveal())
    except GroundswellError as error:
        yield Finding("Postgres", "broken", error.detail, "Look at the instance and at its security group.")
        return
    if report.schema is None or report.schema < report.required_schema:
        found = f"version {report.schema or 'none'}, needed is {report.required_schema}"
        yield Finding("Schema", "broken", found, "Run `groundswell aws run -- migrate`, or deploy again.")
        return
    async with deployment(chosen) as parts:
        connected = await parts.connected()
        how = "over TLS" if connected.encrypted else "without TLS"
        about = f"{report.server}, as {connected.user} {how}; {report.connections} of {report.max_connections}"
        yield Finding("Postgres", "ok", f"{about} connections")
        yield Finding("Schema", "ok", f"version {report.schema}, about {report.posts or 0:,} posts")
        status = await parts.status()
        for finding in [*_sources(status), *_components(status)]:
            yield finding
        yield await _index(parts, chosen)
        yield await _archive(parts)


def _sources(status: Status) -> list[Finding]:
    if not status.sources:
        return [Finding("Source", "broken", "nothing was ever stored", "Look at the relay's log.")]
    found: list[Finding] = []
    for source in status.sources:
        lag = "" if source.lag_s is None else f", {source.lag_s:,.0f} s behind the present"
        if source.state in ("live", "catching-up", "ended"):
            found.append(Finding("Source", "ok", f"{source.source}: {source.state}{lag}"))
        else:
            age = "never" if source.age_s is None else f"{source.age_s:,.0f} s ago"
            remedy = "Look at the relay's log; `aws ecs describe-services` says whether its task runs."
            found.append(Finding("Source", "broken", f"{source.source}: {source.state}, last stored {age}", remedy))
    return found


def _components(status: Status) -> list[Finding]:
    return [_component(part, (status.as_of - part.updated_at) / MICROS_PER_SECOND) for part in status.components]


def _component(part: ComponentStatus, age_s: float) -> Finding:
    name = "Mover" if part.component == "archive" else part.component.capitalize()
    if age_s > silent_after_s(part.every_s):
        return Finding(
            name, "broken", f"has not reported for {age_s:,.0f} s", "Look at its log; a deploy starts it again."
        )
    if part.state not in HEALTHY_STATES:
        return Finding(name, "note", f"{part.state}: {bytes(part.detail).decode()}")
    return Finding(name, "ok", f"{part.state}, {max(0.0, age_s):,.0f} s ago")


async def _index(parts: Deployment, chosen: settings.AdminSettings) -> Finding:
    try:
        points = await parts.points()
    except VectorIndexUnavailable as error:
        remedy = "Until then search goes by words, and nothing is lost. docs/deploy.md has how its key is changed."
        return Finding("Qdrant", "broken", error.detail, remedy)
    if points is None:
        return Finding(
            "Qdrant", "note", "none is configured: search goes by words", 'Set "qdrant_url" in cdk/cdk.json.'
        )
    return Finding("Qdrant", "ok", f"{chosen.qdrant_url}: {points:,} points, {await parts.waiting():,} posts wait")


async def _archive(parts: Deployment) -> Finding:
    try:
        found = await parts.archive()
    except ArchiveUnavailable as error:
        return Finding("Archive", "broken", error.detail, "Check the bucket and the rights to it.")
    if found is None:
        return Finding("Archive", "note", "is off: posts stay in Postgres")
    where, known, missing = found
    if missing:
        remedy = "`groundswell archive verify` names them. The bucket keeps earlier versions."
        return Finding("Archive", "broken", f"{missing:,} of {known:,} files are missing at {where}", remedy)
    return Finding("Archive", "ok", f"{known:,} files at {where}")
