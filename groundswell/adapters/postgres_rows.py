"""Rows of Postgres as values of the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groundswell.core.posts import Post


def post_of(columns: Sequence[Any]) -> Post:
    """The post in columns selected in this order.

    id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of, and, where they are
    needed, labels, restricted.
    Times are `Micros`. The cursor is not stored with a post; its event time stands in.
    """
    post_id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of, *said = columns
    labels, restricted = said or ((), False)
    return Post(
        id=post_id,
        source=source,
        author=author,
        text=text,
        lang=lang,
        created_at=created_at,
        event_time=event_time,
        rev=rev,
        cursor=event_time,
        entities=tuple(entities),
        reply_to=reply_to,
        quote_of=quote_of,
        labels=tuple(labels),
        restricted=restricted,
    )
