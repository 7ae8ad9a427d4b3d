"""The migration as a Lambda function. It imports nothing of the API."""

from __future__ import annotations

from groundswell import settings
from groundswell.adapters.migrations import migrate
from groundswell.observability import configure_logging
from groundswell.settings_model import MigrateSettings
from groundswell.wiring.function_runtime import runtime


def migrate_now() -> tuple[str | None, str]:
    """Bring the schema up to date; the versions before and after. Raises as `migrate` does, and ConfigError."""
    chosen = settings.load(MigrateSettings)
    configure_logging(level=chosen.log_level, style="json", secrets=(chosen.database_url,))
    if chosen.database_url is None:
        raise settings.ConfigError(["GROUNDSWELL_DATABASE_URL: is not set. Set it to the database to migrate."])
    return runtime().run(migrate(chosen.database_url.reveal()))
