"""The function outside the network that asks the vector index for those inside it."""

from __future__ import annotations

from functools import cache

from groundswell import settings
from groundswell.adapters.forwarding.forwarder import VectorForwarder
from groundswell.adapters.system_clock import SystemClock
from groundswell.observability import configure_logging
from groundswell.settings_model import VectorsSettings


@cache
def forwarder() -> VectorForwarder:
    """One for each process, with connections that are kept.

    Raises:
        ConfigError: the environment cannot work.
    """
    chosen = settings.load(VectorsSettings)
    key = chosen.qdrant_api_key
    configure_logging(level=chosen.log_level, style="json")
    return VectorForwarder(
        chosen.qdrant_url,
        SystemClock(),
        collection=chosen.qdrant_collection,
        key=key.reveal() if key is not None else None,
        renew=key.reveal_anew if key is not None else None,
    )
