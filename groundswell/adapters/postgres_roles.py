"""The roles of the database: what each may do, and the password that each logs in with.

Rights are given anew at every migration, from `core.database_roles`, to the roles that the server has. A server without
them, such as the embedded one, stays as it is: one user does everything.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from groundswell.core.database_roles import KEYS, OWNER_ONLY, ROLES, Role
from groundswell.errors import StoreUnavailable

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Done: TypeAlias = Literal["kept", "made", "renewed"]

PASSWORD_BYTES = 32
LOCK_WAIT_S = 120
_LOCK_KEY = 0x6C6F67696E73  # "logins"
_WRITING = sql.SQL("INSERT, UPDATE, DELETE")
_WRONG_PASSWORD = ("password authentication failed", "is not permitted to log in")


# ------------------------------------------------------------------ rights
def grant_rights(conn: Connection) -> list[str]:
    """Give every role that the server has its rights, and take all others; the roles' names. One transaction.

    Does nothing for a user who does not own the database: its owner is who migrates it.
    """
    with conn.transaction():
        present = _present(conn)
        if not present or not _owns_the_database(conn):
            return []
        tables = {str(row[0]) for row in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        (database,) = conn.execute("SELECT current_database()").fetchone() or ("",)
        for text in ("DATABASE {}", "SCHEMA public", "ALL FUNCTIONS IN SCHEMA public"):
            _run(conn, f"REVOKE ALL ON {text} FROM PUBLIC", *([database] if "{}" in text else []))
        for role in present:
            _grant(conn, role, str(database), tables)
        return [role.name for role in present]


def _grant(conn: Connection, role: Role, database: str, tables: set[str]) -> None:
    _run(conn, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}", role.name)
    _run(conn, "REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {}", role.name)
    _run(conn, "REVOKE ALL ON SCHEMA public FROM {}", role.name)
    _run(conn, "GRANT CONNECT ON DATABASE {} TO {}", database, role.name)
    _run(conn, "GRANT USAGE ON SCHEMA public TO {}", role.name)
    _run(conn, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {}", role.name)
    readable = tables if role.reads_keys else tables - {KEYS}
    writable = tables - OWNER_ONLY if role.writes is None else tables & role.writes
    for rights, names in ((sql.SQL("SELECT"), readable), (_WRITING, writable)):
        if names:
            listed = sql.SQL(", ").join(sql.Identifier("public", name) for name in sorted(names))
            conn.execute(sql.SQL("GRANT {} ON {} TO {}").format(rights, listed, sql.Identifier(role.name)))


def _present(conn: Connection) -> list[Role]:
    rows = conn.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", ([role.name for role in ROLES.values()],)
    )
    found = {row[0] for row in rows}
    return [role for role in ROLES.values() if role.name in found]


def _owns_the_database(conn: Connection) -> bool:
    row = conn.execute(
        "SELECT pg_has_role(current_user, datdba, 'USAGE') FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    return row is not None and bool(row[0])


def _run(conn: Connection, text: str, *names: str) -> None:
    # The texts are ours, and names go through `Identifier`.
    conn.execute(sql.SQL(text).format(*(sql.Identifier(name) for name in names)))  # pyright: ignore[reportArgumentType]


# ------------------------------------------------------------------ logins
class Login:
    """Where the secret of one role is kept: `read` answers it, or None, and `write` replaces it."""

    def __init__(self, role: str, read: Callable[[], str | None], write: Callable[[str], None]) -> None:
        self.role = ROLES[role]
        self.key = role
        self.read = read
        self.write = write


def make_logins(url: str, logins: Iterable[Login], *, renew: bool = False) -> Mapping[str, Done]:
    """Make every role, and see to it that the secret which is kept for it opens the database.

    A secret that does is kept, unless `renew`. Otherwise the role gets a new password: the server is sent the verifier
    that is made of it, never the password. What was done, by role.

    Raises:
        StoreUnavailable: the database cannot be reached, or its user may make no roles.
    """
    done: dict[str, Done] = {}
    try:
        with psycopg.connect(url, connect_timeout=10, application_name="groundswell migrate", autocommit=True) as conn:
            conn.execute("SELECT set_config('lock_timeout', %s, false)", (f"{LOCK_WAIT_S}s",))
            conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
            for login in logins:
                done[login.key] = _make_login(conn, url, login, renew=renew)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreUnavailable(
            f"The roles of the database cannot be made: {str(error).strip()}. Migrate as a user with CREATEROLE."
        ) from error
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"The database cannot be reached to make its roles: {str(error).strip()}.") from error
    return done


def _make_login(conn: Connection, url: str, login: Login, *, renew: bool) -> Done:
    role = login.role
    exists = conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.name,)).fetchone() is not None
    kept = login.read() if exists else None
    if kept is not None and not renew and _opens(url, role, kept):
        _settle(conn, role)
        return "kept"
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    verifier = conn.pgconn.encrypt_password(password.encode(), role.name.encode(), b"scram-sha-256").decode()
    with conn.transaction():
        if not exists:
            _run(conn, "CREATE ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION", role.name)
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        conn.execute(statement.format(sql.Identifier(role.name), sql.Literal(verifier)))
        _settle(conn, role)
        # Before the commit: where the secret cannot be kept, the role keeps the password that it has.
        login.write(_secret(url, role, password))
    return "renewed" if exists else "made"


def _settle(conn: Connection, role: Role) -> None:
    for name, value in role.settings.items():
        statement = sql.SQL("ALTER ROLE {} SET {} = {}")
        conn.execute(statement.format(sql.Identifier(role.name), sql.Identifier(name), sql.Literal(value)))


def _secret(url: str, role: Role, password: str) -> str:
    """What a service connects with, in the form of RDS's secrets."""
    return json.dumps({**_place(url), "username": role.name, "password": password, "engine": "postgres"})


def _place(url: str) -> dict[str, Any]:
    at = conninfo_to_dict(url)
    return {"host": str(at.get("host", "")), "port": int(at.get("port") or 5432), "dbname": str(at.get("dbname", ""))}


def _opens(url: str, role: Role, kept: str) -> bool:
    """Whether a secret that is kept is for this database and its password is right."""
    try:
        said = json.loads(kept)
        password = str(said["password"])
        same = {name: said[name] for name in ("host", "port", "dbname", "username")}
    except (ValueError, TypeError, KeyError):
        return False
    if same != {**_place(url), "username": role.name}:
        return False
    try:
        psycopg.connect(make_conninfo(url, user=role.name, password=password), connect_timeout=10).close()
    except psycopg.OperationalError as error:
        # A database that refuses for another reason (too many connections) is no reason for another password.
        if not any(words in str(error) for words in _WRONG_PASSWORD):
            raise
        return False
    return True
