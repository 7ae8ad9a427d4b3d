"""Each role of the database may do what its services do, and nothing that they do not."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from importlib import resources

import psycopg
import pytest
from psycopg import sql

from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_roles import Login, grant_rights, make_logins
from groundswell.core.database_roles import ROLES
from groundswell.sql import queries
from tests.roles import as_role

FILES = sorted(entry.name[:-4] for entry in resources.files("groundswell.sql").iterdir() if entry.name.endswith(".sql"))
STATEMENTS = [
    (file, name)
    for file in FILES
    for name, text in sorted(queries(file).items())
    # Those that are put together when they run are run as the API's role by the tests of search.
    if not re.search(r"\{\w+\}", text)
]
RUNS = {
    "api": {"connections", "reads", "search"},
    "relay": {"connections", "indexed", "momentum", "outbox", "reads", "search", "spaces", "store", "surges"},
    "jobs": {"archive", "cleanup", "rollup", "spaces"},
    "operator": set(FILES),
}
"""Files of which a role's services may run every statement."""


def may_run(conn: psycopg.Connection, file: str, name: str) -> bool:
    """Whether the user of `conn` may run a statement. Planning it checks every right and runs nothing."""
    numbers: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        return numbers.setdefault(match[1], f"${len(numbers) + 1}")

    text = re.sub(r"%\((\w+)\)[sbt]", numbered, queries(file)[name]).replace("%%", "%")
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(f"EXPLAIN (GENERIC_PLAN) {text}")  # pyright: ignore[reportArgumentType]
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_run_every_statement_of_its_services(role: str, database_url: str) -> None:
    with psycopg.connect(as_role(database_url, role)) as conn:
        refused = [
            f"{file}.{name}" for file, name in STATEMENTS if file in RUNS[role] and not may_run(conn, file, name)
        ]
    assert refused == []


def test_a_statement_that_writes_what_a_role_may_not_is_refused(database_url: str) -> None:
    with psycopg.connect(as_role(database_url, "api")) as conn:
        allowed = {f"{file}.{name}" for file, name in STATEMENTS if may_run(conn, file, name)}
    assert {"store.update_posts", "store.delete_posts", "momentum.forget_habits"} <= {f"{f}.{n}" for f, n in STATEMENTS}
    assert not {"store.update_posts", "store.delete_posts", "momentum.forget_habits"} & allowed
    for written in allowed:
        file, _, name = written.partition(".")
        text = re.sub(r"--.*", "", queries(file)[name])
        tables = set(re.findall(r"(?:INSERT INTO|DELETE FROM|UPDATE)\s+(\w+)", text)) - {"SET", "OF", "SKIP"}
        assert tables <= (ROLES["api"].writes or set()), written


OWNERS_OWN = (
    "CREATE TABLE own (id int)",
    "CREATE TEMPORARY TABLE own (id int)",
    "CREATE FUNCTION own() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP TABLE posts",
    "ALTER TABLE posts ADD COLUMN own int",
    "TRUNCATE posts",
    "CREATE ROLE another",
    "ALTER ROLE groundswell_operator PASSWORD 'x'",
    "SET ROLE groundswell_operator",
    "UPDATE alembic_version SET version_num = '0000'",
    "SELECT hash FROM api_keys",
    "INSERT INTO api_keys (name, hash) VALUES ('mine', 'x')",
    "COPY posts TO PROGRAM 'cat'",
    "SELECT pg_read_file('postgresql.conf')",
)
"""What no service does."""
RELAYS_OWN = (
    "INSERT INTO posts (id, source, author, text, event_time, rev) VALUES ('i', 's', 'a', 't', now(), 'r')",
    "UPDATE posts SET text = 'x'",
    "DELETE FROM events",
    "UPDATE momentum SET score = 1",
    "DELETE FROM cursors",
)
"""What the API does not."""


def allowed_of(url: str, statements: Sequence[str]) -> list[str]:
    """Those of `statements` that the user of `url` may run."""
    allowed: list[str] = []
    with psycopg.connect(url) as conn:
        for statement in statements:
            try:
                with conn.transaction(force_rollback=True):
                    conn.execute(statement)  # pyright: ignore[reportArgumentType]
                allowed.append(statement)
            except psycopg.errors.InsufficientPrivilege:
                pass
    return allowed


def test_no_service_may_change_the_schema_the_roles_or_the_keys(database_url: str) -> None:
    # A copied database has the rights on tables, and not those on the database itself.
    asyncio.run(migrate(database_url))
    assert {role: allowed_of(as_role(database_url, role), OWNERS_OWN) for role in ("api", "relay", "jobs")} == {
        "api": [], "relay": [], "jobs": []
    }  # fmt: skip


def test_the_api_may_write_no_post_and_no_count(database_url: str) -> None:
    assert allowed_of(as_role(database_url, "api"), RELAYS_OWN) == []
    assert allowed_of(as_role(database_url, "relay"), RELAYS_OWN) == list(RELAYS_OWN)


def test_the_api_knows_a_key_that_it_cannot_read(database_url: str) -> None:
    async def body() -> None:
        operator = await open_pool(
            as_role(database_url, "operator"), size=1, wait_s=5, statement_timeout_s=5, application_name="test"
        )
        api = await open_pool(
            as_role(database_url, "api"), size=1, wait_s=5, statement_timeout_s=5, application_name="test"
        )
        try:
            key = await PostgresKeys(operator).create("ops")
            assert await PostgresKeys(api).knows(key)
            assert not await PostgresKeys(api).knows("gs_other")
        finally:
            await operator.close()
            await api.close()

    asyncio.run(body())


def test_a_table_of_a_later_version_is_read_by_all_and_written_by_none_but_the_operator(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text)")
    asyncio.run(migrate(database_url))
    for role in ROLES:
        with psycopg.connect(as_role(database_url, role)) as conn:
            assert conn.execute("SELECT count(*) FROM later").fetchone() == (0,)
            if role == "operator":
                conn.execute("INSERT INTO later (t) VALUES ('x')")
            else:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute("INSERT INTO later (t) VALUES ('x')")
            conn.rollback()


def test_a_right_that_somebody_gave_is_taken_again(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("GRANT ALL ON posts, api_keys TO groundswell_api")
        conn.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    asyncio.run(migrate(database_url))
    with psycopg.connect(database_url) as conn:
        assert conn.execute(
            "SELECT has_table_privilege('groundswell_api', 'posts', 'INSERT'),"
            " has_table_privilege('groundswell_api', 'api_keys', 'SELECT'),"
            " has_schema_privilege('groundswell_api', 'public', 'CREATE')"
        ).fetchone() == (False, False, False)


def test_who_does_not_own_the_database_gives_no_rights(database_url: str) -> None:
    with psycopg.connect(as_role(database_url, "relay"), autocommit=True) as conn:
        assert grant_rights(conn) == []
    # `groundswell up` migrates before it starts, also as a role that may not: a schema that is current needs nothing.
    before, after = asyncio.run(migrate(as_role(database_url, "relay")))
    assert before == after


def test_the_tables_that_stand_in_the_rules_exist(database_url: str) -> None:
    with psycopg.connect(database_url) as conn:
        tables = {row[0] for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    for role in ROLES.values():
        assert (role.writes or frozenset()) <= tables


# ------------------------------------------------------------------ logins
class Kept:
    """A place for one secret, in memory."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.writes = 0

    def read(self) -> str | None:
        return self.text

    def write(self, text: str) -> None:
        self.text, self.writes = text, self.writes + 1


@pytest.fixture
def master_url(database_url: str) -> Iterator[str]:
    """The database for a user that is as RDS's master: no superuser, may make roles, owns the database."""
    name = re.search(r"/(\w+)\?", database_url)
    assert name is not None
    with psycopg.connect(database_url, autocommit=True) as conn:
        before = list(ROLES.values())
        for role in before:
            conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role.name)))
            conn.execute(sql.SQL("ALTER ROLE {} RENAME TO {}").format(*_aside(role.name)))
        conn.execute("CREATE ROLE master LOGIN CREATEDB CREATEROLE")
        conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO master").format(sql.Identifier(name[1])))
        for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            conn.execute(sql.SQL("ALTER TABLE {} OWNER TO master").format(sql.Identifier("public", row[0])))
        for row in conn.execute(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall():
            conn.execute(f"ALTER FUNCTION {row[0]} OWNER TO master")  # pyright: ignore[reportArgumentType]
    yield re.sub(r"//[^@/]*@", "//master@", database_url)
    with psycopg.connect(database_url, autocommit=True) as conn:
        for role in before:
            if conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.name,)).fetchone():
                conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role.name)))
                conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role.name)))
            conn.execute(sql.SQL("ALTER ROLE {} RENAME TO {}").format(*reversed(_aside(role.name))))
        conn.execute("REASSIGN OWNED BY master TO CURRENT_USER")
        conn.execute("DROP OWNED BY master")
        conn.execute("DROP ROLE master")


def _aside(name: str) -> tuple[sql.Identifier, sql.Identifier]:
    return sql.Identifier(name), sql.Identifier(f"{name}_aside")


def logins_in(kept: dict[str, Kept]) -> list[Login]:
    return [Login(role, place.read, place.write) for role, place in kept.items()]


def test_logins_are_made_kept_and_renewed_without_a_password_reaching_the_server(master_url: str) -> None:
    kept = {role: Kept() for role in ROLES}
    assert make_logins(master_url, logins_in(kept)) == dict.fromkeys(ROLES, "made")
    secrets = {role: json.loads(place.text or "") for role, place in kept.items()}
    assert [secret["username"] for secret in secrets.values()] == [role.name for role in ROLES.values()]
    assert len({secret["password"] for secret in secrets.values()}) == len(ROLES)
    with psycopg.connect(re.sub(r"//master@", "//", master_url), user=_superuser(), autocommit=True) as conn:
        verifiers = conn.execute(
            "SELECT rolpassword, rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls, rolcanlogin"
            " FROM pg_authid WHERE rolname = ANY(%s)",
            ([role.name for role in ROLES.values()],),
        ).fetchall()
    assert [(might, may) for _, might, may in verifiers] == [(False, True)] * len(ROLES)
    assert all(text.startswith("SCRAM-SHA-256$") for text, _, _ in verifiers)

    assert make_logins(master_url, logins_in(kept)) == dict.fromkeys(ROLES, "kept")
    assert {place.writes for place in kept.values()} == {1}

    assert make_logins(master_url, logins_in(kept), renew=True) == dict.fromkeys(ROLES, "renewed")
    assert all(json.loads(kept[role].text or "")["password"] != secrets[role]["password"] for role in ROLES)


def test_a_secret_of_another_database_is_replaced(master_url: str) -> None:
    kept = {"api": Kept()}
    make_logins(master_url, logins_in(kept))
    secret = json.loads(kept["api"].text or "")
    kept["api"].text = json.dumps({**secret, "host": "old.rds.amazonaws.com"})
    assert make_logins(master_url, logins_in(kept)) == {"api": "renewed"}
    kept["api"].text = "not a secret"
    assert make_logins(master_url, logins_in(kept)) == {"api": "renewed"}


def test_a_role_whose_secret_cannot_be_kept_keeps_its_password(master_url: str) -> None:
    kept = {"api": Kept()}
    make_logins(master_url, logins_in(kept))

    def refuse(_: str) -> None:
        raise RuntimeError("the store is away")

    def verifier() -> object:
        with psycopg.connect(re.sub(r"//master@", "//", master_url), user=_superuser()) as conn:
            return conn.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'groundswell_api'").fetchone()

    before = verifier()
    with pytest.raises(RuntimeError, match="the store is away"):
        make_logins(master_url, [Login("api", kept["api"].read, refuse)], renew=True)
    assert verifier() == before


def _superuser() -> str:
    from groundswell.adapters.postgres_access import SUPERUSER

    return SUPERUSER
