"""What the state of an account means for its posts: they are shown, hidden for now, or deleted.

A post is visible if its account was not deleted after it, and the latest state of the account is active. Both depend on
event time alone, so that the order in which frames arrive makes no difference.

Source: the specification "Account Hosting" (atproto.com/specs/account) and the lexicon
`com.atproto.sync.subscribeRepos#account`. `active` decides; `status` says why an account is not active, and new values
are to be expected.
"""

from __future__ import annotations

from typing import Final

from groundswell.core.posts import AccountChange, Ignored, Micros

ACTIVE: Final = "active"
DELETED: Final = "deleted"
UNKNOWN: Final = "unknown"
HIDING: Final = frozenset({"deactivated", "suspended", "takendown", DELETED})
PASSING: Final = frozenset({"desynchronized", "throttled"})
"""States of the connection between two servers, not of the account: its posts stand as they are."""
STATUSES: Final = (ACTIVE, *sorted(HIDING), UNKNOWN)
"""Every status that is stored."""

ACCOUNT_PASSING: Final = "account-passing"


def account_change(
    source: str, author: str, at: Micros, *, active: bool, status: str | None, cursor: int
) -> AccountChange | Ignored:
    """Return what an account event changes.

    An account that is not active, without a status or with one that is not known, is hidden and not deleted.
    """
    if active:
        return AccountChange(source, author, at, cursor, ACTIVE)
    if status in PASSING:
        return Ignored(ACCOUNT_PASSING, cursor, at)
    known = status if status is not None and status in HIDING else UNKNOWN
    return AccountChange(source, author, at, cursor, known)
