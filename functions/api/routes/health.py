"""`/healthz`, `/readyz` and `/config.json`: for load balancers and for the site."""

from __future__ import annotations

import msgspec
from fastapi import Request
from starlette.responses import Response

from functions.api.answers import json_answer
from functions.api.routing import JSON, router_of
from functions.api.services import ApiServices, Given
from groundswell.errors import SchemaMismatch, StoreUnavailable
from groundswell.health import PROBE_LIMIT_S, Health, Part, Probe, probe
from groundswell.ports.time_budget import one_request

STORE_LIMIT_S = PROBE_LIMIT_S / 2
"""A silent store is given up a little more than a second after this, and so before the probe is: one that is cancelled
would wait for the store to hear of it.
"""

router = router_of("platform", JSON)


@router.get("/healthz", response_model="Alive")
async def alive(api: Given) -> Response:
    """The process answers. Says nothing about what it depends on."""
    return _uncached({"status": "alive", "version": api.version})


@router.get("/readyz", response_model="Ready")
async def ready(api: Given) -> Response:
    """Everything that requests need is reachable, and the database has a schema that this version works with."""
    with one_request(STORE_LIMIT_S):
        health = await probe("api", _probes(api.services))
    if not health.ready:
        raise StoreUnavailable(f"Not ready. {_findings(health)}")
    checks = [{"name": part.part, "ok": part.ok, "why": None if part.ok else part.detail} for part in health.parts]
    return _uncached({"status": "ready", "version": api.version, "checks": checks})


@router.get("/metrics", include_in_schema=False)
async def metrics(api: Given) -> Response:
    """What this process has counted, in the Prometheus text format."""
    text = api.services.metrics.render()
    return Response(text, media_type="text/plain; version=0.0.4", headers={"Cache-Control": "no-store"})


def _probes(services: ApiServices) -> dict[Part, Probe]:
    async def postgres() -> str:
        await services.reads.now()
        return "answers"

    async def schema() -> str:
        found = await services.reads.schema_version()
        if found is None or found < services.schema_version:
            raise SchemaMismatch(
                f"The schema is at version {found or 'none'}; this build needs {services.schema_version}. "
                "Run `groundswell migrate`."
            )
        return f"version {found}"

    return {"postgres": postgres, "schema": schema, **services.probes}


def _findings(health: Health) -> str:
    return " ".join(f"{part.part}: {part.detail}" for part in health.parts if part.required and not part.ok)


def _uncached(body: dict[str, object]) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("/config.json", response_model="SiteConfig")
async def site_config(request: Request) -> Response:
    """What the site needs to know at run time. Empty addresses mean the page's own."""
    return json_answer(request, request.app.state.site_config)
