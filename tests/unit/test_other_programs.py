"""The environment has no say over where posts are stored, and in which form."""

from __future__ import annotations

import os

import psycopg
import pytest

from groundswell.configuration.other_programs import forget_postgres_variables


def test_every_variable_that_libpq_reads_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    read = {option.envvar.decode() for option in psycopg.pq.Conninfo.get_defaults() if option.envvar}
    assert len(read) > 20
    for name in read | {"PGDATA", "PGSYSCONFDIR", "PGLOCALEDIR", "PGTZ", "PGDATESTYLE"}:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("PAGER", "less")
    forget_postgres_variables()
    assert not [name for name in os.environ if name.startswith("PG")]
    assert os.environ["PAGER"] == "less"
