"""`/v1/ws`: live frames over a WebSocket that this process holds."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from functions.api.keys import require_known
from functions.api.problems import problem_response
from functions.api.services import Given
from groundswell.errors import GroundswellError, StoreUnavailable
from groundswell.ports.live import ClientGone

router = APIRouter()

SOCKET_PATH = "/v1/ws"


class StarletteSocket:
    """`ports.ClientSocket` over Starlette."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise ClientGone
        text = message.get("text")
        # A binary frame that holds JSON is as good as a text frame; what it does not hold, the session names.
        return text if isinstance(text, str) else bytes(message.get("bytes") or b"").decode("utf-8", "replace")

    async def send(self, text: str) -> None:
        try:
            await self._websocket.send({"type": "websocket.send", "text": text})
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise ClientGone from error

    async def close(self, code: int, reason: str) -> None:
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            raise ClientGone
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise ClientGone from error


@router.websocket(SOCKET_PATH)
async def live(websocket: WebSocket, api: Given) -> None:
    hub = api.services.hub
    if hub is None or hub.full:
        refusal = StoreUnavailable(
            "No live connections can be taken here now: retry later, or poll /v1/events.", retry_after_s=5
        )
        await websocket.send_denial_response(problem_response(refusal, SOCKET_PATH))
        return
    token = websocket.query_params.get("token")
    try:
        if token is not None:
            await require_known(api, token)
    except GroundswellError as error:
        await websocket.send_denial_response(problem_response(error, SOCKET_PATH))
        return
    await websocket.accept()
    await hub.attend(StarletteSocket(websocket), signed_in=token is not None)
