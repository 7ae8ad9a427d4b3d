"""The real CDK command line against the local AWS."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rehearsal.local_aws import ACCOUNT, environment

ROOT = Path(__file__).resolve().parent.parent
NAME = "Groundswell"
STACKS = (f"{NAME}Data", f"{NAME}Platform", f"{NAME}Watch")


class DeployFailed(Exception):
    """The text is what the command said."""


class Deploy:
    """One deployment. Works on a copy of cdk.json, so that the checkout's own stays as it is.

    Args:
        folder: where the copy lies, and what is synthesised.
        context: over that of cdk/cdk.json.
        sources: the checkout that is deployed.
    """

    def __init__(self, port: int, folder: Path, context: Mapping[str, object], *, sources: Path = ROOT) -> None:
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AWS_", "GROUNDSWELL_")) and name != "PYTHONPATH"
            },
            **environment(port),
            "CI": "1",
        }
        self._folder = folder
        document = json.loads((sources / "cdk" / "cdk.json").read_text("utf-8"))
        document["app"] = f"{sys.executable} {sources / 'cdk' / 'app.py'}"
        document["context"] |= context
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cdk.json").write_text(json.dumps(document), "utf-8")

    async def bootstrap(self) -> str:
        """Where there is no cdk.json: it needs none, and with one it would synthesise first."""
        return await self._cdk("bootstrap", f"aws://{ACCOUNT}/us-east-1", folder=self._folder.parent)

    async def deploy(self) -> str:
        return await self._cdk("deploy", "--all", "--require-approval", "never", "--concurrency", "1")

    async def destroy(self) -> str:
        return await self._cdk("destroy", "--all", "--force", "--concurrency", "1")

    async def synth(self) -> str:
        return await self._cdk("synth", "--quiet", "--all")

    async def _cdk(self, *arguments: str, folder: Path | None = None) -> str:
        """What the command said. Raises DeployFailed."""
        bin_folder = Path(sys.executable).parent
        process = await asyncio.create_subprocess_exec(
            str(bin_folder / "node"),
            str(ROOT / "cdk" / "node_modules" / "aws-cdk" / "bin" / "cdk"),
            *arguments,
            cwd=folder or self._folder,
            env={**self._environment, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode(errors="replace")
        if process.returncode != 0:
            raise DeployFailed(f"cdk {arguments[0]} ended with {process.returncode}:\n{said}")
        return said
