"""Which commands run inside a deployment: those that are named, word by word, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main

from groundswell.cli import app
from groundswell.core.operator_commands import PERMITTED, WORD_MOST, WORDS_MOST, choose
from groundswell.errors import InvalidRequest


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ("keys create ops", "keys create ops"),
        ("doctor", "doctor deployment"),
        ("archive restore 2026-07-04 --until 2026-07-06", "archive restore 2026-07-04 --until 2026-07-06"),
        ("archive list --since=2026-07-04 --json", "archive list --since=2026-07-04 --json"),
        ("index rebuild --from-scratch", "index rebuild --from-scratch"),
    ],
)
def test_a_permitted_command_runs_with_its_own_words(words: str, runs: str) -> None:
    assert choose(words.split()).words == tuple(runs.split())


def test_a_query_is_one_word_whatever_is_in_it() -> None:
    sql = "SELECT ';', $(id) FROM posts -- `x`"
    assert choose(["archive", "query", sql, "--limit", "5"]).words == ("archive", "query", sql, "--limit", "5")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "cannot run in a deployment"),
        ("up", "cannot run in a deployment"),
        ("env list", "cannot run in a deployment"),
        ("relay", "cannot run in a deployment"),
        ("drill all", "cannot run in a deployment"),
        ("keys", "cannot run in a deployment"),
        ("key create ops", "Did you mean `keys create`?"),
        ("keys create", "takes 1 argument"),
        ("keys create a b", "takes 1 argument"),
        ("keys create ops --data-dir /tmp", "does not take --data-dir"),
        ("keys create -x", "does not take -x"),
        ("keys create -- -x", "does not take --"),
        ("doctor embeddings", "takes 0 arguments"),
        ("archive list --since", "--since needs a value"),
        ("archive list --since --json", "--since needs a value"),
        ("archive list --json=yes", "--json takes no value"),
        ("migrate --data-dir=x", "does not take --data-dir"),
        ("archive move --within=5 --crash", "does not take --crash"),
    ],
)
def test_everything_else_is_refused_and_it_is_said_why(words: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        choose(words.split())


@pytest.mark.parametrize("words", [["doctor"] * (WORDS_MOST + 1), ["keys", "create", "x" * (WORD_MOST + 1)], ["a\0"]])
def test_a_command_is_bounded(words: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="at most"):
        choose(words)


def test_what_is_permitted_is_what_the_command_line_has() -> None:
    """A permitted word that the command line does not know would fail only when it is needed."""
    for path, rule in PERMITTED.items():
        command: Any = typer.main.get_command(app)
        for word in path:
            command = command.commands[word]
        options = {name: p for p in command.params for name in p.opts if name.startswith("--")}
        for option, takes_value in rule.options.items():
            assert options[option].is_flag is not takes_value, f"{path} {option}"
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        least = sum(p.required for p in arguments)
        assert rule.arguments[0] == least or path == ("doctor",)
        assert "--data-dir" not in rule.options, "where a function keeps its files is not the operator's choice"
