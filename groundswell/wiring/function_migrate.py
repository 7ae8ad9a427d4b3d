"""The migration as a Lambda function. It imports nothing of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from groundswell import settings
from groundswell.adapters.migrations import migrate
from groundswell.adapters.parameter_store import KeptParameter
from groundswell.adapters.postgres_roles import Done, Login, make_logins
from groundswell.core.database_roles import ROLES
from groundswell.observability import configure_logging
from groundswell.settings_model import MigrateSettings
from groundswell.wiring.function_runtime import runtime


def migrate_now(*, renew_passwords: bool = False) -> Mapping[str, Any]:
    """Make the roles' logins and bring the schema up to date. Answers its version before and after, and each login.

    Raises as `migrate` and `make_logins` do, and ConfigError.
    """
    chosen = settings.load(MigrateSettings)
    configure_logging(level=chosen.log_level, style="json")
    if chosen.database_url is None:
        raise settings.ConfigError(["GROUNDSWELL_DATABASE_URL: is not set. Set it to the database to migrate."])
    return runtime().run(_migrate(chosen.database_url.reveal(), logins_of(chosen.database_logins), renew_passwords))


async def _migrate(url: str, logins: list[Login], renew: bool) -> Mapping[str, Any]:
    # Before the schema: its migration gives the roles that are there their rights.
    done: dict[str, Done] = {}
    if logins:
        done |= await asyncio.to_thread(make_logins, url, logins, renew=renew)
    before, after = await migrate(url)
    return {"before": before, "after": after, "logins": done}


def logins_of(parameters: tuple[str, ...]) -> list[Login]:
    """The login that each parameter keeps; the last part of its name is the role's. Raises ConfigError."""
    made: list[Login] = []
    for arn in parameters:
        role = arn.rpartition("/")[2]
        if role not in ROLES:
            raise settings.ConfigError(
                [f"GROUNDSWELL_DATABASE_LOGINS: {arn} ends in no role. End it in one of {', '.join(ROLES)}."]
            )
        kept = KeptParameter(arn)
        made.append(Login(role, kept.read, kept.write))
    return made
