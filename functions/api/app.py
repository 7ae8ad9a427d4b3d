"""The API as one ASGI application: uvicorn serves it on a machine, Mangum behind API Gateway."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import HTMLResponse, Response

from functions.api import docs, openapi
from functions.api.answers import STEADY_MAX_AGE_S, json_answer
from functions.api.edge import Edge
from functions.api.host_rules import HostRules
from functions.api.limits import Places, RateLimiter, TrustedProxies
from functions.api.parameters import accepts
from functions.api.problems import PROBLEMS_PATH, install
from functions.api.routes import alerts, events, export, gaps, health, insights, live, momentum, posts, search, stats
from functions.api.routing import JSON, router_of
from functions.api.services import Api, ApiServices, Condition
from functions.api.site import Site, site_policy
from functions.api.surface import Surface

__all__ = ["ApiServices", "create_app"]

ROUTERS = (
    search.router,  # before posts, whose ids may hold slashes
    posts.router,
    momentum.router,
    insights.router,
    alerts.router,
    gaps.router,
    events.router,
    stats.router,
    export.router,
    health.router,
)


def create_app(
    services: ApiServices,
    *,
    version: str,
    public_api_url: str = "",
    public_ws_url: str = "",
    contact: str = "",
    cors_origins: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    trusted_proxies: Sequence[str] = (),
    proxy_header: str = "x-forwarded-for",
    rate_limit_per_minute: int = 600,
    sockets_per_address: int = 200,
    site_dir: Path | None = None,
) -> FastAPI:
    """The application over `services`.

    Args:
        version: of this build, as answers and greetings tell it.
        public_api_url: where browsers reach the API, without a slash at the end; empty where it is the site's origin.
        public_ws_url: where browsers open the WebSocket; empty likewise.
        contact: where people write to who want their posts removed; empty where nobody said.
        cors_origins: origins of other sites whose pages may call the API and open its WebSocket, or `*`.
        allowed_hosts: names that the API answers under, beside addresses, localhost and those of the public URLs; `*`
            where something in front of it already checks `Host`.
        trusted_proxies: addresses or networks whose `proxy_header` is believed when requests are counted. Switch
            uvicorn's own `proxy_headers` off.
        proxy_header: what those proxies write the client's address into: `x-forwarded-for` or `forwarded`.
        rate_limit_per_minute: requests of one client address; 0 for no limit.
        sockets_per_address: WebSockets that one client address may have open.
        site_dir: folder of the built site, to be served at `/`; a page says so where it was not built.
    """
    app = FastAPI(
        title="Groundswell",
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.api = Api(services, Condition(services.reads, services.clock), version)
    app.state.site_config = {
        "apiUrl": public_api_url,
        "wsUrl": public_ws_url,
        "version": version,
        "contact": contact,
    }
    reference = _reference(app, version=version, public_url=public_api_url)
    for router in (*ROUTERS, reference, live.router):
        app.router.routes.extend(router.routes)

    surface = Surface([*ROUTERS, reference])
    policy = site_policy(api_url=public_api_url, ws_url=public_ws_url)
    app.router.default = Site(site_dir, surface, policy=policy)
    install(app, surface, services.clock)
    app.add_middleware(
        Edge,
        clock=services.clock,
        metrics=services.metrics,
        limiter=RateLimiter(rate_limit_per_minute) if rate_limit_per_minute > 0 else None,
        places=Places(sockets_per_address),
        proxies=TrustedProxies(trusted_proxies, proxy_header),
        hosts=HostRules(
            allowed_hosts=allowed_hosts, public_urls=(public_api_url, public_ws_url), cors_origins=cors_origins
        ),
        cors_origins=cors_origins,
        surface=surface,
    )
    return app


def _reference(app: FastAPI, *, version: str, public_url: str) -> APIRouter:
    """The routes that describe the others. The document is built when it is first asked for."""

    @cache
    def document() -> dict[str, Any]:
        return openapi.build(app, version=version, public_url=public_url)

    router = router_of(in_schema=False)

    @router.get("/openapi.json", dependencies=[Depends(accepts(JSON))])
    async def openapi_document(request: Request) -> Response:
        return json_answer(request, document(), max_age_s=STEADY_MAX_AGE_S)

    @router.get("/docs")
    async def reference_page() -> Response:
        return _html(docs.docs_page(document()))

    @router.get(PROBLEMS_PATH)
    async def problems_page() -> Response:
        return _html(docs.problems_page())

    app.openapi = document
    return router


def _html(page: str) -> Response:
    headers = {"Content-Security-Policy": docs.PAGE_POLICY, "Cache-Control": f"public, max-age={STEADY_MAX_AGE_S}"}
    return HTMLResponse(page, headers=headers)
