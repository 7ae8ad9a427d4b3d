"""How the engine refuses a request."""

from __future__ import annotations


class Refused(Exception):
    """A request that cannot be served: 400 or 422 where it is wrong, 404 or 409 for names, 501 where not spoken."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
