"""Documentation is a tested artefact: what it names exists, and what exists is named."""

from __future__ import annotations

import asyncio
import importlib
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import msgspec
import pytest
import typer.main

from functions.api.app import ROUTERS
from functions.api.routes.live import SOCKET_PATH
from functions.api.surface import Surface
from groundswell import errors
from groundswell.adapters.local_hub import LocalHub
from groundswell.adapters.system_clock import SystemClock
from groundswell.cli import app as command_line
from groundswell.configuration.schema import variables
from groundswell.core import jetstream, sealed
from groundswell.core.fanout import TOPIC_OF
from groundswell.core.operator_commands import PERMITTED
from groundswell.core.posts import ENTITY_KINDS
from groundswell.core.stages import STAGES
from groundswell.core.status import SourceState
from groundswell.core.subscriptions import ACTIONS, TOPIC_FILTERS, ClientSession
from groundswell.drills.catalogue import DRILLS
from groundswell.metrics import METRICS
from groundswell.ports.live import ClientGone
from groundswell.ports.storing import GapCause

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("groundswell", "functions", "web", "docs", "tests", "scripts", "bench", ".ci")

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSTANT = re.compile(r"([\w./-]+\.(?:py|ts)):([A-Z][A-Z0-9_]+)")
TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes from headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        found.add(plain.strip().replace(" ", "-"))
    return found


def rows(name: str, heading: str) -> Iterator[list[str]]:
    """The cells of every table row of one section, of its subsections too."""
    level = heading.partition(" ")[0]
    section = text_of(name).split(f"\n{heading}\n", 1)[1]
    section = re.split(rf"^#{{1,{len(level)}}} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    for line in section.splitlines():
        if line.startswith("|") and not line.startswith("| ---"):
            yield cells(line)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


# ------------------------------------------------------------------ links, paths, names
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / unquote(path)).resolve() if path else page
        assert leads_to.exists(), f"{name_of(page)} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(leads_to), f"{name_of(page)} links to {target}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_is_named_exists(page: Path) -> None:
    for code in CODE.findall(prose(page)):
        path = code.partition(":")[0]
        if path.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
            there = any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()
            generated = path.startswith(("web/dist", "web/node_modules", "bench/results"))
            assert there or generated, f"{name_of(page)} names {path}, which does not exist"


def test_every_test_that_a_page_relies_on_exists() -> None:
    named = {found for page in PAGES for found in TEST.findall(page.read_text("utf-8"))}
    assert len(named) > 30
    for path, test in sorted(named):
        assert f"def {test}(" in text_of(path), f"{path} has no {test}"


def test_every_page_can_be_found_from_the_index() -> None:
    seen: set[Path] = set()
    pending = [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        if page in seen:
            continue
        seen.add(page)
        targets = [target.partition("#")[0] for target in LINK.findall(prose(page)) if "://" not in target]
        found = [(page.parent / target).resolve() for target in targets if target.endswith(".md")]
        pending += [path for path in found if path.is_relative_to(ROOT)]
    assert [name_of(page) for page in PAGES if page not in seen] == []


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    records = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [record[:4] for record in records] == [f"{n:04d}" for n in range(1, len(records) + 1)]
    assert re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", text_of("docs/decisions/README.md")) == records


def test_drawings_are_well_formed_and_say_what_they_show() -> None:
    for drawing in (ROOT / "docs" / "images").glob("*.svg"):
        root = ET.parse(drawing).getroot()
        spoken = {child.tag.rpartition("}")[2]: child.text for child in root}
        assert spoken.get("title") and spoken.get("desc"), f"{drawing.name} needs a title and a desc"


def test_no_page_names_a_place_on_somebodys_machine() -> None:
    private = re.compile(r"(?<![\w.])(/work/|/root/|/home/\w|/Users/\w|[A-Z]:\\\\|file://)")
    drawings = (ROOT / "docs" / "images").glob("*.svg")
    for page in [*PAGES, *drawings, ROOT / "Makefile", ROOT / "env.schema.json"]:
        found = private.search(page.read_text("utf-8"))
        assert found is None, f"{name_of(page)} names {found and found[0]}"


def test_examples_in_python_compile() -> None:
    for page in PAGES:
        for language, code in FENCE.findall(page.read_text("utf-8")):
            if language == "python":
                compile(code, name_of(page), "exec")
            elif language == "json":
                msgspec.json.decode(code)


# ------------------------------------------------------------------ commands and settings
def test_every_make_target_that_is_named_exists() -> None:
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    settable = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE))
    for page in PAGES:
        for line in code_lines(page):
            if call := re.match(r"make(?: ([a-z][a-z-]*))?((?: [A-Z_]+=\S+)*)", line):
                assert call[1] is None or call[1] in targets, f"{name_of(page)}: there is no `make {call[1]}`"
                assert set(re.findall(r"([A-Z_]+)=", call[2])) <= settable, f"{name_of(page)}: {line}"


def test_every_command_that_is_named_exists_with_its_options() -> None:
    for page in PAGES:
        for line in code_lines(page):
            if call := re.search(r"\bgroundswell ([a-z][a-z -]*.*)", line):
                words = re.split(r"[|>)#]", call[1])[0].split()
                command: Any = typer.main.get_command(command_line)
                while words and (commands := getattr(command, "commands", None)):
                    assert words[0] in commands, f"{name_of(page)}: there is no `groundswell {words[0]}`"
                    command = commands[words.pop(0)]
                if words[:1] == ["--"]:
                    # Runs inside a deployment: the words that may are fewer than the command line's.
                    named = words[1:] != ["COMMAND"]
                    assert not named or tuple(words[1:3]) in PERMITTED or tuple(words[1:2]) in PERMITTED, line
                    continue
                known = {option for parameter in command.params for option in parameter.opts}
                for word in words:
                    option = word.partition("=")[0]
                    assert not option.startswith("--") or option in known, f"{name_of(page)}: {line}"


def test_every_command_is_named_in_the_readme() -> None:
    top: Any = typer.main.get_command(command_line)
    for name in top.commands:
        assert f"`groundswell {name}`" in text_of("README.md")


def code_lines(page: Path) -> Iterator[str]:
    text = page.read_text("utf-8")
    for _, block in FENCE.findall(text):
        yield from (line.strip() for line in block.splitlines())
    yield from CODE.findall(prose(page))


def test_every_variable_and_metric_that_is_named_exists() -> None:
    known_variables = {variable.name for variable in variables()}
    known_metrics = {f"groundswell_{metric.name}" for metric in METRICS}
    for page in PAGES:
        text = page.read_text("utf-8")
        assert set(re.findall(r"GROUNDSWELL_[A-Z_]*[A-Z]", text)) <= known_variables, name_of(page)
        assert set(re.findall(r"\bgroundswell_[a-z_]+(?:_total|_seconds|_depth|_clients)\b", text)) <= known_metrics


# ------------------------------------------------------------------ the API
def test_every_route_is_documented_and_every_documented_one_exists() -> None:
    surface = Surface(ROUTERS)
    routes = {("GET", SOCKET_PATH), ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/docs/problems")}
    for path in surface.paths:
        concrete = path.replace("{kind}", "ticker").replace("{id}", "1")
        routes |= {(method, path) for method in surface.methods_at(concrete) if method != "HEAD"}
    documented = [found.groups() for row in rows("docs/api.md", "## Routes") if (found := ROUTE.match(row[0]))]
    assert set(documented) == routes
    assert len(documented) == len(routes), "a route is documented twice"


ROUTE = re.compile(r"`(GET|POST|DELETE|PUT|PATCH) (\S+)`")


def test_every_frame_type_is_documented_and_every_documented_one_exists() -> None:
    said = {frame.type for action in ACTIONS for frame in ClientSession().receive(f'{{"action":"{action}"}}', seq=0)}
    said |= {frame.type for frame in ClientSession().receive("?", seq=0)}
    real = said | set(TOPIC_OF) | asyncio.run(first_frame_types(2))
    table = rows("docs/api.md", "### What you hear")
    documented = {row[0].strip("`"): row[1].strip("`") for row in table if row[0].startswith("`")}
    assert set(documented) == real
    assert {name: topic for name, topic in documented.items() if topic} == TOPIC_OF


def test_every_action_topic_and_filter_is_documented() -> None:
    table = rows("docs/api.md", "### What you say")
    documented = {row[0].strip("`"): tuple(CODE.findall(row[1])) for row in table if row[0].startswith("`")}
    assert set(ACTIONS) <= set(documented)
    for topic, filters in TOPIC_FILTERS.items():
        assert documented[topic] == filters


def test_every_error_code_is_documented_with_its_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [
        kind for kind in kinds if issubclass(kind, errors.GroundswellError) and kind is not errors.GroundswellError
    ]
    answers = {kind.code: kind.status for kind in kinds if kind.status != 500 or kind.code == "internal"}
    table = rows("docs/api.md", "## What all answers have in common")
    documented = {code: int(row[0]) for row in table if row[0].isdigit() for code in CODE.findall(row[1])}
    assert documented == answers


async def first_frame_types(count: int) -> set[str]:
    """The types of the first frames that the hub sends by itself: its greeting, and its heartbeat."""
    hub = LocalHub(SystemClock(), version="test", heartbeat_s=0.01)
    socket = Listener(count)
    stop = asyncio.Event()
    running = [asyncio.create_task(hub.run(stop)), asyncio.create_task(hub.attend(socket))]
    await socket.heard_enough.wait()
    stop.set()
    await asyncio.gather(*running)
    return socket.types


class Listener:
    """A client that says nothing and notes what it hears."""

    def __init__(self, count: int) -> None:
        self.types: set[str] = set()
        self.heard_enough = asyncio.Event()
        self._count = count
        self._closed = asyncio.Event()

    async def receive(self) -> str:
        await self._closed.wait()
        raise ClientGone

    async def send(self, text: str) -> None:
        frame: dict[str, Any] = msgspec.json.decode(text)
        self.types.add(frame["type"])
        if len(self.types) >= self._count:
            self.heard_enough.set()

    async def close(self, code: int, reason: str) -> None:
        self._closed.set()


# ------------------------------------------------------------------ words and numbers
def test_every_reason_to_ignore_a_frame_is_explained() -> None:
    documented = {row[0].strip("`") for row in rows("docs/relay.md", "## Why a frame is ignored")} - {"reason"}
    assert documented == {*jetstream.IGNORED_REASONS, *sealed.SEALED_IGNORED_REASONS}


def test_every_drill_is_described() -> None:
    table = rows("docs/drills.md", "## The drills")
    assert [row[0].strip("`") for row in table][1:] == [drill.name for drill in DRILLS]


def test_every_cause_of_a_gap_is_explained() -> None:
    table = rows("docs/relay.md", "## Coverage and gaps")
    assert {row[0].strip("`") for row in table} - {"cause of a gap"} == set(get_args(GapCause))


def test_every_stage_is_explained() -> None:
    table = rows("docs/momentum.md", "## Stages")
    assert tuple(row[0].strip("`") for row in table if row[0].startswith("`")) == STAGES


def test_the_glossary_has_every_kind_stage_and_state() -> None:
    glossary = text_of("docs/glossary.md")
    for word in (*ENTITY_KINDS, *STAGES, *get_args(SourceState)):
        assert f"`{word}`" in glossary, f"the glossary does not say what {word} is"


def test_the_glossary_is_sorted() -> None:
    terms = [term.lower() for term in re.findall(r"^\*\*([^*]+?)\.?\*\*", text_of("docs/glossary.md"), re.MULTILINE)]
    assert terms == sorted(terms)


def test_every_bound_that_is_quoted_is_the_one_in_the_code() -> None:
    quoted = 0
    for page in PAGES:
        for line in page.read_text("utf-8").splitlines():
            for path, constant in CONSTANT.findall(line):
                value = constant_of(ROOT / path, constant)
                size = cells(line)[1]
                assert any(re.search(rf"(?<!\d){re.escape(form)}(?!\d)", size) for form in spellings(value)), (
                    f"{name_of(page)} says {size!r} of {path}:{constant}, which is {value}"
                )
                quoted += 1
    assert quoted > 30


def test_every_bound_names_the_test_that_fills_it() -> None:
    bounds = [row for row in rows("docs/invariants.md", "## Every bound") if row[0] != "what"]
    assert len(bounds) > 100
    unfilled = [row[0] for row in bounds if len(row) != 5 or not _fills(row[4].strip("`"))]
    assert not unfilled, "name the test that fills it in the last column, or write `a step`"


def _fills(proof: str) -> bool:
    path, _, test = proof.partition("::")
    if proof == "a step" or not path:
        return bool(path)
    there = (ROOT / path).is_file()
    return there and (f"def {test}(" in text_of(path) if test else path.startswith("web/tests/"))


def constant_of(path: Path, name: str) -> float:
    """The value of a module's constant; in TypeScript a number, or a product of numbers."""
    if path.suffix == ".py":
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        value = getattr(module, name, None)
        assert isinstance(value, int | float), f"{name_of(path)} has no number {name}"
        return value
    found = re.search(rf"^(?:export )?const {name} = ([^\n;]+);", path.read_text("utf-8"), re.MULTILINE)
    assert found is not None, f"{name_of(path)} has no constant {name}"
    return math.prod(float(factor.replace("_", "")) for factor in found[1].split("*"))


def spellings(value: float) -> set[str]:
    return {f"{value:g}", f"{value:,g}", f"{value:,.0f}", f"{value / 2**20:g} MiB", f"{value / 2**10:g} KiB"}
