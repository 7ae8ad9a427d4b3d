"""The site's files, where this process serves them itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from functions.api.problems import no_such_path
from functions.api.surface import Surface

IMMUTABLE: Final = "public, max-age=31536000, immutable"
REVALIDATE: Final = "no-cache"

NOT_BUILT: Final = """<!doctype html><html lang=en><meta charset=utf-8><title>Groundswell</title>
<style>body{font:17px/1.6 system-ui,sans-serif;max-width:38rem;margin:12vh auto;padding:0 1.25rem}
:root{color-scheme:light dark}</style>
<h1>Groundswell is running</h1>
<p>The dashboard has not been built, so this is all there is to see here. <code>make set-up</code> builds it;
<code>make up</code> does so by itself.</p>
<p>The API works: <a href=/docs>its reference</a>, <a href=/v1/posts>the newest posts</a>,
<a href=/v1/momentum>what is moving</a>, <a href=/v1/status>how it is doing</a>.</p></html>
"""


def site_policy(*, api_url: str, ws_url: str) -> str:
    """The Content-Security-Policy of the site: its own files, the API and the WebSocket, and nothing else.

    Styles may be inline since charts set the size of their canvas that way.
    """
    connect = " ".join(["'self'", *(url for url in (api_url, ws_url) if url)])
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        f"font-src 'self'; manifest-src 'self'; connect-src {connect}; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )


class Site:
    """ASGI: the files of `directory` for every path that no route has, and a page that says so where it is missing."""

    def __init__(self, directory: Path | None, surface: Surface, *, policy: str) -> None:
        self._surface = surface
        self._policy = policy
        self._index = directory / "index.html" if directory is not None else None
        self._files = StaticFiles(directory=directory, check_dir=False) if directory is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        response = self._answer(Request(scope))
        response.headers["Content-Security-Policy"] = self._policy
        await response(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        path = request.url.path
        if self._index is None or self._files is None or request.method != "GET" or path.startswith("/v1"):
            raise no_such_path(path, self._surface)
        if path in ("/", "/index.html"):
            if not self._index.is_file():
                return HTMLResponse(NOT_BUILT, headers={"Cache-Control": "no-store"})
            return FileResponse(self._index, headers={"Cache-Control": REVALIDATE})
        try:
            found, stat = self._files.lookup_path(self._files.get_path(request.scope))
        except (OSError, ValueError):
            # The file system takes no such name: it holds NUL, or a part of it is too long.
            raise no_such_path(path, self._surface) from None
        if stat is None or not Path(found).is_file():
            raise no_such_path(path, self._surface)
        response = self._files.file_response(found, stat, request.scope)
        # Vite names these files after their content.
        response.headers["Cache-Control"] = IMMUTABLE if path.startswith("/assets/") else REVALIDATE
        return response
