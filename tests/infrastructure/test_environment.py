"""What a deployed service finds in its environment, and what does not get that far."""

from __future__ import annotations

import pytest
from aws_cdk import Token

from cdk.environment import EVERYTHING, SecretReference, environment_for, schema
from deployment.knobs import DeploymentError
from groundswell import settings
from groundswell.configuration.references import is_reference

SECRET = SecretReference(
    "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf", "secretsmanager:GetSecretValue"
)
GIVEN: dict[str, object] = {"GROUNDSWELL_DATABASE_URL": SECRET, "GROUNDSWELL_SOURCE": "jetstream"}


def problem(service: str, values: dict[str, object]) -> str:
    with pytest.raises(DeploymentError) as caught:
        environment_for(service, values)
    return str(caught.value)


def test_a_service_gets_the_values_that_it_reads_and_the_defaults_of_the_rest() -> None:
    found = environment_for("relay", {**GIVEN, "GROUNDSWELL_API_PORT": 9000, "GROUNDSWELL_BATCH_MAX_POSTS": 512})
    assert found.variables["GROUNDSWELL_BATCH_MAX_POSTS"] == "512"
    assert found.variables["GROUNDSWELL_BATCH_MAX_AGE_MS"] == "100"
    assert "GROUNDSWELL_API_PORT" not in found.variables
    hosts = schema()["GROUNDSWELL_JETSTREAM_HOSTS"]["default"]
    assert found.variables["GROUNDSWELL_JETSTREAM_HOSTS"] == ",".join(hosts)


def test_a_secret_is_named_by_where_it_lies() -> None:
    found = environment_for("api", GIVEN)
    assert found.variables["GROUNDSWELL_DATABASE_URL"] == SECRET.arn
    assert list(found.references) == [SECRET]
    assert is_reference(SECRET.arn)


def test_what_the_program_reads_it_can_start_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundswell.settings.resolve", lambda _: "postgresql://g:s3cr3t-long@db.internal/groundswell")
    for kind in settings.SETTINGS:
        if kind.service in ("relay", "api", "migrate"):
            found = environment_for(kind.service, {**GIVEN, "GROUNDSWELL_ENVIRONMENT": "production"})
            assert settings.load(kind, dict(found.variables))


def test_the_task_that_is_everything_gets_everything() -> None:
    found = environment_for(EVERYTHING, {**GIVEN, "GROUNDSWELL_REPORT_TOPIC": "arn:aws:sns:us-east-1:123456789012:t"})
    unset = {name for name, rule in schema().items() if rule["default"] in ("", [])}
    assert set(schema()) - unset <= set(found.variables)


def test_a_required_variable_without_a_value_is_named() -> None:
    message = problem("relay", {"GROUNDSWELL_SOURCE": "jetstream"})
    assert message.startswith("GROUNDSWELL_DATABASE_URL: relay needs it and nothing gives it a value.")
    assert '"secrets": {"GROUNDSWELL_DATABASE_URL": "/groundswell/database_url"}' in message


def test_an_unknown_variable_is_named_with_what_was_meant() -> None:
    message = problem("relay", {**GIVEN, "GROUNDSWELL_SOURCES": "jetstream"})
    assert "GROUNDSWELL_SOURCES: nothing reads this variable. Did you mean GROUNDSWELL_SOURCE?" in message


def test_a_secret_that_is_written_out_is_refused_and_not_repeated() -> None:
    message = problem("api", {**GIVEN, "GROUNDSWELL_QDRANT_API_KEY": "hunter2-hunter2"})
    assert "GROUNDSWELL_QDRANT_API_KEY: is a secret and would be readable in the template." in message
    assert "hunter2" not in message


def test_a_reference_where_a_value_belongs_is_refused() -> None:
    assert "GROUNDSWELL_SOURCE: is no secret" in problem("relay", {**GIVEN, "GROUNDSWELL_SOURCE": SECRET})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GROUNDSWELL_SOURCE", "twitter"),
        ("GROUNDSWELL_BATCH_MAX_POSTS", 0),
        ("GROUNDSWELL_BATCH_MAX_POSTS", "many"),
        ("GROUNDSWELL_QDRANT_COLLECTION", "no spaces here"),
        ("GROUNDSWELL_JETSTREAM_COLLECTIONS", "app.bsky.feed.post,nonsense"),
    ],
)
def test_a_value_that_the_service_would_refuse_does_not_deploy(name: str, value: object) -> None:
    message = problem("relay", {**GIVEN, name: value})
    assert message.startswith(f"{name}: ")
    assert "cdk/cdk.json" in message


def test_a_value_that_is_known_at_deploy_passes() -> None:
    url = Token.as_string({"Fn::GetAtt": ["Api", "Url"]})
    assert (
        environment_for("api", {**GIVEN, "GROUNDSWELL_PUBLIC_WS_URL": url}).variables["GROUNDSWELL_PUBLIC_WS_URL"]
        == url
    )


def test_every_problem_is_named_at_once() -> None:
    values: dict[str, object] = {"GROUNDSWELL_SOURCE": "x", "GROUNDSWELL_NOTHING": "1"}
    assert len(problem("relay", values).splitlines()) == 3
