"""Nothing in the program grows without a limit: whoever adds a queue, a cache or a registry says what bounds it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for path in [*(ROOT / "groundswell").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
    # The demo's world and the drills' instruments live as long as a demo or a drill.
    if not path.is_relative_to(ROOT / "groundswell/adapters/simulator") and "drills" not in path.relative_to(ROOT).parts
)

BOUNDED_BY = {
    "groundswell/services/writing.py:self._restricted": "MAX_RESTRICTED, those that asked longest ago are forgotten",
    "groundswell/adapters/intake.py:self._queue": "the connections that are open, each once",
    "groundswell/adapters/forwarding/wire.py:headers": "a default that nobody changes",
    "groundswell/services/reporting.py:self._failed": "the names of the components that report",
    "groundswell/configuration/redaction.py:self.values": "MAX_KNOWN, the oldest are forgotten",
    "functions/api/limits.py:self._taken": "an address that has a live connection open: ws_max_connections at most",
    "functions/api/limits.py:self._buckets": "MAX_CLIENTS: the least recently seen address is forgotten",
    "groundswell/adapters/apigateway/broadcaster.py:self.waiting": "backlog_bytes, beyond which a client goes",
    "groundswell/adapters/apigateway/broadcaster.py:self._clients": "max_clients",
    "groundswell/adapters/apigateway/broadcaster.py:self._gone": "max_clients, and emptied again and again",
    "groundswell/adapters/aws_calls.py:shown": "a default that nobody changes",
    "groundswell/adapters/data_directory.py:self._descriptors": "a directory and a file in it",
    "groundswell/adapters/aws_deployment.py:self._clients": "the services and regions that commands ask",
    "groundswell/core/database_roles.py:settings": "a default that nobody changes",
    "groundswell/core/operator_commands.py:options": "a default that nobody changes",
    "groundswell/adapters/disk_spool.py:self._segments": "the spool's size over the size of a segment",
    "groundswell/adapters/jetstream.py:self._refusing": "the configured hosts",
    "groundswell/adapters/jetstream.py:self._renumbered": "the configured hosts",
    "groundswell/services/refilling.py:self._waiting": "MAX_WAITING",
    "groundswell/adapters/local_hub.py:self.replies": "MAX_REPLIES",
    "groundswell/adapters/local_hub.py:self.waiting": "backlog_bytes: beyond it the client is told ConsumerTooSlow",
    "groundswell/adapters/local_hub.py:self._clients": "max_clients",
    "groundswell/adapters/local_hub.py:self._pending": "what is committed within window_s: it is handed on after that",
    "groundswell/adapters/local_hub.py:self._previews": "what is received within window_s: it is handed on after that",
    "groundswell/adapters/postgres_terms.py:self.parameters": "the terms of one query, MAX_TERMS",
    "groundswell/adapters/postgres_terms.py:self._window": "the terms of one query, MAX_TERMS",
    "groundswell/adapters/postgres_terms.py:self._matches": "the terms of one query, MAX_TERMS",
    "groundswell/adapters/qdrant.py:payload_schema": "the fields of a payload",
    "groundswell/adapters/qdrant_embedded/engine.py:self.collections": "the collections that this platform creates",
    "groundswell/adapters/qdrant_embedded/shard.py:given": "the settings that a collection is created with",
    "groundswell/adapters/qdrant_embedded/engine.py:self._failed": "the shards on disk, each for a while",
    "groundswell/adapters/sealed.py:self._ready": "HELD_FRAMES and HELD_BYTES: it is filled only when it is empty",
    "groundswell/adapters/sealed.py:self._pings": "one ping at a time, sent again every PING_AGAIN_S for ten seconds",
    "groundswell/adapters/sealed.py:self._answered": "the pings that are under way",
    "groundswell/adapters/sealed_door.py:self._ciphers": "MOST_KEYS",
    "groundswell/core/sealed.py:self._held": "max_frames and max_bytes, HELD_FRAMES and HELD_BYTES of the adapter",
    "groundswell/core/sealed.py:self._marks": "patience, in rounds",
    "groundswell/adapters/replay.py:self.frames": "BLOCK_BYTES: the file is read on when it is empty",
    "groundswell/core/coverage.py:self._resent": "the frames of a batch: each takes it",
    "groundswell/core/resync.py:self._since": "MAX_AUTHORS",
    "groundswell/core/count_window.py:self.recent": "the minutes of WINDOW_MINUTES",
    "groundswell/core/count_window.py:self._sources": "the sources that there are",
    "groundswell/core/count_window.py:self._names": "MAX_NAMES, and what is told at once",
    "groundswell/core/count_window.py:self._numbers": "MAX_NAMES, and what is told at once",
    "groundswell/core/count_window.py:self._spare": "the places of self._names",
    "groundswell/core/count_window.py:self._rows": "MAX_ACTIVE, for WINDOW_MINUTES longer",
    "groundswell/core/count_window.py:self._active_at": "MAX_ACTIVE, for WINDOW_MINUTES longer",
    "groundswell/core/fanout.py:self.keys": "the events of one batch",
    "groundswell/core/fanout.py:self._by_entity": "the events of one batch",
    "groundswell/core/fanout.py:self._cache": "the subscriptions of the clients, for the life of one batch",
    "groundswell/core/habit.py:kinds": "a default that is never added to",
    "groundswell/core/labels.py:self._counts": "the posts that one label is made from",
    "groundswell/core/labels.py:self._sizes": "the posts that one label is made from",
    "groundswell/core/queries.py:self.words": "MAX_TERMS",
    "groundswell/core/queries.py:self.phrases": "MAX_TERMS",
    "groundswell/core/queries.py:self.links": "MAX_TERMS",
    "groundswell/core/queries.py:self.entities": "MAX_TERMS",
    "groundswell/core/queries.py:self.not_words": "MAX_TERMS",
    "groundswell/core/queries.py:self.not_entities": "MAX_TERMS",
    "groundswell/core/watch_list.py:self._single": "the watch list",
    "groundswell/core/watch_list.py:self._several": "the watch list",
    "groundswell/core/watch_list.py:self._unspaced": "the watch list",
    "groundswell/core/subscriptions.py:topics": "MAX_TOPICS",
    "groundswell/crash_points.py:reached": "the crash points that there are",
    "groundswell/metrics.py:self._sampled": "the metrics that there are, by their labels",
    "groundswell/ports/search.py:parts": "a default that is never added to",
    "groundswell/ports/storing.py:parts": "a default that is never added to",
    "groundswell/services/archive_reader.py:self._rows": "POSTS_KEPT",
    "groundswell/services/archived_files.py:self._fetched": "the size that the folder of fetched files may have",
    "groundswell/services/archived_files.py:self._checked": "CHECKED_FILES",
    "groundswell/services/archived_files.py:self._in_use": "requests under way: a file leaves with its last reader",
    "groundswell/services/archived_files.py:self._fetching": "requests under way: a file leaves with its last reader",
    "groundswell/services/embeddings.py:self._told": "the models of the chain, with the reasons why each was left out",
    "groundswell/services/embeddings.py:self._readers": "the models of the chain",
    "groundswell/services/embeddings.py:self.on_change": "the parts that are wired to it at the start",
    "groundswell/services/habits.py:self._places": "MAX_REMEMBERED, and those asked for at once",
    "groundswell/services/lessons.py:self._spoken": "MAX_SPOKEN",
    "groundswell/services/lessons.py:self._rows": "MAX_ENTITIES, LEARNT_AT_ONCE each",
    "groundswell/services/lessons.py:self.entities": "MAX_ENTITIES",
    "groundswell/services/momentum.py:self._originality": "the entities of the last tick",
    "groundswell/services/momentum.py:self._published": "the rows of the momentum table",
    "groundswell/services/ranking.py:self._kept": "RANKINGS_KEPT",
    "groundswell/services/search.py:hits": "a default that is never added to",
    "groundswell/services/search.py:degraded": "a default that is never added to",
    "groundswell/services/indexer.py:self._ensured": "the models of the chain",
    "groundswell/services/reembed.py:self._before": "the spaces that posts are in: one for each model there ever was",
    "groundswell/services/spaces.py:self._posts": "the spaces that posts are in: one for each model there ever was",
    "groundswell/services/spaces.py:self._vectors": "QUERY_VECTORS_KEPT",
    "groundswell/services/session.py:self._items": "READ_AHEAD_FRAMES and READ_AHEAD_BYTES",
    "groundswell/services/time_travel.py:self._remembered": "REMEMBERED_INSTANTS",
    "groundswell/sql/__init__.py:queries remembers every argument it was ever given": "the SQL files of the package",
}
"""`file:container` to what keeps it small."""
EMPTY_CALLS = frozenset({"dict", "list", "set", "deque", "defaultdict", "OrderedDict", "Counter"})


def unbounded(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every queue and cache of `tree` that is made without a limit: its line, and what it is."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = callee(node.func)
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in ("Queue", "LifoQueue", "PriorityQueue"):
            size = node.args[0] if node.args else keywords.get("maxsize")
            if size is None or is_constant(size, 0):
                yield node.lineno, f"{name} without a size"
        elif name == "SimpleQueue":
            yield node.lineno, "SimpleQueue, which has no size"
        elif name == "lru_cache":
            size = node.args[0] if node.args else keywords.get("maxsize", ast.Constant(128))
            if is_constant(size, None):
                yield node.lineno, "lru_cache without a size"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and takes_arguments(node):
            for decorator in node.decorator_list:
                if callee(decorator) == "cache":
                    yield node.lineno, f"{node.name} remembers every argument it was ever given"


def registries(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Containers that outlive a call and begin empty: `self.x = {}` in `__init__`, and those of modules and classes."""
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef) and scope.name == "__init__":
            for node in ast.walk(scope):
                for target, value in assignments(node):
                    if isinstance(target, ast.Attribute) and begins_empty(value):
                        yield node.lineno, f"self.{target.attr}"  # pyright: ignore[reportAttributeAccessIssue]
        elif isinstance(scope, ast.Module | ast.ClassDef):
            for node in scope.body:
                for target, value in assignments(node):
                    if isinstance(target, ast.Name) and begins_empty(value):
                        yield node.lineno, target.id


def assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield node.target, node.value


def begins_empty(value: ast.expr) -> bool:
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.List):
        return not value.elts
    if not isinstance(value, ast.Call) or callee(value.func) not in EMPTY_CALLS:
        return False
    bounded = any(keyword.arg == "maxlen" for keyword in value.keywords)
    return not bounded and (not value.args or callee(value.func) == "defaultdict")


def callee(node: ast.expr) -> str:
    if isinstance(node, ast.Call | ast.Subscript):
        return callee(node.func if isinstance(node, ast.Call) else node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_constant(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def takes_arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = node.args
    return bool(arguments.args or arguments.posonlyargs or arguments.kwonlyargs or arguments.vararg or arguments.kwarg)


def found() -> dict[str, int]:
    """`file:what` of everything without a limit, to its line."""
    places: dict[str, int] = {}
    for path in SOURCES:
        tree = ast.parse(path.read_text("utf-8"))
        for line, what in [*unbounded(tree), *registries(tree)]:
            places[f"{path.relative_to(ROOT).as_posix()}:{what}"] = line
    return places


def test_everything_that_can_grow_says_what_bounds_it() -> None:
    places = found()
    unexplained = [f"{place} (line {line})" for place, line in places.items() if place not in BOUNDED_BY]
    assert not unexplained, "give it a limit, or say here what keeps it small"
    assert not BOUNDED_BY.keys() - places.keys(), "these are no longer there"


def test_reasons_that_name_a_constant_name_one_that_there_is() -> None:
    everything = "".join(path.read_text("utf-8") for path in SOURCES)
    named = {word for why in BOUNDED_BY.values() for word in re.findall(r"\b[A-Z]+_[A-Z_]+\b", why)}
    assert len(named) > 10
    assert [name for name in sorted(named) if not re.search(rf"^\s*{name}(: \w+)? = ", everything, re.MULTILINE)] == []


@pytest.mark.parametrize(
    "code",
    [
        "q = asyncio.Queue()",
        "q = asyncio.Queue[int](maxsize=0)",
        "q = queue.SimpleQueue()",
        "@lru_cache(maxsize=None)\ndef f(x): ...",
        "@cache\ndef f(x): ...",
        "class A:\n    def __init__(self):\n        self.seen = {}",
        "class A:\n    def __init__(self):\n        self.seen: set[str] = set()",
        "class A:\n    def __init__(self):\n        self.seen = collections.deque()",
        "class A:\n    def __init__(self):\n        self.seen = defaultdict(list)",
        "SEEN: dict[str, int] = {}",
    ],
)
def test_what_has_no_limit_is_found(code: str) -> None:
    tree = ast.parse(code)
    assert [*unbounded(tree), *registries(tree)]


@pytest.mark.parametrize(
    "code",
    [
        "q = asyncio.Queue(4)",
        "@lru_cache(maxsize=8)\ndef f(x): ...",
        "@lru_cache\ndef f(x): ...",
        "@cache\ndef f(): ...",
        "class A:\n    def __init__(self):\n        self.seen = deque(maxlen=8)",
        "def f():\n    seen = {}",
    ],
)
def test_what_has_a_limit_or_ends_with_its_call_is_left_alone(code: str) -> None:
    tree = ast.parse(code)
    assert not [*unbounded(tree), *registries(tree)]
