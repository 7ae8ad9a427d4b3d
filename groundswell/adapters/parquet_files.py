"""Posts as Parquet files, by way of DuckDB: zstd, sorted by `pk`, in row groups small enough to find one post in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundswell.core.retention import ArchiveRow, Contents, Tally, row_of
from groundswell.errors import ArchiveDamaged, ArchiveUnavailable

if TYPE_CHECKING:
    import duckdb

ROW_GROUP_ROWS = 8_192
PAGE_ROWS = 2_000
MEMORY_LIMIT = "256MB"
"""Of DuckDB, for writing or reading one file."""

_COLUMNS = {
    "pk": "BIGINT",
    "id": "VARCHAR",
    "source": "VARCHAR",
    "author": "VARCHAR",
    "text": "VARCHAR",
    "lang": "VARCHAR",
    "created_at": "BIGINT",
    "event_time": "BIGINT",
    "rev": "VARCHAR",
    "entities": "VARCHAR[]",
    "reply_to": "VARCHAR",
    "quote_of": "VARCHAR",
    "ingested_at": "BIGINT",
}
assert tuple(_COLUMNS) == ArchiveRow.__struct_fields__, "a file's columns are the fields of a row"
_TIMES = ("created_at", "event_time", "ingested_at")
_TO_FILE = ", ".join(f"make_timestamptz({name}) AS {name}" if name in _TIMES else name for name in _COLUMNS)
_FROM_FILE = ", ".join(f"epoch_us({name})" if name in _TIMES else name for name in _COLUMNS)


class ParquetFiles:
    """`ports.PostFiles`. Everything that computes runs in a thread."""

    suffix = ".parquet"

    async def write(self, pages: AsyncIterator[Sequence[ArchiveRow]], path: Path) -> Contents:
        """Rows pass through a file of JSON lines beside `path`, so that memory does not grow with their number."""
        tally = Tally()
        lines = path.with_name(path.name + ".jsonl")
        try:
            with lines.open("wb") as sink:
                async for page in pages:
                    said = tally.add(page)
                    await asyncio.to_thread(sink.write, said)
            await asyncio.to_thread(_convert, lines, path)
        except OSError as error:
            raise ArchiveUnavailable(
                f"Cannot write {path.name} at {path.parent}: {error.strerror or error}. "
                "Free some space there; posts stay in Postgres until it works."
            ) from error
        finally:
            lines.unlink(missing_ok=True)
        return tally.contents()

    async def read(self, path: Path) -> AsyncGenerator[Sequence[ArchiveRow]]:
        database = await asyncio.to_thread(open_duckdb)
        try:
            sql = f"SELECT {_FROM_FILE} FROM read_parquet(?) ORDER BY pk"  # noqa: S608 -- our own column names
            await _explained(path, lambda: database.execute(sql, [str(path)]))
            while rows := await _explained(path, lambda: database.fetchmany(PAGE_ROWS)):
                yield [row_of(row) for row in rows]
        finally:
            database.close()

    async def find(self, path: Path, post_id: str) -> ArchiveRow | None:
        sql = f"SELECT {_FROM_FILE} FROM read_parquet(?) WHERE id = ?"  # noqa: S608 -- our own column names

        def find() -> tuple[Any, ...] | None:
            with open_duckdb() as database:
                return database.execute(sql, [str(path), post_id]).fetchone()

        row = await _explained(path, find)
        return None if row is None else row_of(row)


async def _explained(path: Path, work: Any) -> Any:
    import duckdb

    try:
        return await asyncio.to_thread(work)
    except duckdb.Error as error:
        raise ArchiveDamaged(
            f"{path.name} cannot be read as a Parquet file of posts: {_first_line(error)}. "
            "Put it back from a copy; `groundswell archive verify` says which files are damaged."
        ) from error


def _convert(lines: Path, path: Path) -> None:
    import duckdb

    columns = ", ".join(f"{name}: '{kind}'" for name, kind in _COLUMNS.items())
    sql = f"""
        COPY (SELECT {_TO_FILE} FROM read_json(?, format = 'newline_delimited', columns = {{{columns}}}) ORDER BY pk)
        TO '{str(path).replace("'", "''")}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})
    """  # noqa: S608 -- our own column names and path
    try:
        with open_duckdb() as database:
            database.execute(sql, [str(lines)])
    except duckdb.Error as error:
        raise ArchiveUnavailable(
            f"{path.name} could not be written at {path.parent}: {_first_line(error)}. "
            "Check the space there; posts stay in Postgres until it works."
        ) from error


def open_duckdb(*, threads: int = 1, memory_limit: str = MEMORY_LIMIT) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that fetches nothing from anywhere."""
    import duckdb

    database = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": memory_limit,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    database.execute("SET TimeZone = 'UTC'")
    return database


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
