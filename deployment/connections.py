"""The connection budget: what may be connected to Postgres at once, against what its instance allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployment.knobs import CONTEXT_FILE, DeploymentError, Knobs, line_for

MAX_CONNECTIONS: Mapping[str, int] = {
    "t4g.micro": 80,
    "t4g.small": 170,
    "t4g.medium": 340,
    "t4g.large": 680,
    "m7g.large": 680,
    "m7g.xlarge": 1400,
    "m7g.2xlarge": 2800,
}
"""`max_connections` that the parameter group sets, by class: below RDS's own default, which grows with free memory."""

SHARE = 0.8
"""Share of them that may be promised: the rest is for the superuser, for RDS itself and for you."""

RELAY_POOL = 5
"""Connections of the relay's pool: a constant of the relay."""

LISTENERS = 1
"""Connections beside its pool that the relay keeps for LISTEN."""

LEASES = 1
"""Connections that hold the relay's right to read its source."""

ADMIN_CONCURRENCY = 2
"""Commands of an operator that run at once: a key can be made while an index is rebuilt."""

ADMIN_POOL = 4
"""Connections of each: a constant of the commands."""

UNRESERVED_ACCOUNT_LIMIT = 10
"""Functions that a new account runs at once in all."""


@dataclass(frozen=True)
class Claim:
    """One service's share: `instances` processes of at most `each` connections."""

    service: str
    instances: int
    each: int
    knob: str
    """The knob that changes `instances`, or `each` where there is one process."""

    @property
    def total(self) -> int:
        return self.instances * self.each


def claims(chosen: Knobs) -> list[Claim]:
    """Everything that connects to the database, and how often."""
    found = [Claim("relay", 1, RELAY_POOL + LISTENERS + LEASES, "")]
    if chosen.combined:
        found.append(Claim("api", 1, chosen.api_pool, "api_pool"))
    else:
        found.append(Claim("api", chosen.api_concurrency, chosen.api_pool, "api_concurrency"))
        found.append(Claim("sockets", chosen.sockets_concurrency, chosen.sockets_pool, "sockets_concurrency"))
    if not chosen.reserve_concurrency and not chosen.combined:
        widest = max(chosen.api_pool, chosen.sockets_pool, chosen.jobs_pool, ADMIN_POOL)
        return [found[0], Claim("functions", UNRESERVED_ACCOUNT_LIMIT, widest, "api_pool")]
    found += [Claim(job, 1, chosen.jobs_pool, "jobs_pool") for job in ("mover", "cleanup", "migrate")]
    return [*found, Claim("admin", ADMIN_CONCURRENCY, ADMIN_POOL, "")]


def limit(chosen: Knobs) -> int:
    """Connections that may be promised."""
    return int(MAX_CONNECTIONS[chosen.database_class] * SHARE)


def check(chosen: Knobs) -> list[Claim]:
    """The claims, where they fit.

    Raises:
        DeploymentError: they do not; says which line to change to what.
    """
    found = claims(chosen)
    total, most = sum(claim.total for claim in found), limit(chosen)
    if total <= most:
        return found
    largest = max((claim for claim in found if claim.knob), key=lambda claim: claim.total)
    others = total - largest.total
    fits = (most - others) // (largest.each if largest.knob.endswith("concurrency") else largest.instances)
    remedies: list[str] = []
    if fits >= 1:
        remedies.append(f"set {line_for(largest.knob, fits)} (now {getattr(chosen, largest.knob)})")
    if larger := [name for name, allowed in MAX_CONNECTIONS.items() if int(allowed * SHARE) >= total]:
        remedies.append(f"set {line_for('database_class', larger[0])} (now {chosen.database_class})")
    listed = ", ".join(f"{claim.service} {claim.instances} × {claim.each}" for claim in found)
    raise DeploymentError(
        [
            f"The database would run out of connections: {total} could be open at once ({listed}), and a "
            f"{chosen.database_class} may promise {most} ({SHARE:.0%} of {MAX_CONNECTIONS[chosen.database_class]}). "
            f"In {CONTEXT_FILE}, {' or '.join(remedies) or 'lower the pools'}."
        ]
    )
