"""The preflight: an account and this machine looked at before the first deploy, for `groundswell doctor aws`."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from deployment.knobs import Knobs
from groundswell.adapters.aws_preflight import QUOTAS, UNSUPPORTED_ZONES, Asked, Preflight
from groundswell.adapters.qdrant_rest import MINIMUM_SERVER
from groundswell.adapters.system_clock import SystemClock
from groundswell.configuration.schema import schema_path
from groundswell.core.instants import to_datetime
from groundswell.wiring.costs import choose
from groundswell.wiring.operator import deployment

__all__ = ["QUOTAS", "UNSUPPORTED_ZONES", "Account", "new_enough"]

BUILDERS = ("docker", "finch", "podman")
QDRANT_KEY = "GROUNDSWELL_QDRANT_API_KEY"
QDRANT_LEAST = MINIMUM_SERVER
QDRANT_WAIT_S = 10


class Account:
    """What a deploy of this checkout needs, and the questions to the account.

    Raises:
        ConfigError: a knob is wrong.
        CloudUnavailable: there are no credentials.
    """

    def __init__(self) -> None:
        self.knobs: Knobs = choose({})
        self.asks = Preflight(deployment({}))
        context_file = schema_path().parent / "cdk" / "cdk.json"
        context: Mapping[str, Any] = {}
        if context_file.exists():
            context = json.loads(context_file.read_text("utf-8"))["context"]
        self.secrets: Mapping[str, str] = context.get("secrets") or {}
        """Names of SSM parameters, by the variable that they are for."""

    def reserved(self) -> int:
        """Concurrency that the functions reserve; 0 where they reserve none."""
        from deployment.connections import claims

        if not self.knobs.reserve_concurrency:
            return 0
        return sum(claim.instances for claim in claims(self.knobs) if claim.service != "relay") + 1

    def cost_explorer(self) -> Asked:
        today = to_datetime(SystemClock().now()).date()
        return self.asks.ask(lambda: self.asks.cost_explorer(str(today - timedelta(days=1)), str(today)))

    def builder(self) -> str | None:
        """A program that builds images, on this machine."""
        return next((name for name in BUILDERS if shutil.which(name)), None)

    def qdrant(self) -> str:
        """The version that the cluster says it has.

        Raises:
            OSError: it cannot be reached or refuses the key; the text says which.
            CloudUnavailable: the key cannot be read.
        """
        place = self.secrets.get(QDRANT_KEY)
        headers = {"api-key": self.asks.secret(place)} if place else {}
        url = str(self.knobs.qdrant_url).rstrip("/")
        for path in ("/collections", "/"):
            request = urllib.request.Request(f"{url}{path}", headers=headers)  # noqa: S310 -- the knob takes https
            try:
                with urllib.request.urlopen(request, timeout=QDRANT_WAIT_S) as answer:  # noqa: S310 -- as above
                    said = json.loads(answer.read())
            except urllib.error.HTTPError as error:
                what = "refuses the key" if error.code in (401, 403) else "answers"
                raise OSError(f"it {what} (HTTP {error.code})") from error
            except urllib.error.URLError as error:
                raise OSError(str(error.reason)) from error
            except ValueError as error:
                raise OSError("what answers there is not Qdrant") from error
        return str(said.get("version", ""))


def new_enough(version: str) -> bool:
    """Whether a Qdrant of this version is one that the platform works with."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= QDRANT_LEAST
