"""From the text of one variable to its value, or to a sentence that says what is wrong and what would be right."""

from __future__ import annotations

import ipaddress
import math
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias

from groundswell.configuration.addresses import database_url_of, normalise_url, password_of
from groundswell.configuration.redaction import hide, redact_address
from groundswell.configuration.schema import Variable
from groundswell.configuration.secret import Secret

Value: TypeAlias = str | int | float | Path | Secret | tuple[str, ...] | Literal["max"] | None

_PLACEHOLDER = re.compile(
    r"change[-_ ]?(me|this|it)|place[-_ ]?holder|replace[-_ ]?(me|this)|your[-_ ]|^my[-_ ](secret|password|key)"
    r"|[<>]|^x{3,}$|^\*+$|^\.{3,}$|^(todo|tbd|fixme|none|null|example|dummy|test|secret|passw(or)?d|pass"
    r"|postgres|admin|root|qwerty|letmein|foo(bar)?|1234567?8?9?0?|abc123)\d*$|example[-_ ](key|secret|password)",
    re.IGNORECASE,
)


def parse_value(variable: Variable, text: str) -> Value:  # noqa: PLR0911 -- one for each kind
    """The value that `text` stands for. An empty text of an optional variable is None.

    Raises:
        ValueError: a sentence for people: what is wrong and what would be right. Never shows a secret.
    """
    text = text.strip()
    if variable.secret:
        hide(text)
    if not text and variable.optional:
        return None
    match variable.kind:
        case "list":
            return _parse_list(variable, text)
        case "integer" | "number":
            return _parse_number(variable, text)
        case "speed":
            return "max" if text.lower() == "max" else _parse_speed(text)
        case "choice":
            if text.lower() in variable.enum:
                return text.lower()
            close = get_close_matches(text.lower(), variable.enum, n=1)
            perhaps = f"Did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"{text!r} is not one of its values. {perhaps}Set one of {', '.join(variable.enum)}.")
        case "url":
            address = _parse_url(variable, text)
            return Secret(address) if variable.secret else address
        case "path":
            return Path(text).expanduser()
        case "text":
            if variable.pattern and not re.search(variable.pattern, text):
                raise ValueError(f"{text!r} has the wrong form. {_for_example(variable)}")
            return Secret(text) if variable.secret else text


def placeholder_in(variable: Variable, value: Secret) -> bool:
    """Whether a secret is still what an example or a template put there."""
    text = value.reveal()
    if text in variable.examples:
        return True
    if variable.kind == "url":
        password = password_of(text)
        return password is not None and _PLACEHOLDER.search(password) is not None
    return _PLACEHOLDER.search(text) is not None


def describe_range(variable: Variable) -> str:
    """For example `a whole number from 1 to 100`."""
    noun = "a whole number" if variable.kind == "integer" else "a number"
    if variable.above is not None:
        noun += f" above {variable.above:g}"
        return noun + (f", at most {variable.maximum:g}" if variable.maximum is not None else "")
    if variable.minimum is not None and variable.maximum is not None:
        noun += f" from {variable.minimum:.10g} to {variable.maximum:.10g}"
    return noun


def _parse_number(variable: Variable, text: str) -> int | float:
    wanted = f"Set {describe_range(variable)}, for example {variable.examples[0]}."
    try:
        number = int(text) if variable.kind == "integer" else float(text)
    except ValueError:
        whole = "a whole number" if variable.kind == "integer" else "a number"
        raise ValueError(f"{text!r} is not {whole}. {wanted}") from None
    low, high, above = variable.minimum, variable.maximum, variable.above
    too_low = (low is not None and number < low) or (above is not None and number <= above)
    if not math.isfinite(number) or too_low or (high is not None and number > high):
        raise ValueError(f"{text} is outside its range. {wanted}")
    return number


def _parse_speed(text: str) -> float:
    try:
        speed = float(text.lower().removesuffix("x"))
    except ValueError:
        speed = math.nan
    if not math.isfinite(speed) or speed <= 0:
        raise ValueError(f"{text!r} is not a speed. Set a number above 0, such as 1 or 60, or `max`.")
    return speed


def _parse_list(variable: Variable, text: str) -> tuple[str, ...]:
    entries = [entry for part in text.split(",") if (entry := part.strip())]
    return tuple(dict.fromkeys(_parse_item(variable, entry) for entry in entries))


def _parse_item(variable: Variable, entry: str) -> str:
    if variable.items.format == "uri":
        return _parse_url(variable, entry)
    if variable.items.format == "ip-network":
        try:
            return str(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            raise ValueError(f"{entry!r} is not an address or network. {_for_example(variable)}") from None
    entry = entry.rstrip("/")
    if variable.items.pattern and not re.search(variable.items.pattern, entry):
        raise ValueError(f"{entry!r} has the wrong form. {_for_example(variable)}")
    return entry


def _parse_url(variable: Variable, text: str) -> str:
    try:
        if text.startswith("{") and "postgresql" in variable.schemes:
            text = database_url_of(text)
        return normalise_url(text, schemes=variable.schemes, default_path=variable.default_path)
    except ValueError as error:
        shown = "the address" if variable.secret else repr(redact_address(text))
        raise ValueError(f"{shown} {error}. {_for_example(variable)}") from None


def _for_example(variable: Variable) -> str:
    return f"It looks like {variable.examples[0]}."
