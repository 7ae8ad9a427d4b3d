"""`groundswell doctor aws`: what a deploy needs of the account and of this machine, before the first one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from groundswell.commands.findings import Finding
from groundswell.errors import CloudUnavailable

if TYPE_CHECKING:
    from groundswell.adapters.aws_preflight import Asked
    from groundswell.wiring.preflight import Account

UNRESERVED_LEAST = 100
"""AWS keeps this many for functions that reserve none."""


def examine() -> Iterator[Finding]:
    """Every check, in the order in which a deploy would meet what they look at. Without credentials one finding."""
    from groundswell.wiring.preflight import Account

    try:
        account = Account()
    except CloudUnavailable as error:
        yield Finding("Credentials", "broken", error.detail)
        return
    who = account.asks.ask(account.asks.identity)
    if who.why_not:
        remedy = "Run `aws sso login`, or `aws configure sso` the first time."
        yield Finding("Credentials", "broken", who.why_not, remedy)
        return
    yield Finding("Credentials", "ok", f"account {who.value} in {account.knobs.region}")
    yield _plan(account)
    yield _bootstrap(account)
    yield _left_behind(account)
    yield _zones(account)
    yield _ecs_role(account)
    yield _concurrency(account)
    yield from _quotas(account)
    yield from _parameters(account)
    yield _qdrant(account)
    yield _image(account)
    yield _billing(account)
    yield _cost_explorer(account)


def _unknown(part: str, asked: Asked) -> Finding:
    """AWS gave no answer: that says nothing about the account."""
    return Finding(part, "note", f"not known: {asked.why_not}")


def _plan(account: Account) -> Finding:
    asked = account.asks.ask(account.asks.plan)
    if asked.why_not:
        return _unknown("Plan", asked)
    kind, ends = asked.value
    if kind != "FREE":
        return Finding("Plan", "ok", "a paid plan")
    found = f"the Free Plan, which ends {ends or 'when its credits are used'}: AWS then closes the account"
    return Finding("Plan", "note", found, "Run `aws freetier upgrade-account-plan --account-plan-type PAID`.")


def _bootstrap(account: Account) -> Finding:
    asked = account.asks.ask(account.asks.bootstrapped)
    if asked.why_not:
        return _unknown("CDK", asked)
    if asked.value:
        return Finding("CDK", "ok", "is bootstrapped")
    return Finding("CDK", "broken", "is not bootstrapped in this region", "In cdk/, run `npx cdk bootstrap`.")


def _left_behind(account: Account) -> Finding:
    asked = account.asks.ask(account.asks.left_behind)
    if asked.why_not:
        return _unknown("Stacks", asked)
    if not asked.value:
        return Finding("Stacks", "ok", "none is left of a deploy that failed")
    names = ", ".join(asked.value)
    remedy = f"Run `aws cloudformation delete-stack --stack-name {asked.value[0]}`, for each."
    return Finding("Stacks", "broken", f"{names} failed at the first deploy, and cannot be deployed over", remedy)


def _zones(account: Account) -> Finding:
    from groundswell.wiring.preflight import UNSUPPORTED_ZONES

    asked = account.asks.ask(account.asks.zones)
    if asked.why_not:
        return _unknown("Zones", asked)
    named = ", ".join(f"{name} ({zone})" for name, zone in asked.value)
    poor = [name for name, zone in asked.value if zone in UNSUPPORTED_ZONES]
    if poor:
        remedy = 'Choose another region ("region" in cdk/cdk.json): names of zones differ between accounts.'
        return Finding("Zones", "broken", f"{named}: {', '.join(poor)} has no Graviton, Lambda or VPC links", remedy)
    return Finding("Zones", "ok", named)


def _ecs_role(account: Account) -> Finding:
    asked = account.asks.ask(account.asks.ecs_role)
    if asked.why_not:
        return _unknown("ECS role", asked)
    if asked.value:
        return Finding("ECS role", "ok", "ECS has its service-linked role")
    remedy = "Run `aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com`."
    return Finding(
        "ECS role", "broken", "ECS has no service-linked role: the first deploy may fail at its cluster", remedy
    )


def _concurrency(account: Account) -> Finding:
    asked = account.asks.ask(account.asks.concurrency)
    if asked.why_not:
        return _unknown("Functions", asked)
    limit, free = asked.value
    need = account.reserved()
    found = f"{limit:,} may run at once, {free:,} are not reserved, {need} will be"
    if need and free - need < UNRESERVED_LEAST:
        remedy = (
            'Set "reserve_concurrency": false in cdk/cdk.json, and ask for more: `aws service-quotas '
            "request-service-quota-increase --service-code lambda --quota-code L-B99A9384 --desired-value 1000`."
        )
        return Finding("Functions", "broken", found, remedy)
    return Finding("Functions", "ok", found)


def _quotas(account: Account) -> Iterator[Finding]:
    from groundswell.wiring.preflight import QUOTAS

    for name, (service, code, need, what) in QUOTAS.items():
        asked = account.asks.ask(lambda name=name: (account.asks.quota(name), account.asks.used(name)))
        if asked.why_not:
            yield _unknown("Quota", asked)
            continue
        limit, used = asked.value
        found = f"{name}: {limit:g} allowed" + ("" if used is None else f", {used:g} taken")
        if (used or 0) + need > limit:
            remedy = (
                f"Run `aws service-quotas request-service-quota-increase --service-code {service} "
                f"--quota-code {code} --desired-value {limit + max(need, 1):g}`."
            )
            yield Finding("Quota", "broken", f"{found}, and a deployment needs {need:g} for {what}", remedy)
        else:
            yield Finding("Quota", "ok", found)


def _parameters(account: Account) -> Iterator[Finding]:
    if not account.secrets:
        yield Finding("Secrets", "ok", "cdk/cdk.json names no parameters")
        return
    asked = account.asks.ask(lambda: account.asks.parameters(list(account.secrets.values())))
    if asked.why_not:
        yield _unknown("Secrets", asked)
        return
    for variable, name in account.secrets.items():
        kind = asked.value[name]
        put = f'`aws ssm put-parameter --type SecureString --name {name} --value "$VALUE"`'
        if kind is None:
            yield Finding("Secrets", "broken", f"{name}, for {variable}, does not exist", f"Run {put}.")
        elif kind != "SecureString":
            yield Finding("Secrets", "broken", f"{name} is a {kind}, readable by everyone who lists it", f"Run {put}.")
        else:
            yield Finding("Secrets", "ok", f"{name}, for {variable}, is there")


def _qdrant(account: Account) -> Finding:
    from groundswell.wiring.preflight import QDRANT_LEAST, new_enough

    if account.knobs.qdrant != "cloud":
        return Finding("Qdrant", "ok", "the deployment's own")
    if not account.knobs.qdrant_url:
        return Finding("Qdrant", "note", "none: search goes by words", 'Set "qdrant_url" in cdk/cdk.json.')
    try:
        version = account.qdrant()
    except CloudUnavailable as error:
        return Finding("Qdrant", "note", f"not asked: {error.detail}")
    except OSError as error:
        remedy = "Look at cloud.qdrant.io whether the cluster runs and the key is valid: keys expire."
        return Finding("Qdrant", "broken", f"{account.knobs.qdrant_url}: {error}", remedy)
    least = ".".join(map(str, QDRANT_LEAST))
    if not new_enough(version):
        remedy = "Choose a newer version at cloud.qdrant.io."
        return Finding("Qdrant", "broken", f"version {version or 'unknown'}, needed is {least}", remedy)
    return Finding("Qdrant", "ok", f"{account.knobs.qdrant_url} is version {version} and takes the key")


def _image(account: Account) -> Finding:
    if account.knobs.relay_image:
        return Finding("Image", "ok", f"{account.knobs.relay_image} is built already")
    builder = account.builder()
    if builder == "docker":
        return Finding("Image", "ok", "Docker builds it")
    if builder is not None:
        return Finding("Image", "note", f"{builder} builds it", f"Run `export CDK_DOCKER={builder}` before the deploy.")
    remedy = 'Install Docker, Finch or Podman, or set "relay_image" in cdk/cdk.json to one that is built.'
    return Finding("Image", "broken", "there is nothing here that builds it", remedy)


def _billing(account: Account) -> Finding:
    asked = account.asks.ask(account.asks.billing_alerts)
    if asked.why_not:
        return _unknown("Billing alerts", asked)
    if asked.value:
        return Finding("Billing alerts", "ok", "are on")
    remedy = 'Switch on "Receive CloudWatch billing alerts" in Billing preferences of the console. No command does.'
    return Finding("Billing alerts", "note", "are off, or no day old: the alarm on spending stays silent", remedy)


def _cost_explorer(account: Account) -> Finding:
    asked = account.cost_explorer()
    if asked.why_not:
        return _unknown("Cost Explorer", asked)
    if asked.value:
        return Finding("Cost Explorer", "ok", "is on")
    remedy = "Open Cost Explorer once in the console: that switches it on, within a day. No command does."
    return Finding("Cost Explorer", "note", "is off: the weekly report has no spending", remedy)
