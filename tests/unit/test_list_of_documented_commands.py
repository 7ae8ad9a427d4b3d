"""Each command that README.md and docs/deploy.md give is proven in a way that tests/documented_commands.py names."""

from __future__ import annotations

import ast

import pytest
from typer.testing import CliRunner

from groundswell.cli import app
from groundswell.core.operator_commands import choose
from tests.documented_commands import PAGES, PROOFS, ROOT, commands, entry_of, lines, named_in_the_readme, words_of

DOCUMENTED = sorted({command for page in PAGES for command in commands(page)})


def test_every_command_of_the_pages_is_proven_and_no_other() -> None:
    named = {entry_of(command) for command in DOCUMENTED}
    assert sorted(named - PROOFS.keys()) == [], "say in tests/documented_commands.py how these are proven"
    assert sorted(PROOFS.keys() - named) == [], "no page gives these any more"


def test_what_continuous_integration_proves_is_in_its_script() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    proven = [proof.by for proof in PROOFS.values() if proof.way == "ci"]
    assert len(proven) >= 6
    assert [line for line in proven if line not in script] == []


def test_what_the_rehearsal_proves_is_in_it() -> None:
    sources = (ROOT / "rehearsal").rglob("*.py")
    defined = {
        node.name
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef)
    }
    assert {proof.by for proof in PROOFS.values() if proof.way == "rehearsed"} <= defined


def test_what_is_not_run_says_why() -> None:
    assert [name for name, proof in PROOFS.items() if proof.way in {"parsed", "account"} and not proof.by] == []


@pytest.mark.parametrize("command", sorted({*named_in_the_readme(), *(c for c in DOCUMENTED if "groundswell " in c)}))
def test_a_command_of_ours_is_explained_by_its_help_and_has_its_options(command: str) -> None:
    words = words_of(command)[1:]
    if "--" in words:
        choose(words[words.index("--") + 1 :])
        words = words[: words.index("--")]
    names = [word for number, word in enumerate(words) if not any(w.startswith("-") for w in words[: number + 1])]
    told = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert told.exit_code == 0, told.output
    assert [word for word in words if word.startswith("--") and word not in told.output] == []


@pytest.mark.parametrize("command", [command for command in DOCUMENTED if command.startswith("python -m bench ")])
def test_a_measurement_that_is_named_exists(command: str) -> None:
    for name in words_of(command)[3:]:
        assert (ROOT / "bench" / f"{name}.py").is_file()


def test_a_continued_line_is_one_command_and_a_comment_is_none() -> None:
    assert list(lines("make up   # here\n\n# nothing\naws a b \\\n  --c 'd # e'\n")) == [
        "make up",
        "aws a b --c 'd # e'",
    ]
