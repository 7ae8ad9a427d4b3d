"""The commands that an operator may run inside a deployment, word by word: these, with these options, and no others."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from groundswell.errors import InvalidRequest

WORD_MOST: Final = 10_000
"""Characters of one word; a query is the longest."""
WORDS_MOST: Final = 32


class Permitted(msgspec.Struct, frozen=True):
    """One command, and what may follow it."""

    arguments: tuple[int, int] = (0, 0)
    """How many words beside options: at least, at most."""
    options: Mapping[str, bool] = {}
    """By name, whether a value follows."""
    runs: tuple[str, ...] = ()
    """Words that take the place of the command's own where it runs. Empty: its own."""
    function: str = "admin"
    """The function that runs it."""
    continues: bool = False
    """Whether a run that ended before its work did is continued by the same words."""


_DAYS: Final = {"--since": True, "--until": True, "--source": True}

PERMITTED: Final[Mapping[tuple[str, ...], Permitted]] = {
    ("keys", "create"): Permitted(arguments=(1, 1)),
    ("keys", "list"): Permitted(),
    ("keys", "revoke"): Permitted(arguments=(1, 1)),
    ("doctor",): Permitted(runs=("doctor", "deployment")),
    ("archive", "list"): Permitted(options={**_DAYS, "--json": False}),
    ("archive", "move"): Permitted(options={"--within": True}),
    ("archive", "verify"): Permitted(options=_DAYS),
    ("archive", "restore"): Permitted(arguments=(1, 1), options={"--until": True, "--source": True}, continues=True),
    ("archive", "query"): Permitted(
        arguments=(1, 1), options={**_DAYS, "--format": True, "--limit": True, "--timeout": True}
    ),
    ("index", "status"): Permitted(),
    ("index", "rebuild"): Permitted(options={"--from-scratch": False}, continues=True),
    ("forget",): Permitted(arguments=(1, 1), continues=True),
    ("migrate",): Permitted(function="migrate"),
}


class Chosen(msgspec.Struct, frozen=True):
    """A command that may run."""

    name: str
    """Without what follows it, so that it may stand in a log: `keys create`."""
    words: tuple[str, ...]
    """What runs, as separate words. No shell reads them."""
    rule: Permitted


def choose(words: Sequence[str]) -> Chosen:
    """The command that `words` name, with all that follows it.

    Raises:
        InvalidRequest: it is not one of PERMITTED, or has an option or a number of arguments that it does not take.
    """
    if len(words) > WORDS_MOST or any(len(word) > WORD_MOST or "\0" in word for word in words):
        raise InvalidRequest(f"A command has at most {WORDS_MOST} words of {WORD_MOST:,} characters each.")
    path = next((path for path in PERMITTED if tuple(words[: len(path)]) == path), None)
    if path is None:
        raise InvalidRequest(_unknown(words))
    rule, name = PERMITTED[path], " ".join(path)
    rest = list(words[len(path) :])
    arguments, position = 0, 0
    while position < len(rest):
        word = rest[position]
        position += 1
        if not word.startswith("-"):
            arguments += 1
            continue
        option, equals, _ = word.partition("=")
        if option not in rule.options:
            has = ", ".join(rule.options) or "no options"
            raise InvalidRequest(f"`{name}` does not take {option} in a deployment. It takes {has}.")
        if not rule.options[option]:
            if equals:
                raise InvalidRequest(f"{option} takes no value.")
        elif not equals:
            if position == len(rest) or rest[position].startswith("-"):
                raise InvalidRequest(f"{option} needs a value.")
            position += 1
    least, most = rule.arguments
    if not least <= arguments <= most:
        raise InvalidRequest(
            f"`{name}` takes {least} argument{'' if least == 1 else 's'} beside its options, not {arguments}. "
            f"`groundswell {name} --help` says which. Put quotes around one that has spaces."
        )
    return Chosen(name, (*(rule.runs or path), *rest), rule)


def _unknown(words: Sequence[str]) -> str:
    every = [" ".join(path) for path in PERMITTED]
    given = " ".join(words[:2])
    close = difflib.get_close_matches(given, every, n=1)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    return f"`{given}` cannot run in a deployment. {hint}These can: {', '.join(every)}."


class Answer(msgspec.Struct, frozen=True):
    """What a command answered: the result of the function that ran it."""

    exit: int
    stdout: str = ""
    stderr: str = ""
    cut: bool = False
    """Whether more was written than an answer holds. The command was stopped there."""
