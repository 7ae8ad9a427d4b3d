"""SQL over the archive: one statement that reads, within bounds, over what may still be shown."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from groundswell.adapters.parquet_files import open_duckdb
from groundswell.core.retention import Authors
from groundswell.errors import InvalidRequest, QueryTimeout

QUERY_MEMORY = "1GB"
THREADS = 2

_SHOWN = """
CREATE VIEW posts AS
SELECT p.* EXCLUDE (file) FROM read_parquet({files}, filename = 'file') p
WHERE (p.file, substr(sha256(p.id), 1, 32)) NOT IN (SELECT (w.file, w.key) FROM withdrawn w)
  AND NOT EXISTS (SELECT 1 FROM taken_down t
                  WHERE t.source = p.source AND t.author = p.author AND p.event_time <= make_timestamptz(t.until))
"""
_ALL = "CREATE VIEW posts AS SELECT * FROM read_parquet({files})"
_NONE = """
CREATE VIEW posts AS
SELECT * FROM (VALUES (0::BIGINT, '', '', '', '', '', now(), now(), '', ['']::VARCHAR[], '', '', now()))
AS t (pk, id, source, author, text, lang, created_at, event_time, rev, entities, reply_to, quote_of, ingested_at)
WHERE false
"""


class Answer(msgspec.Struct, frozen=True):
    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]
    truncated: bool
    """Whether there were more rows than the limit."""


def query(
    sql: str,
    files: Mapping[Path, frozenset[bytes]],
    authors: Authors,
    *,
    limit: int,
    timeout_s: float,
) -> Answer:
    """Answer one SELECT over the view `posts`. `files` are given with the keys of what is withdrawn from each.

    Nothing but these files can be read, and nothing can be written, whatever the statement says.

    Raises:
        InvalidRequest: the statement is not one SELECT, or DuckDB refuses it; the text says why.
        QueryTimeout: it took longer than `timeout_s`.
    """
    import duckdb

    with open_duckdb(threads=THREADS, memory_limit=QUERY_MEMORY) as database:
        try:
            statements = database.extract_statements(sql)
        except duckdb.Error as error:
            raise InvalidRequest(f"This is not SQL that DuckDB understands. {error}", field="sql") from error
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise InvalidRequest(
                "Write one SELECT over `posts`, for example: SELECT author, count(*) FROM posts GROUP BY ALL.",
                field="sql",
            )
        _prepare(database, files, authors)
        timer = threading.Timer(timeout_s, database.interrupt)
        timer.start()
        try:
            cursor = database.execute(statements[0])
            columns = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchmany(limit + 1)
        except duckdb.InterruptException as error:
            raise QueryTimeout(
                f"The query took longer than {timeout_s:g} s and was stopped. "
                "Name fewer days with --since and --until, or allow more with --timeout."
            ) from error
        except duckdb.Error as error:
            raise InvalidRequest(f"DuckDB refuses this. {error}", field="sql") from error
        finally:
            timer.cancel()
    return Answer(columns, rows[:limit], len(rows) > limit)


def _prepare(database: Any, files: Mapping[Path, frozenset[bytes]], authors: Authors) -> None:
    names = [str(path) for path in files]
    listed = "[" + ", ".join("'" + name.replace("'", "''") + "'" for name in names) + "]"
    keys = [[str(path), key.hex()] for path, found in files.items() for key in found]
    accounts = [[source, author, until] for (source, author), until in authors.items()]
    database.execute("CREATE TABLE withdrawn (file VARCHAR, key VARCHAR)")
    database.execute("CREATE TABLE taken_down (source VARCHAR, author VARCHAR, until BIGINT)")
    if keys:
        database.executemany("INSERT INTO withdrawn VALUES (?, ?)", keys)
    if accounts:
        database.executemany("INSERT INTO taken_down VALUES (?, ?, ?)", accounts)
    view = _NONE if not names else _SHOWN if keys or accounts else _ALL
    database.execute(view.format(files=listed))
    database.execute(f"SET allowed_paths = {listed}")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
