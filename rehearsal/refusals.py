"""How the local AWS says that a resource cannot be made, changed or deleted."""

from __future__ import annotations


class ResourceFailed(BaseException):
    """A resource could not be made, changed or deleted; the text says why.

    Not an Exception, since moto takes every one of those for a dependency that comes later, and tries again.
    """
