"""How fast a search answers at many posts, by what is asked and by what it is filtered.

    python -m bench.search [--posts 200000] [--stores FOLDER]

Posts go through the real store, outbox, indexer and engine; then the lexical leg, the semantic leg and both together
are asked in this process, and the whole again over HTTP by `groundswell api` in a process of its own. Filling takes
most of the time: with `--stores` the filled stores stay in FOLDER, and the next run only asks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from bench.processes import cpu_s, program, rss_mb
from bench.report import RESULTS, machine, quantile
from bench.vectors import posts as texts_of
from bench.vectors import words
from groundswell.core.instants import rfc3339
from groundswell.core.posts import MICROS_PER_SECOND, Post
from groundswell.ports.search import Searcher
from groundswell.ports.vectors import SearchFilters
from groundswell.settings import load
from groundswell.settings_model import EmbeddedSettings
from groundswell.wiring.search_stand import Stand, search_stand

MODEL = "static:wordllama-256"
GOAL_MS = 30.0
SAMPLES = 60
WARM_UP = 5
HITS = 20
BEGAN = 1_760_000_000 * MICROS_PER_SECOND
STEP = 3 * MICROS_PER_SECOND
"""A week of posts at 200,000."""
WIDE = "unfiltered"

Ask = Callable[[str, SearchFilters], Awaitable[object]]


def posts(count: int) -> list[Post]:
    """Texts of the bench of vectors, by 5,000 authors in four languages and of two sources."""
    chance = random.Random(11)
    languages = chance.choices(["en", "ja", "pt", "cy"], [70, 20, 9, 1], k=count)
    return [
        Post(
            id=f"at://did:plc:{n % 5_000}/app.bsky.feed.post/{n}",
            source="jetstream" if n % 2 else "sealed",
            author=f"did:plc:{n % 5_000}",
            text=text,
            event_time=BEGAN + n * STEP,
            rev="a",
            cursor=n,
            lang=languages[n],
            entities=_entities(n),
        )
        for n, text in enumerate(texts_of(count, words()))
    ]


def _entities(n: int) -> tuple[str, ...]:
    often = ("ticker:BTC",) if n % 10 == 0 else ()
    return (*often, f"hashtag:h{n % 997}")


def queries(texts: Sequence[str]) -> dict[str, Callable[[], str]]:
    chance = random.Random(5)
    said = [word for text in chance.sample(texts, min(400, len(texts))) for word in text.split()]

    def some(count: int) -> str:
        return " ".join(chance.sample(said, count)) + " "

    return {
        "the commonest word": lambda: "the ",
        "two common words": lambda: "new and ",
        "two words": lambda: some(2),
        "six words": lambda: some(6),
        "the beginning of a word": lambda: chance.choice(said)[:4],
        "an entity and a word": lambda: "$BTC new ",
        "a phrase": lambda: '"of the" ',
        "a word without another": lambda: f"{chance.choice(said)} -the ",
        "only exclusions": lambda: "-the -and ",
        "a script nobody writes": lambda: "東京",
        "no query": lambda: "",
    }


def filters(count: int) -> dict[str, SearchFilters]:
    def at(share: float) -> int:
        return BEGAN + int(count * share) * STEP

    return {
        WIDE: SearchFilters(),
        "an entity of a tenth": SearchFilters(entity="ticker:BTC"),
        "an entity of a thousandth": SearchFilters(entity="hashtag:h7"),
        "an author": SearchFilters(author="did:plc:77"),
        "a frequent language": SearchFilters(lang="en"),
        "a rare language": SearchFilters(lang="cy"),
        "a source": SearchFilters(source="sealed"),
        "the last tenth": SearchFilters(since=at(0.9)),
        "the first tenth": SearchFilters(until=at(0.1)),
        "an hour in the middle": SearchFilters(since=at(0.5), until=at(0.5) + 3_600 * MICROS_PER_SECOND),
        "entity, language, since": SearchFilters(entity="ticker:BTC", lang="en", since=at(0.5)),
        "author, source, until": SearchFilters(author="did:plc:78", source="sealed", until=at(0.9)),
        "all of them": SearchFilters("ticker:BTC", "did:plc:80", "en", "sealed", at(0.05), at(0.95)),
    }


async def timed(ask: Ask, make: Callable[[], str], narrow: SearchFilters) -> list[float]:
    """Milliseconds of each question, after some that warm up."""
    taken: list[float] = []
    for number in range(-WARM_UP, SAMPLES):
        query = make()
        started = time.perf_counter()
        await ask(query, narrow)
        if number >= 0:
            taken.append((time.perf_counter() - started) * 1_000)
    return taken


async def every_kind(ask: Ask, texts: Sequence[str], *, without: Sequence[str] = ()) -> dict[str, list[float]]:
    """Every query unfiltered, and two words under every filter."""
    made = {name: make for name, make in queries(texts).items() if name not in without}
    taken = {name: await timed(ask, make, SearchFilters()) for name, make in made.items()}
    for name, narrow in filters(len(texts)).items():
        if name != WIDE:
            taken[f"two words; {name}"] = await timed(ask, made["two words"], narrow)
    return taken


def in_process(leg: Searcher) -> Ask:
    return lambda query, narrow: leg.search(query, narrow, HITS)


async def over_http(stand: Stand, texts: Sequence[str]) -> tuple[dict[str, list[float]], dict[str, float]]:
    """As `every_kind`, by the API as it is shipped; its resident memory in MB, and processor time of a search in ms."""
    environment = {
        "GROUNDSWELL_DATABASE_URL": stand.database_url,
        "GROUNDSWELL_QDRANT_URL": stand.qdrant_url,
        "GROUNDSWELL_QDRANT_API_KEY": stand.qdrant_key,
        "GROUNDSWELL_EMBEDDING_CHAIN": MODEL,
        "GROUNDSWELL_RATE_LIMIT_PER_MINUTE": "0",
        "GROUNDSWELL_API_PORT": str(_free_port()),
    }
    base = f"http://127.0.0.1:{environment['GROUNDSWELL_API_PORT']}"
    async with (
        program("groundswell", "api", environment=environment) as (process, _),
        httpx.AsyncClient(base_url=base, timeout=30) as client,
    ):
        await _answering(client, process)

        async def ask(query: str, narrow: SearchFilters) -> None:
            answer = await client.get("/v1/search", params={"q": query, "limit": HITS, **_parameters(narrow)})
            answer.raise_for_status()

        working = [process, *map(psutil.Process, stand.store_pids)]
        before = [cpu_s(one) for one in working]
        taken = await every_kind(ask, texts)
        searches = len(taken) * (SAMPLES + WARM_UP)
        names = ("api_cpu_ms", "postgres_cpu_ms", "engine_cpu_ms")
        spent = [(cpu_s(one) - was) / searches * 1_000 for one, was in zip(working, before, strict=True)]
        return taken, {"api_mb": rss_mb(process), **dict(zip(names, spent, strict=True))}


def _parameters(narrow: SearchFilters) -> dict[str, str]:
    given: Mapping[str, Any] = {
        "entity": narrow.entity,
        "author": narrow.author,
        "lang": narrow.lang,
        "source": narrow.source,
        "since": None if narrow.since is None else rfc3339(narrow.since),
        "until": None if narrow.until is None else rfc3339(narrow.until),
    }
    return {name: value for name, value in given.items() if value is not None}


async def _answering(client: httpx.AsyncClient, process: psutil.Process) -> None:
    """Until both legs answer, which takes the model a moment."""
    while True:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit("groundswell api ended before it answered; what it says is above")
        try:
            answer = await client.get("/v1/search", params={"q": "new words", "limit": 1})
            if answer.status_code == 200 and answer.json()["legs"] == ["lexical", "semantic"]:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        await asyncio.sleep(0.1)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def measure(count: int, stores: Path | None) -> dict[str, Any]:
    made = posts(count)
    texts = [post.text for post in made]
    started = time.perf_counter()
    async with search_stand(load(EmbeddedSettings, {}), MODEL, made, folder=stores) as stand:
        print(f"filled in {time.perf_counter() - started:.0f} s", flush=True)
        # By the meaning of nothing there is nothing to find.
        no_meaning = ("only exclusions", "no query")
        taken = {
            "lexical": await every_kind(in_process(stand.legs["lexical"]), texts),
            "semantic": await every_kind(in_process(stand.legs["semantic"]), texts, without=no_meaning),
            "fused": await every_kind(in_process(stand.legs["fused"]), texts),
        }
        taken["HTTP"], spent = await over_http(stand, texts)
        return {
            "posts": count,
            "indexed_per_s": stand.indexed_per_s,
            "engine_bytes": stand.engine_bytes,
            **spent,
            "ms": {leg: {kind: _quantiles(values) for kind, values in kinds.items()} for leg, kinds in taken.items()},
            "all_ms": {leg: _quantiles([ms for kind in kinds.values() for ms in kind]) for leg, kinds in taken.items()},
        }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {"p50": round(quantile(values, 0.5), 2), "p95": round(quantile(values, 0.95), 2)}


def _both(found: dict[str, float] | None) -> str:
    return "" if found is None else f"{found['p50']:.1f} / {found['p95']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=200_000)
    parser.add_argument("--stores", type=Path, help="a folder that keeps the filled stores for the next run")
    asked = parser.parse_args()
    found = asyncio.run(measure(asked.posts, None if asked.stores is None else asked.stores.resolve()))
    show(found)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "search.json").write_text(json.dumps({"machine": machine(), **found}, indent=2) + "\n", "utf-8")


def show(found: Mapping[str, Any]) -> None:
    legs = list(found["ms"])
    table = Table("ms, p50 / p95", *legs, title=f"Search at {found['posts']:,} posts", title_justify="left")
    for kind in found["ms"]["fused"]:
        table.add_row(kind, *(_both(found["ms"][leg].get(kind)) for leg in legs))
    table.add_section()
    table.add_row("all of them", *(_both(found["all_ms"][leg]) for leg in legs))
    console = Console()
    console.print(table)
    console.print(f"goal: p95 under {GOAL_MS:.0f} ms. Memory of the API: {found['api_mb']:.0f} MB")
    spent = ", ".join(f"{name} {found[f'{name}_cpu_ms']:.1f}" for name in ("api", "postgres", "engine"))
    console.print(f"processor time of a search over HTTP, ms: {spent}")
    if found["engine_bytes"] is not None:
        million = found["engine_bytes"] / found["posts"] * 1_000_000 / 2**20
        console.print(f"Memory of the engine: {million:,.0f} MiB for a million posts")


if __name__ == "__main__":
    main()
