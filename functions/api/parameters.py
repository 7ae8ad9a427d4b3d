"""Query parameters and what their texts mean. What cannot be understood is 400 and names its parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BeforeValidator

from groundswell.core.entities import parse_entity_key
from groundswell.core.instants import parse_rfc3339
from groundswell.core.paging import EARLIEST, LATEST, BadCursor
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.core.text.languages import primary_language
from groundswell.errors import InvalidRequest, NotAcceptable
from groundswell.ports.vectors import SearchFilters

T = TypeVar("T")

Kind = Literal["ticker", "hashtag", "mention", "domain", "name"]
Stage = Literal["dormant", "emerging", "rising", "peaking", "fading"]

PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"
"""Any script, no control characters."""
ENTITY: Final = (
    r"^(?:\$[A-Za-z][A-Za-z0-9._]{0,19}|[#\uff03@\uff20][^\x00-\x20\x7f]{1,127}|did:[a-z]+:[A-Za-z0-9._:%-]{1,120}"
    r"|(?:ticker|hashtag|mention|domain|name):[^\x00-\x1f\x7f]{1,120}"
    r"|[A-Za-z0-9_\u0080-\uffff][^\x00-\x20\x7f$#@:/?]{0,120}\.[^\x00-\x20\x7f$#@:/?]{1,60})$"
)
"""Pattern of the forms in which people write entities."""
ENTITY_HELP: Final = (
    "An entity as people write it: `$BTC`, `#kcon`, `@someone`, `example.com`, or `kind:name` such as `name:Bitcoin`."
)


def _whole_number(value: object) -> object:
    """Digits only: Python would also read `1_0`, ` 1` and `1.0`."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,19}", value, re.ASCII):
        raise ValueError("write a whole number in digits")
    return value


def _yes_or_no(value: object) -> object:
    if value not in ("true", "false", True, False):
        raise ValueError("write true or false")
    return value


def _decimal(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(
        r"-?[0-9]{1,15}(\.[0-9]{1,30})?([eE]-?[0-9]{1,3})?", value, re.ASCII
    ):
        raise ValueError("write a number such as 0.5")
    return value


Limit = Annotated[int, Query(ge=1, le=200, description="Most items of the answer."), BeforeValidator(_whole_number)]
Whole = BeforeValidator(_whole_number)
Decimal = BeforeValidator(_decimal)
YesNo = BeforeValidator(_yes_or_no)

EntityFilter = Annotated[str | None, Query(description=ENTITY_HELP, pattern=ENTITY, examples=["$BTC"])]
AuthorFilter = Annotated[
    str | None, Query(description="Exactly this author, as posts name it.", max_length=512, pattern=PRINTABLE)
]
LangFilter = Annotated[
    str | None,
    Query(
        description="Language, as a tag: `pt-BR` and `por` find what is in `pt`, as posts carry it.",
        pattern=r"^[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8}){0,4}$",
        examples=["en"],
    ),
]
SourceFilter = Annotated[
    str | None, Query(description="Only this source.", max_length=64, pattern=PRINTABLE, examples=["jetstream"])
]
_INSTANT: dict[str, Any] = {"format": "date-time"}
Since = Annotated[
    str | None,
    Query(description="From this instant on (RFC 3339).", json_schema_extra=_INSTANT),
]
Until = Annotated[
    str | None,
    Query(description="Before this instant (RFC 3339).", json_schema_extra=_INSTANT),
]


def _at_uri(value: object) -> object:
    """Servers and proxies on the way may merge two slashes of a path into one."""
    return re.sub(r"^at:/(?!/)", "at://", value) if isinstance(value, str) else value


PostId = Annotated[
    str,
    BeforeValidator(_at_uri),
    Path(
        description="The post's id, as it is or URL-encoded.",
        max_length=1024,
        pattern=PRINTABLE,
        # Behind a validator of ours, pydantic keeps the pattern out of the document.
        json_schema_extra={"pattern": PRINTABLE},
        examples=["at://did:plc:abc/app.bsky.feed.post/3k"],
    ),
]


def parse_instant(field: str, text: str | None) -> Micros | None:
    """Raises `InvalidRequest`."""
    if text is None:
        return None
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:\.(\d{1,40}))?([Zz]|[+-]\d\d:\d\d)", text, re.ASCII
    )
    if match is None:
        raise InvalidRequest(
            f"{field} is an RFC 3339 instant with an offset, such as 2026-07-04T14:38:06Z. (In a URL, + is %2B.)",
            field=field,
        )
    date, clock, seconds, fraction, offset = match.groups()
    # A leap second is the last of its minute, and then one more.
    leap = seconds == "60"
    micros = (fraction or "0")[:6].ljust(6, "0")
    try:
        instant = parse_rfc3339(f"{date}T{clock}{'59' if leap else seconds}.{micros}{offset.upper()}")
    except ValueError as error:
        raise InvalidRequest(f"{field} names no instant: {error}.", field=field) from error
    return min(max(instant + leap * MICROS_PER_SECOND, EARLIEST), LATEST)


def entity_key(text: str) -> str:
    """The key of an entity in one of the forms of `ENTITY`. What cannot be one after all, such as `#1`, is a key that
    nothing has."""
    try:
        return parse_entity_key(text)
    except ValueError:
        return text


def parse_cursor(decode: Callable[[str], T], cursor: str | None) -> T | None:
    """Raises `InvalidRequest`."""
    if cursor is None:
        return None
    try:
        return decode(cursor)
    except BadCursor as error:
        raise InvalidRequest(
            f"cursor: {error}. Take it from next_cursor of the page before, unchanged.", field="cursor"
        ) from error


async def post_filters(
    *,
    entity: EntityFilter = None,
    author: AuthorFilter = None,
    lang: LangFilter = None,
    source: SourceFilter = None,
    since: Since = None,
    until: Until = None,
) -> SearchFilters:
    """The filters that posts, search and export share. Async, so that it stays on the event loop."""
    return SearchFilters(
        entity=None if entity is None else entity_key(entity),
        author=author,
        lang=None if lang is None else primary_language(lang),
        source=source,
        since=parse_instant("since", since),
        until=parse_instant("until", until),
    )


PostFilters = Annotated[SearchFilters, Depends(post_filters)]


# ------------------------------------------------------------------ the request as a whole
async def known_parameters(request: Request) -> None:
    """Refuse what the route would not read: a misspelt filter must not silently answer another question."""
    query = request.scope["query_string"]
    _require_text(query)
    _require_text(request.scope.get("raw_path") or b"")
    if "\x00" in request.scope["path"]:
        raise InvalidRequest("The path contains a NUL character.", field="path")
    if not query:
        return
    known = sorted(_names(request.scope["route"]))
    seen: set[str] = set()
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8"):
        if name not in known:
            raise InvalidRequest(_unknown(name, known), field=name[:100])
        if name in seen:
            raise InvalidRequest(f"Query parameter {name!r} is given twice: give it once.", field=name)
        if "\x00" in value:
            raise InvalidRequest(f"Query parameter {name!r} contains a NUL character.", field=name)
        seen.add(name)


def accepts(*media_types: str) -> Callable[[Request], Any]:
    """A dependency: the client takes at least one of `media_types`."""

    async def check(request: Request) -> None:
        choose_media_type(request, media_types)

    return check


def choose_media_type(request: Request, offered: Iterable[str]) -> str:
    """The first of `offered` among those that the Accept header rates highest. Raises `NotAcceptable`."""
    header = ",".join(request.headers.getlist("accept")).strip()
    choices = list(offered)
    if not header:
        return choices[0]
    ranges = [_media_range(part) for part in header.split(",") if part.strip()]
    best, best_quality = "", 0.0
    for choice in choices:
        quality = _quality(choice, ranges)
        if quality > best_quality:
            best, best_quality = choice, quality
    if not best:
        raise NotAcceptable(f"This comes as {' or '.join(choices)}; the Accept header excludes that.")
    return best


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in text.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                return name.lower(), float(value)
            except ValueError:
                return name.lower(), 1.0
    return name.lower(), 1.0


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The most specific range decides (RFC 9110, 12.5.1)."""
    family = media_type.partition("/")[0] + "/*"
    for wanted in (media_type, family, "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0


def _names(route: APIRoute) -> set[str]:
    names: set[str] = set()
    pending: list[Dependant] = [route.dependant]
    while pending:
        dependant = pending.pop()
        names.update(field.alias for field in dependant.query_params)
        pending.extend(dependant.dependencies)
    return names


def _require_text(raw: bytes) -> None:
    try:
        unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest("The address is not valid UTF-8: encode it again.", field="url") from error


def _unknown(name: str, known: list[str]) -> str:
    shown = name[:100]
    close = get_close_matches(shown, known, n=1)
    if close:
        return f"There is no query parameter {shown!r} here: did you mean {close[0]!r}?"
    if known:
        return f"There is no query parameter {shown!r} here; those known are {', '.join(known)}."
    return f"There is no query parameter {shown!r} here: this address takes none."
