"""What a service makes of its environment."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from groundswell.configuration.addresses import DATABASE_OPTIONS, is_internal_host, normalise_url
from groundswell.configuration.env_file import read_env_file
from groundswell.configuration.schema import variables
from groundswell.configuration.secret import Secret
from groundswell.configuration.values import parse_value
from groundswell.errors import EX_CONFIG, ConfigError, exit_code_for
from groundswell.settings import (
    SETTINGS,
    ApiSettings,
    EmbeddedSettings,
    MigrateSettings,
    RelaySettings,
    load,
    origin_of,
    parse_env_file,
    read_environment,
)

DATABASE = "postgresql://groundswell:k7Jq2Vx9@db.internal:5432/groundswell"
PRODUCTION = {"GROUNDSWELL_ENVIRONMENT": "production", "GROUNDSWELL_DATABASE_URL": DATABASE}


def problems_of(kind: type, environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(kind, environ)
    return caught.value.problems


def test_the_whole_platform_needs_no_variable_at_all() -> None:
    settings = load(EmbeddedSettings, {})
    assert settings.source == "simulator"
    assert settings.api_port == 8000
    assert settings.database_url is None
    assert settings.qdrant_url is None
    assert len(settings.jetstream_hosts) == 4


def test_values_get_their_types() -> None:
    settings = load(
        EmbeddedSettings,
        {
            "GROUNDSWELL_API_PORT": " 9000 ",
            "GROUNDSWELL_SIMULATOR_RATE": "2.5",
            "GROUNDSWELL_REPLAY_SPEED": "max",
            "GROUNDSWELL_CORS_ORIGINS": "https://a.example/, https://b.example,,https://a.example",
            "GROUNDSWELL_TRUSTED_PROXIES": "10.0.0.1, 192.168.0.0/16",
            "GROUNDSWELL_DATABASE_URL": DATABASE,
            "GROUNDSWELL_JETSTREAM_HOSTS": "Jetstream1.us-east.bsky.network, ws://127.0.0.1:9/feed/",
        },
    )
    assert settings.api_port == 9000
    assert settings.simulator_rate == 2.5
    assert settings.replay_speed == "max"
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.trusted_proxies == ("10.0.0.1/32", "192.168.0.0/16")
    assert settings.database_url == Secret(DATABASE)
    assert settings.jetstream_hosts == ("wss://jetstream1.us-east.bsky.network/subscribe", "ws://127.0.0.1:9/feed")


def test_an_empty_variable_counts_as_unset() -> None:
    settings = load(EmbeddedSettings, {"GROUNDSWELL_API_PORT": "", "GROUNDSWELL_SOURCE": "  "})
    assert (settings.api_port, settings.source) == (8000, "simulator")


def test_every_problem_is_reported_at_once_with_variable_fault_and_remedy() -> None:
    problems = problems_of(
        ApiSettings,
        {
            "GROUNDSWELL_API_PORT": "eighty",
            "GROUNDSWELL_DATABASE_POOL_SIZE": "0",
            "GROUNDSWELL_QDRANT_URL": "qdrant:6333",
            "GROUNDSWELL_LOG_FORMAT": "xml",
            "GROUNDSWELL_API_PROT": "1",
        },
    )
    by_name = {problem.partition(":")[0]: problem for problem in problems}
    assert by_name.keys() == {
        "GROUNDSWELL_DATABASE_URL",
        "GROUNDSWELL_API_PORT",
        "GROUNDSWELL_DATABASE_POOL_SIZE",
        "GROUNDSWELL_QDRANT_URL",
        "GROUNDSWELL_LOG_FORMAT",
        "GROUNDSWELL_API_PROT",
    }
    assert "'eighty' is not a whole number" in by_name["GROUNDSWELL_API_PORT"]
    assert "from 0 to 65535" in by_name["GROUNDSWELL_API_PORT"]
    assert "from 1 to 100" in by_name["GROUNDSWELL_DATABASE_POOL_SIZE"]
    assert "Set one of console, json" in by_name["GROUNDSWELL_LOG_FORMAT"]
    assert "Did you mean GROUNDSWELL_API_PORT?" in by_name["GROUNDSWELL_API_PROT"]
    assert "`groundswell up`" in by_name["GROUNDSWELL_DATABASE_URL"]


def test_a_configuration_error_ends_the_program_with_78() -> None:
    assert exit_code_for(ConfigError(["x"])) == EX_CONFIG == 78


def test_a_service_does_not_mind_what_only_others_need() -> None:
    broken_for_api = {"GROUNDSWELL_API_PORT": "eighty", "GROUNDSWELL_DATABASE_URL": DATABASE}
    assert load(RelaySettings, broken_for_api).batch_max_posts == 1000
    assert load(MigrateSettings, {"GROUNDSWELL_SIMULATOR_RATE": "fast"}).database_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIMULATOR_RATE", "0"),
        ("SIMULATOR_RATE", "nan"),
        ("SIMULATOR_RATE", "inf"),
        ("MOMENTUM_INTERVAL_S", "-1"),
        ("REPLAY_SPEED", "0"),
        ("REPLAY_SPEED", "quick"),
        ("BATCH_MAX_POSTS", "1e3"),
        ("EMBEDDING_CHAIN", "wordllama"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("CORS_ORIGINS", "example.com"),
        ("QDRANT_COLLECTION", "a b"),
        ("JETSTREAM_HOSTS", "https://jetstream.example"),
    ],
)
def test_values_out_of_range_or_form_are_refused(name: str, value: str) -> None:
    (problem,) = problems_of(EmbeddedSettings, {f"GROUNDSWELL_{name}": value})
    assert problem.startswith(f"GROUNDSWELL_{name}: ")


def test_a_replay_needs_its_file(tmp_path: Path) -> None:
    (problem,) = problems_of(EmbeddedSettings, {"GROUNDSWELL_SOURCE": "replay"})
    assert problem.startswith("GROUNDSWELL_REPLAY_FILE: is not set")
    gone = tmp_path / "gone.jsonl"
    (problem,) = problems_of(EmbeddedSettings, {"GROUNDSWELL_REPLAY_FILE": str(gone)})
    assert f"there is no file {gone}" in problem
    gone.touch()
    environ = {"GROUNDSWELL_SOURCE": "replay", "GROUNDSWELL_REPLAY_FILE": str(gone)}
    assert load(EmbeddedSettings, environ).replay_file == gone


# ------------------------------------------------------------------ addresses
@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("https://api.example.com/", "https://api.example.com"),
        ("HTTPS://API.Example.com:443", "https://api.example.com"),
        ("http://api.example.com:8080/v2//", "http://api.example.com:8080/v2"),
        ("http://[::1]:80/", "http://[::1]"),
    ],
)
def test_an_address_has_one_spelling_and_no_trailing_slash(written: str, stored: str) -> None:
    assert normalise_url(written, schemes=("http", "https")) == stored


@given(st.from_regex(r"https?://[a-z]{1,8}(\.[a-z]{2,5}){0,2}(:[1-9][0-9]{0,3})?(/[a-z/]{0,6})?", fullmatch=True))
def test_normalising_twice_is_normalising_once(url: str) -> None:
    once = normalise_url(url, schemes=("http", "https"))
    assert normalise_url(once, schemes=("http", "https")) == once
    assert not once.endswith("/")


@pytest.mark.parametrize(
    "wrong",
    ["", "example.com", "ftp://example.com", "https://", "https://a b", "https://u:p@h.example", "https://h?x=1",
     "https://h:99999", "https://exa_mple!.com", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_not_an_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        normalise_url(wrong, schemes=("http", "https"))


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "api.localhost", "db", "qdrant", "db.internal", "printer.local", "10.1.2.3",
     "127.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "[::1]", "fd00::1",
     "::ffff:10.0.0.1", "fe80::1%eth0", "127.1", "2130706433", "api.default.svc"],
)  # fmt: skip
def test_hosts_that_only_neighbours_reach_are_internal(host: str) -> None:
    assert is_internal_host(host)


@pytest.mark.parametrize("host", ["example.com", "8.8.8.8", "2606:4700::1111", "internal.example.com", "localhost.com"])
def test_hosts_that_everyone_reaches_are_not(host: str) -> None:
    assert not is_internal_host(host)


@pytest.mark.parametrize("host", ["localhost:8000", "192.168.0.10", "api", "groundswell.internal"])
def test_an_internal_address_where_a_public_one_belongs_is_refused_outside_development(host: str) -> None:
    environ = {**PRODUCTION, "GROUNDSWELL_PUBLIC_API_URL": f"https://{host}"}
    (problem,) = problems_of(ApiSettings, environ)
    assert problem.startswith("GROUNDSWELL_PUBLIC_API_URL: ")
    assert "internal address" in problem
    assert load(ApiSettings, environ | {"GROUNDSWELL_ENVIRONMENT": "development"}).public_api_url is not None


def test_a_public_address_where_an_internal_one_belongs_is_refused_outside_development() -> None:
    environ = {
        **PRODUCTION,
        "GROUNDSWELL_PUBLIC_API_URL": "https://groundswell.example.com",
        "GROUNDSWELL_QDRANT_URL": "https://groundswell.example.com:6333",
    }
    (problem,) = problems_of(ApiSettings, environ)
    assert problem.startswith("GROUNDSWELL_QDRANT_URL: ")
    assert "public address of GROUNDSWELL_PUBLIC_API_URL" in problem


def test_secrets_do_not_cross_the_internet_unencrypted() -> None:
    open_database = DATABASE.replace("db.internal", "db.example.com")
    (problem,) = problems_of(RelaySettings, {**PRODUCTION, "GROUNDSWELL_DATABASE_URL": open_database})
    assert "sslmode=require" in problem
    (problem,) = problems_of(RelaySettings, {**PRODUCTION, "GROUNDSWELL_QDRANT_URL": "http://q.example.com:6333"})
    assert "https://" in problem
    safe = {**PRODUCTION, "GROUNDSWELL_DATABASE_URL": f"{open_database}?sslmode=verify-full"}
    assert load(RelaySettings, safe).database_url == Secret(safe["GROUNDSWELL_DATABASE_URL"])


# ------------------------------------------------------------------ secrets
@pytest.mark.parametrize(
    "placeholder",
    ["changeme", "CHANGE_ME", "password", "xxx", "<your key>", "your-api-key", "placeholder", "secret", "***", "todo"],
)
def test_placeholder_secrets_are_refused_outside_development_only(placeholder: str) -> None:
    environ = {**PRODUCTION, "GROUNDSWELL_QDRANT_API_KEY": placeholder}
    (problem,) = problems_of(ApiSettings, environ)
    assert "placeholder" in problem
    assert load(ApiSettings, environ | {"GROUNDSWELL_ENVIRONMENT": "development"}).qdrant_api_key is not None
    database = f"postgresql://u:{placeholder.replace('<', '%3C').replace('>', '%3E').replace(' ', '')}@db.internal/g"
    (problem,) = problems_of(RelaySettings, {**PRODUCTION, "GROUNDSWELL_DATABASE_URL": database})
    assert "placeholder" in problem


@pytest.mark.parametrize(
    ("option", "fault"),
    [("bogus=1", "option, after the `?`, that Postgres's client library does not know"), ("sslmode=%zz", "`%25`")],
)
def test_an_option_that_the_library_does_not_know_is_refused_without_the_password(option: str, fault: str) -> None:
    (problem,) = problems_of(RelaySettings, {**PRODUCTION, "GROUNDSWELL_DATABASE_URL": f"{DATABASE}?{option}"})
    assert problem.startswith("GROUNDSWELL_DATABASE_URL")
    assert fault in problem
    assert DATABASE not in problem


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("me:S3cret%zz@db.example/posts", "`%25`"),
        ("me:S3cret%00@db.example/posts", "`%00`"),
        ("me:S3cret@S3cret@db.example/posts", "`%40`"),
        ("S3cret@me:S3cret@db.example/posts", "`%40`"),
        ("me:S3/cret@db.example/posts", "`%2F`"),
        ("me:S3?cret@db.example/posts", "`%3F`"),
        ("me:S3#cret@db.example/posts", "`%23`"),
        ("me:S3cret@db.example:99999/posts", "port"),
        ("me:S3cret@db.example:0/posts", "port"),
        ("me:S3cret@db.example:S3cret/posts", "port"),
        ("me:S3cret@one.example:5432,two.example:x/posts", "port"),
        ("me:S3cret@db.example/posts?port=x", "port"),
        ("me:S3cret@::1:5999/posts", "`[::1]:5432`"),
        ("me:S3cret@[::1/posts", "not a valid address"),
        ("me:S3cret@db.example/posts?schema=public", "option"),
        ("me:S3cret@db.example/posts?sslmode=S3cret", "sslmode"),
        ("me:S3cret@db.example/posts?connect_timeout=S3cret", "connect_timeout"),
        ("me:S3cret@db.example", "no database"),
    ],
)
def test_an_address_of_a_database_that_cannot_work_is_named_without_a_part_of_it(address: str, said: str) -> None:
    for scheme in ("postgresql://", "postgres://"):
        (problem,) = problems_of(RelaySettings, {"GROUNDSWELL_DATABASE_URL": scheme + address})
        assert problem.startswith("GROUNDSWELL_DATABASE_URL") and said in problem
        assert "S3" not in problem and "cret" not in problem.replace("secret", "")


@pytest.mark.parametrize(
    ("address", "host", "password"),
    [
        ("me:p%40ss%2Fw%23@db.example:5433/posts", "db.example", "p@ss/w#"),
        ("me:p:w@[::1]:5433/posts?sslmode=require&connect_timeout=5", "::1", "p:w"),
        ("me:pw@one.example:1,two.example:2/posts", "one.example,two.example", "pw"),
        ("me:pw@/posts?host=/run/a@b&port=5433", "/run/a@b", "pw"),
        ("me:p%25w@%2Frun%2Fpg/posts", "/run/pg", "p%w"),
    ],
)
def test_an_address_that_libpq_reads_is_taken_as_it_reads_it(address: str, host: str, password: str) -> None:
    url = load(RelaySettings, {"GROUNDSWELL_DATABASE_URL": f"postgresql://{address}"}).database_url.reveal()
    read = conninfo_to_dict(url)
    assert (read["host"], read["password"]) == (host, password)


def test_every_option_that_the_library_knows_may_stand_in_a_database_url() -> None:
    from psycopg import pq

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    assert known <= DATABASE_OPTIONS


@pytest.mark.parametrize("variable", [v for v in variables() if v.secret], ids=lambda v: v.name)
def test_the_documented_example_of_a_secret_is_itself_a_placeholder(variable) -> None:  # type: ignore[no-untyped-def]
    problems = problems_of(EmbeddedSettings, {**PRODUCTION, variable.name: variable.examples[0]})
    assert any(problem.startswith(f"{variable.name}: still holds a placeholder") for problem in problems)


def test_real_secrets_are_accepted() -> None:
    assert load(ApiSettings, {**PRODUCTION, "GROUNDSWELL_QDRANT_API_KEY": "eyJhbGciOi.k7Jq2Vx9pW"}).qdrant_api_key


def test_a_secret_is_never_shown() -> None:
    settings = load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": DATABASE})
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s %r", (settings, settings.database_url), None)
    shown = [repr(settings), str(settings.database_url), f"{settings.database_url:>20}", record.getMessage()]
    assert not any("k7Jq2Vx9" in text for text in shown)
    assert settings.database_url is not None
    assert settings.database_url.reveal() == DATABASE
    with pytest.raises(TypeError):
        msgspec.json.encode(settings)
    with pytest.raises(TypeError):
        pickle.dumps(settings.database_url)


def test_a_problem_with_a_secret_does_not_quote_it() -> None:
    for wrong in ("mysql://root:k7Jq2Vx9@db/x", "postgresql://u:k7Jq2Vx9@[::1/x", "postgresql://u:k7Jq2Vx9@a\u2100b/x"):
        (problem,) = problems_of(ApiSettings, {"GROUNDSWELL_DATABASE_URL": wrong})
        assert "k7Jq2Vx9" not in problem


# ------------------------------------------------------------------ unknown names and files
@pytest.mark.parametrize("name", ["GROUNDSWELL_COLOUR_OF_THE_SKY", "GROUNDSWELL_FOO"])
def test_an_unknown_variable_without_a_likely_meaning_is_named_too(name: str) -> None:
    (problem,) = problems_of(EmbeddedSettings, {name: "blue"})
    assert "`groundswell env list`" in problem


def test_a_variable_in_the_wrong_case_is_recognised() -> None:
    (problem,) = problems_of(EmbeddedSettings, {"groundswell_source": "jetstream"})
    assert "Did you mean GROUNDSWELL_SOURCE?" in problem


def test_other_programs_variables_are_none_of_our_business() -> None:
    assert load(EmbeddedSettings, {"PATH": "/bin", "DATABASE_URL": "x"}).database_url is None


def test_a_dotenv_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("GROUNDSWELL_API_PORT=9001\nGROUNDSWELL_SOURCE=jetstream\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROUNDSWELL_SOURCE", "simulator")
    settings = load(EmbeddedSettings)
    assert (settings.api_port, settings.source) == (9001, "simulator")


def test_a_dotenv_file_may_have_comments_quotes_and_exports() -> None:
    text = """
    # a comment
    export A=1
    B = "two # words"  # said
    C='three'
    D=four # and a comment
    E=five#not
    F=
    """
    expected = {"A": "1", "B": "two # words", "C": "three", "D": "four", "E": "five#not", "F": ""}
    assert parse_env_file(text) == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('A="posts" # was "posts-v1"', "posts"),
        ("A='posts' # it's \"new\"", "posts"),
        ('A="say \\"hi\\" \\\\ now" # "x"', 'say "hi" \\ now'),
        ("A='it\\'s'", "it's"),
        ('A="C:\\data"', "C:\\data"),
        ('A="two\nlines" # and a comment', "two\nlines"),
        ("A='two\nlines'", "two\nlines"),
        ("A=$HOME/${B}$$", "$HOME/${B}$$"),
        ('A="$HOME"', "$HOME"),
        ("export\tA = x", "x"),
        ("A= # nothing but a comment", ""),
        ("A=''", ""),
        ("A=a=b==", "a=b=="),
        ("A=postgresql://u:p#w@h/d # the database", "postgresql://u:p#w@h/d"),
        ("A=one\nA=two", "two"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_dotenv_file_is_read_as_people_and_their_editors_write_it(
    tmp_path: Path, line: str, value: str, newline: str, encoding: str
) -> None:
    text = f"# ü\n\n{line}\nB=after\n".replace("\n", newline)
    (tmp_path / ".env").write_bytes(text.encode(encoding))
    found = read_env_file(tmp_path / ".env")
    assert (found["A"].replace("\r\n", "\n"), found["B"]) == (value, "after")


def test_an_empty_variable_of_the_environment_does_not_hide_the_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("GROUNDSWELL_API_PORT=9001\nGROUNDSWELL_SOURCE=\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    for empty in ("", " "):
        monkeypatch.setenv("GROUNDSWELL_API_PORT", empty)
        settings = load(EmbeddedSettings)
        assert (settings.api_port, settings.source) == (9001, "simulator")
        assert origin_of("GROUNDSWELL_API_PORT") == ".env"


def test_an_empty_variable_that_nothing_reads_counts_as_unset() -> None:
    assert load(EmbeddedSettings, {"GROUNDSWELL_SUORCE": ""}).source == "simulator"


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("this is not a setting\n", 3),
        ("A: 1\n", 3),
        ("A\n", 3),
        ("set A=1\n", 3),
        ("\n\n  1A=2\n", 5),
        ('A="hunter2" "two"\n', 3),
        ('A="hunter2\nC=1\n', 3),
        ("A='hunter2\n", 3),
        ('"A"=hunter2\n', 3),
    ],
)
def test_a_dotenv_error_names_file_and_line_and_keeps_the_value_to_itself(
    tmp_path: Path, wrong: str, line: int
) -> None:
    (tmp_path / ".env").write_text(f"# comment\nB=1\n{wrong}", "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_environment(tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path / '.env'}:{line}: ")
    assert "hunter2" not in problem


def test_a_broken_dotenv_line_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GROUNDSWELL_API_PORT=1\nthis is not a setting\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_environment(tmp_path)
    assert "line 2" in caught.value.problems[0]


def test_a_dotenv_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_environment(tmp_path)
    (tmp_path / ".env").write_bytes(b"A=1\nB=\xe4\n")
    with pytest.raises(ConfigError, match=r"\.env:2: .*UTF-8"):
        read_environment(tmp_path)


@given(st.sampled_from(variables()), st.text(max_size=40))
def test_no_text_makes_a_variable_fail_in_an_unforeseen_way(variable, text: str) -> None:  # type: ignore[no-untyped-def]
    try:
        parse_value(variable, text)
    except ValueError as error:
        assert str(error)


@given(st.dictionaries(st.sampled_from([v.name for v in variables()]), st.text(max_size=30)), st.sampled_from(SETTINGS))
def test_no_environment_makes_loading_fail_in_an_unforeseen_way(environ: dict[str, str], kind: type) -> None:
    try:
        load(kind, environ)
    except ConfigError as error:
        assert error.problems
