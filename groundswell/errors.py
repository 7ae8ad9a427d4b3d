"""Every error that Groundswell raises on purpose, and the one table that maps them to answers.

An error says what happened, what it means, and what to do. Routes never build error bodies: they raise one of these.
"""

from __future__ import annotations

EX_CONFIG = 78
"""Exit code for a configuration that cannot work (sysexits.h)."""
EX_USAGE = 64
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
"""Exit code of a command that ended before its work did: the same command goes on from there."""


class GroundswellError(Exception):
    """Something that Groundswell knows how to explain."""

    status = 500
    """HTTP status the API answers with."""
    code = "internal"
    """Stable machine-readable word: the last part of the problem's `type` URI."""
    title = "Something went wrong on our side"
    exit_code = EX_SOFTWARE
    retry_after_s: int | None = None
    ends_process = False
    """Whether the process has to end, whichever part of it found out."""

    def __init__(self, detail: str, *, field: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class ConfigError(GroundswellError):
    """The environment cannot work. `problems` lists everything wrong with it at once."""

    code = "config"
    title = "The configuration cannot work"
    exit_code = EX_CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataDirectoryError(GroundswellError):
    """The data directory is damaged or in use. The message names it and says what to do."""

    code = "data-directory"
    title = "The data directory cannot be used"
    exit_code = EX_CONFIG


class NoPlatform(GroundswellError):
    """A command that only reads was pointed at a data directory that nobody has made."""

    code = "no-platform"
    title = "There is nothing to read"
    exit_code = EX_NOINPUT


class DataDirectoryLost(DataDirectoryError):
    """The data directory was removed or replaced while it was in use."""

    ends_process = True


class InvalidRequest(GroundswellError):
    """A request that can never succeed as sent; `field` names the part at fault."""

    status = 400
    code = "invalid-request"
    title = "The request is not valid"
    exit_code = EX_USAGE


class Unauthorized(GroundswellError):
    """The request needs an API key and has none that is known."""

    status = 401
    code = "unauthorized"
    title = "An API key is needed"


class Forbidden(GroundswellError):
    """The request is understood and refused, whoever sends it from there."""

    status = 403
    code = "forbidden"
    title = "Forbidden"


class MisdirectedRequest(GroundswellError):
    """The request is for a host name that this server does not answer under (RFC 9110, section 15.5.20)."""

    status = 421
    code = "misdirected-request"
    title = "Misdirected Request"


class MethodNotAllowed(GroundswellError):
    """The path exists, but not for this method. `allow` lists those that work."""

    status = 405
    code = "method-not-allowed"
    title = "Not for this method"

    def __init__(self, detail: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.allow = allow


class NotAcceptable(GroundswellError):
    """The client accepts no form that this answer comes in."""

    status = 406
    code = "not-acceptable"
    title = "Not available in that form"


class PayloadTooLarge(GroundswellError):
    """The request's body is larger than any valid one."""

    status = 413
    code = "payload-too-large"
    title = "The request is too large"


class UnsupportedMediaType(GroundswellError):
    """The request's body is not in a form that can be read here."""

    status = 415
    code = "unsupported-media-type"
    title = "The body is in another form"


class InternalError(GroundswellError):
    """What a client is told when we do not know ourselves what went wrong; the log knows more."""


class NotFound(GroundswellError):
    """What the request names does not exist (any more)."""

    status = 404
    code = "not-found"
    title = "Not found"
    exit_code = EX_USAGE


class TooManyRequests(GroundswellError):
    """This client has spent its requests for now."""

    status = 429
    code = "rate-limited"
    title = "Too many requests"
    retry_after_s = 1


class StoreUnavailable(GroundswellError):
    """Postgres cannot be reached, or has no connection free within the wait limit."""

    status = 503
    code = "store-unavailable"
    title = "The database is not available"
    exit_code = EX_UNAVAILABLE
    retry_after_s = 2


class QueryTimeout(StoreUnavailable):
    """A statement ran past its timeout and was cancelled."""

    code = "query-timeout"
    title = "The database took too long"


class SchemaMismatch(StoreUnavailable):
    """The database has another schema version than this build needs."""

    code = "schema-mismatch"
    title = "The database schema does not match this version"
    exit_code = EX_CONFIG


class VectorIndexUnavailable(GroundswellError):
    """Qdrant cannot be reached. Callers degrade: lexical search goes on, vectors wait in the outbox."""

    status = 503
    code = "vector-index-unavailable"
    title = "The vector index is not available"
    exit_code = EX_UNAVAILABLE
    retry_after_s = 5


class ArchiveUnavailable(GroundswellError):
    """The archive cannot be reached or written. What is in Postgres stays there, and the mover tries again."""

    status = 503
    code = "archive-unavailable"
    title = "The archive is not available"
    exit_code = EX_UNAVAILABLE
    retry_after_s = 30


class ArchiveDamaged(ArchiveUnavailable):
    """A file of the archive is missing or is not what was written. The message names it."""

    code = "archive-damaged"
    title = "The archive is damaged"
    exit_code = EX_SOFTWARE


class EmbeddingUnavailable(GroundswellError):
    """No embedding model could be loaded."""

    status = 503
    code = "embedding-unavailable"
    title = "No embedding model is available"
    exit_code = EX_UNAVAILABLE


class CloudUnavailable(GroundswellError):
    """AWS cannot be asked, or refuses: credentials, region or rights."""

    code = "cloud-unavailable"
    title = "AWS does not answer"
    exit_code = EX_UNAVAILABLE


class SourceFailed(GroundswellError):
    """A source failed for good: retrying cannot help until a person changes something."""

    code = "source-failed"
    title = "The source refuses to work as configured"
    exit_code = EX_CONFIG


class LeaseLost(GroundswellError):
    """Another relay reads the source now, so that this one has to stop."""

    code = "lease-lost"
    ends_process = True
    title = "Another relay reads the source"
    exit_code = EX_UNAVAILABLE

    @classmethod
    def of(cls, source: str) -> LeaseLost:
        """Return the error for a relay of `source` that lost its session, and then found another in possession."""
        return cls(
            f"Another relay reads {source} now, since this one lost its connection to the database. "
            "This one stops; started again, it waits until the other has stopped."
        )


def exit_code_for(error: BaseException) -> int:
    """The process exit code for an error that ends the program."""
    return error.exit_code if isinstance(error, GroundswellError) else EX_SOFTWARE
