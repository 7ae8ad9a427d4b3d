"""The cost of a deployment as text for a terminal or a mail, and as the page docs/costs.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployment import connections, costs
from deployment.costs import Estimate
from deployment.knobs import Knobs, knobs, load
from deployment.right_sizing import Advice


def render_estimate(chosen: Knobs, estimate: Estimate) -> str:
    """A table of fixed width: what, how much a month, and why it is not more."""
    at = costs.prices()
    title = f"{chosen.profile}{', combined' if chosen.combined else ''}{', Spot' if chosen.relay_spot else ''}"
    width = max(len(line.service) + len(line.what) + 2 for line in estimate.lines)
    rows = [f"  {line.service + ': ' + line.what:<{width}} {line.usd:>8.2f}  {line.note}" for line in estimate.lines]
    return "\n".join(
        [
            f"Monthly cost in USD ({title}; list prices of {at.region}, {at.as_of}, without taxes)",
            *rows,
            f"  {'Total':<{width}} {estimate.total:>8.2f}  of {chosen.monthly_budget_usd:.2f} that may be spent",
        ]
    )


def render_connections(chosen: Knobs) -> str:
    """The connection budget in one line."""
    claims = connections.claims(chosen)
    listed = ", ".join(f"{claim.service} {claim.instances} × {claim.each}" for claim in claims)
    return (
        f"Database connections: {sum(claim.total for claim in claims)} of {connections.limit(chosen)} that a "
        f"{chosen.database_class} may promise ({listed})"
    )


def render_actual(spend: Mapping[str, float], advice: Sequence[Advice], days: int) -> str:
    """What was really spent over the last `days` by service, and what could be smaller."""
    width = max([len(name) for name in spend] + [20])
    total = sum(spend.values())
    rows = [f"  {name:<{width}} {usd:>8.2f}" for name, usd in sorted(spend.items(), key=lambda item: -item[1])]
    sizes = [
        f"  {line.service}: {line.said}"
        + (f" and save {line.saves_usd:.2f} USD a month" if line.saves_usd >= 0.005 else "")
        for line in advice
    ]
    return "\n".join(
        [
            f"Spent in the last {days} days, in USD",
            *rows,
            f"  {'Total':<{width}} {total:>8.2f}  that is {total / days * 30.4:.2f} a month",
            "",
            "Sizes",
            *sizes,
        ]
    )


SHOWN: Sequence[tuple[str, str, Mapping[str, object]]] = (
    ("budget", "The `budget` profile", {}),
    ("budget-spot", "The `budget` profile with its relay on Spot", {"relay_spot": True}),
    ("combined", "The `combined` topology, for staging", {"topology": "combined"}),
    ("production", "The `production` profile", {"profile": "production"}),
)


def render_docs() -> str:
    """docs/costs.md."""
    at = costs.prices()
    lines = [_HEAD.format(region=at.region, as_of=at.as_of)]
    lines += ["| deployment | USD a month |", "| --- | ---: |"]
    shown = [(title, load(overrides)) for _, title, overrides in SHOWN]
    lines += [f"| {title} | {costs.estimate(chosen).total:.2f} |" for title, chosen in shown]
    for title, chosen in shown:
        lines += [
            "",
            f"## {title}",
            "",
            "| service | what | USD a month | why it is not more |",
            "| --- | --- | ---: | --- |",
        ]
        found = costs.estimate(chosen)
        lines += [f"| {line.service} | {line.what} | {line.usd:.2f} | {line.note} |" for line in found.lines]
        lines += [f"| | **Total** | **{found.total:.2f}** | |", "", f"{render_connections(chosen)}."]
    lines += ["", "## What is assumed", "", "| | value | why |", "| --- | ---: | --- |"]
    reasons = costs.usage_reasons()
    lines += [f"| `{name}` | {value:,.10g} | {reasons[name]} |" for name, value in costs.default_usage().items()]
    lines += ["", "## Where the prices are from", ""]
    lines += [f"- {source}" for source in at.sources()]
    return "\n".join(lines) + "\n"


def render_knobs() -> str:
    """docs/knobs.md."""
    lines = [
        _KNOBS_HEAD,
        "| knob | values | `budget` | `production` | what it does |",
        "| --- | --- | --- | --- | --- |",
    ]
    for knob in knobs():
        defaults = [_shown(value) for value in (knob.budget, knob.production)]
        lines.append(f"| `{knob.name}` | {knob.values} | {' | '.join(defaults)} | {knob.about} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value not in ("", None) else "empty"


_KNOBS_HEAD = """\
# The knobs of a deployment

A profile, `budget` or `production`, gives every knob its value. What you want otherwise goes into the `context` of
`cdk/cdk.json`, or onto the command line as `-c name=value`. A knob that does not exist, a value out of its bounds or a
contradiction does not synthesise. Three more keys of the context hold mappings: `environment` sets any variable of
[configuration.md](configuration.md) that is no secret, `secrets` names the SSM SecureString that holds one that is,
and `usage` changes what [the estimate](costs.md#what-is-assumed) assumes. [deploy.md](deploy.md) shows how.

This page is made from `deployment/knobs.py` by `make generate`.
"""

_HEAD = """\
# What it costs

Monthly estimates from public list prices ({region}, {as_of}, in US dollars and without taxes) and the assumptions
[below](#what-is-assumed): a million posts a day and three viewers around the clock. `cdk synth` prints the same table
for the deployment at hand and refuses one that costs more than its `monthly_budget_usd`; `groundswell cost` prints it
without AWS, and beside it, where credentials allow, what was really spent. What AWS gives every account for ever is
taken off; offers for new accounts are not. How to deploy and what each knob does is in [deploy.md](deploy.md).

This page is made from `deployment/prices.json` and `deployment/usage.json` by `make generate`.
"""
