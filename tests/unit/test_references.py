"""Secrets that the environment only names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from groundswell.configuration.authorities import RDS_AUTHORITIES
from groundswell.configuration.references import resolve
from groundswell.errors import ConfigError
from groundswell.settings import ApiSettings, load

PASSWORD = "p@ss/word:with?signs"
US_EAST = str(RDS_AUTHORITIES / "us-east-1.pem")
RDS = {"engine": "postgres", "host": "db.abc.us-east-1.rds.amazonaws.com", "port": 5432, "username": "groundswell"}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    httpx.post(f"http://{host}:{port}/moto-api/reset")
    yield
    server.stop()


def test_a_database_is_found_through_the_secret_that_rds_keeps() -> None:
    text = json.dumps({**RDS, "password": PASSWORD, "dbname": "groundswell"})
    made = boto3.client("secretsmanager", "us-east-1").create_secret(Name="db", SecretString=text)
    chosen = load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": made["ARN"], "GROUNDSWELL_ENVIRONMENT": "production"})
    assert chosen.database_url.reveal() == (
        "postgresql://groundswell:p%40ss%2Fword%3Awith%3Fsigns@db.abc.us-east-1.rds.amazonaws.com:5432/groundswell"
        "?sslmode=verify-full&sslrootcert=" + US_EAST
    )


def test_a_key_is_read_from_the_parameter_store() -> None:
    boto3.client("ssm", "eu-west-1").put_parameter(Name="/gs/qdrant-key", Value="k" * 32, Type="SecureString")
    arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/gs/qdrant-key"
    chosen = load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": "postgresql://u@h/d", "GROUNDSWELL_QDRANT_API_KEY": arn})
    assert chosen.qdrant_api_key is not None
    assert chosen.qdrant_api_key.reveal() == "k" * 32


def test_a_reference_that_leads_nowhere_is_named_with_its_variable() -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:gone-AbCdEf"
    with pytest.raises(ConfigError) as caught:
        load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": arn})
    (problem,) = caught.value.problems
    assert problem.startswith("GROUNDSWELL_DATABASE_URL: ")
    assert "this role may read it" in problem


def test_a_secret_is_read_anew_after_it_was_rotated() -> None:
    client = boto3.client("secretsmanager", "us-east-1")
    made = client.create_secret(Name="db", SecretString=json.dumps({**RDS, "password": PASSWORD, "dbname": "g"}))
    url = load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": made["ARN"]}).database_url
    client.put_secret_value(SecretId="db", SecretString=json.dumps({**RDS, "password": "new-one", "dbname": "g"}))
    assert "p%40ss" in url.reveal()
    assert (
        url.reveal_anew()
        == f"postgresql://groundswell:new-one@{RDS['host']}:5432/g?sslmode=verify-full&sslrootcert={US_EAST}"
    )
    client.delete_secret(SecretId="db", ForceDeleteWithoutRecovery=True)
    with pytest.raises(ValueError, match="this role may read it"):
        url.reveal_anew()


def test_a_secret_that_was_written_out_stays_what_it_is() -> None:
    url = load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": "postgresql://u:pw@h/d"}).database_url
    assert url.reveal_anew() == url.reveal()


@pytest.mark.parametrize("text", [json.dumps({"username": "u", "password": PASSWORD}), "{not json"])
def test_json_that_is_no_rds_secret_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": text})
    (problem,) = caught.value.problems
    assert "RDS secret" in problem
    assert PASSWORD not in problem


def test_without_the_package_that_asks_a_reference_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.setitem(sys.modules, name, None)
    # Credentials that are not among the variables are found by that package.
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/gs/qdrant-key"
    with pytest.raises(ConfigError, match=r"QDRANT_API_KEY.*Install groundswell\[aws\]"):
        load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": "postgresql://u@h/d", "GROUNDSWELL_QDRANT_API_KEY": arn})


def test_an_endpoint_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
    with pytest.raises(ValueError, match=r"cannot be read \(.*refused"):
        resolve(arn)


def test_each_service_is_asked_at_its_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    made = boto3.client("secretsmanager", "us-east-1").create_secret(Name="s", SecretString="text")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert resolve(made["ARN"]) == "text"


def test_reading_a_secret_loads_no_client_of_boto3() -> None:
    made = boto3.client("secretsmanager", "us-east-1").create_secret(Name="s", SecretString="text")
    program = (
        "import sys; from groundswell.configuration.references import resolve;"
        f"assert resolve({made['ARN']!r}) == 'text';"
        "assert not {'boto3', 'botocore.client', 'botocore.session'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_a_reference_holds_counts_as_if_it_stood_in_the_environment() -> None:
    client = boto3.client("secretsmanager", "us-east-1")
    ended = client.create_secret(Name="with-newline", SecretString="k" * 32 + "\n")["ARN"]
    empty = client.create_secret(Name="empty", SecretString=" \n")["ARN"]
    environ = {"GROUNDSWELL_DATABASE_URL": "postgresql://u@h/d", "GROUNDSWELL_QDRANT_API_KEY": ended}
    key = load(ApiSettings, environ).qdrant_api_key
    assert key is not None
    assert key.reveal() == "k" * 32
    assert load(ApiSettings, {**environ, "GROUNDSWELL_QDRANT_API_KEY": empty}).qdrant_api_key is None
