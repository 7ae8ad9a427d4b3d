"""Clients that come and go, each with words, entities and topics that nobody asked for before."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

PAUSE_S = 0.02


async def churn(api_url: str) -> None:
    """Ask, connect, subscribe and leave, until cancelled. What fails is tried again with the next client."""
    number = 0
    async with httpx.AsyncClient(base_url=api_url, timeout=20, trust_env=False) as client:
        while True:
            number += 1
            with suppress(httpx.TransportError, WebSocketException, OSError, TimeoutError):
                await client.get(
                    f"/v1/search?q=word{number}+coffee&limit=1", headers={"X-Forwarded-For": f"10.0.{number % 250}.1"}
                )
                await client.get(f"/v1/momentum/hashtag/nobody{number}?window=15m")
                async with connect(f"{api_url.replace('http', 'ws')}/v1/ws", proxy=None, close_timeout=1) as socket:
                    topics = [f"posts?entity=hashtag:none{number}", "momentum"]
                    await socket.send(json.dumps({"action": "subscribe", "topics": topics}))
                    await asyncio.wait_for(socket.recv(), 10)
            await asyncio.sleep(PAUSE_S)
