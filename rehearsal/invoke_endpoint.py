"""Lambda's Invoke API on this machine: it leads to the processes of the functions that were deployed.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web

from rehearsal.local_lambda import FunctionFailed, LocalFunction
from rehearsal.network import HOST


class InvokeEndpoint:
    """Use as an async context manager; `url` is what AWS_ENDPOINT_URL_LAMBDA has to be.

    Args:
        functions: by ARN.
    """

    def __init__(self, functions: Mapping[str, LocalFunction]) -> None:
        self._functions = functions
        self.url = ""

    async def __aenter__(self) -> InvokeEndpoint:
        app = web.Application(client_max_size=6 * 1024 * 1024)
        app.router.add_post("/2015-03-31/functions/{name}/invocations", self._invoke)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self.url = f"http://{HOST}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _invoke(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        found = [each for arn, each in self._functions.items() if name in (arn, arn.rpartition(":")[2])]
        if not found:
            body = {"Type": "User", "Message": f"Function not found: {name}"}
            return web.json_response(body, status=404, headers={"X-Amzn-ErrorType": "ResourceNotFoundException"})
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            body = {"message": "Missing Authentication Token"}
            return web.json_response(body, status=403, headers={"X-Amzn-ErrorType": "MissingAuthenticationToken"})
        try:
            result = await found[0].invoke(json.loads(await request.read() or b"{}"))
        except FunctionFailed as failed:
            body = {"errorType": "FunctionFailed", "errorMessage": str(failed)}
            return web.json_response(body, headers={"X-Amz-Function-Error": "Unhandled"})
        return web.json_response(result, headers={"X-Amz-Executed-Version": "$LATEST"})
