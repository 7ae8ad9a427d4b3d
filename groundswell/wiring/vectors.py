"""The vector index of a service: asked directly, or by the function that its settings name."""

from __future__ import annotations

from groundswell.adapters.qdrant import QdrantIndex
from groundswell.settings_model import AdminSettings, ApiSettings, CleanupSettings, EmbeddedSettings, RelaySettings


def vector_index(
    url: str,
    settings: RelaySettings | ApiSettings | CleanupSettings | AdminSettings | EmbeddedSettings,
    *,
    own_key: str | None = None,
) -> QdrantIndex:
    """Return the index at `url`, with the key and the collection of the settings. Close it in the end.

    Args:
        own_key: the key of an engine of this platform's own, in place of the key of the settings.
    """
    if own_key is not None:
        return QdrantIndex(url, api_key=own_key, collection=settings.qdrant_collection)
    key = settings.qdrant_api_key
    via = None if isinstance(settings, RelaySettings) else settings.qdrant_via
    transport = None
    if via:
        from groundswell.adapters.forwarding.transport import FunctionTransport

        transport = FunctionTransport(via)
    return QdrantIndex(
        url,
        api_key=key.reveal() if key is not None else None,
        collection=settings.qdrant_collection,
        renew=key.reveal_anew if key is not None else None,
        transport=transport,
    )
