"""Logs without secrets, and metrics that stay bounded."""

from __future__ import annotations

import json
import logging
import sys

from groundswell.configuration.secret import Secret
from groundswell.health import probe
from groundswell.metrics import MAX_SERIES, Metrics
from groundswell.observability import JsonFormatter, MaskingFormatter, configure_logging


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("groundswell.test", logging.WARNING, "", 0, message, arguments, None)
    made.__dict__.update(extra)
    return made


def test_a_json_line_carries_time_level_message_and_extras() -> None:
    said = json.loads(JsonFormatter().format(record("stored %d", 3, source="simulator", cursor=7)))
    assert said.pop("ts").endswith("Z")
    assert said == {
        "level": "warning",
        "logger": "groundswell.test",
        "message": "stored 3",
        "source": "simulator",
        "cursor": 7,
    }


def test_an_exception_is_logged_with_its_traceback_on_the_same_line() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        failed = record("it failed")
        failed.exc_info = sys.exc_info()
    text = JsonFormatter().format(failed)
    assert "\n" not in text
    assert "ZeroDivisionError" in json.loads(text)["error"]


def test_known_secrets_and_passwords_in_urls_are_masked_in_either_style() -> None:
    kept = [Secret('tricky"secret\\'), Secret("k3pt-apart")]
    leaky = record('key tricky"secret\\ and %s', "postgresql://u:hunter2@db/x", token="k3pt-apart")
    for formatter in (JsonFormatter(), MaskingFormatter()):
        text = formatter.format(leaky)
        assert not [secret for secret in ("hunter2", "tricky", "k3pt-apart") if secret in text], kept
    json.loads(JsonFormatter().format(leaky))


def test_control_characters_never_reach_a_log_in_either_style() -> None:
    forging = "/\n18:00:00 INFO fake\x1b[2J\x1b]0;pwned\x07\x00\x9b31m\u2028\u202e"
    try:
        raise ValueError(forging)
    except ValueError:
        failed = record("GET %s failed", forging, path=forging)
        failed.exc_info = sys.exc_info()
    for text in (JsonFormatter().format(failed), MaskingFormatter().format(failed)):
        assert not [c for c in text.replace("\n", "") if not c.isprintable()]
        assert "\\u001b[2J" in text
        assert not [line for line in text.split("\n") if line.startswith("18:00:00")]
    assert json.loads(JsonFormatter().format(failed))["path"] == forging


def test_configured_logging_masks_the_settings_secrets(capfd) -> None:  # type: ignore[no-untyped-def]
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        kept = Secret("k7Jq2Vx9")
        configure_logging(level="info", style="json")
        logging.getLogger("anything").error("signed with k7Jq2Vx9")
        logging.getLogger("httpx").info("chatter")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    said = capfd.readouterr().err
    assert kept.reveal() not in said
    assert "chatter" not in said
    assert json.loads(said)["message"] == "signed with …"


def test_counters_gauges_and_histograms_are_shown_in_the_text_format() -> None:
    metrics = Metrics()
    metrics.inc("frames_ignored_total", label='odd "one"')
    metrics.inc("posts_stored_total", 5)
    metrics.set("outbox_depth", 3)
    metrics.observe("commit_seconds", 0.02)
    metrics.observe("commit_seconds", 99)
    shown = metrics.render()
    assert 'groundswell_frames_ignored_total{reason="odd \\"one\\""} 1' in shown
    assert "groundswell_posts_stored_total 5" in shown
    assert "groundswell_outbox_depth 3" in shown
    assert 'groundswell_commit_seconds_bucket{le="0.01"} 0' in shown
    assert 'groundswell_commit_seconds_bucket{le="0.025"} 1' in shown
    assert 'groundswell_commit_seconds_bucket{le="+Inf"} 2' in shown
    assert "groundswell_commit_seconds_count 2" in shown


def test_label_values_are_bounded() -> None:
    metrics = Metrics()
    for number in range(10 * MAX_SERIES):
        metrics.inc("frames_ignored_total", label=str(number))
    shown = [line for line in metrics.render().splitlines() if line.startswith("groundswell_frames_ignored_total{")]
    assert len(shown) == MAX_SERIES + 1
    assert metrics.value("frames_ignored_total", label="other") == 9 * MAX_SERIES


def test_a_service_is_ready_when_what_it_requires_answers_and_degraded_by_the_rest() -> None:
    import asyncio

    async def fine() -> str:
        return "answers"

    async def broken() -> str:
        raise OSError("connection refused")

    async def silent() -> str:
        await asyncio.Event().wait()
        return ""

    health = asyncio.run(
        probe("api", {"postgres": fine, "schema": fine, "qdrant": broken, "source": silent}, limit_s=0.05)
    )
    assert health.ready
    assert health.degraded == ["qdrant", "source"]
    details = {part.part: part.detail for part in health.parts}
    assert details["qdrant"] == "OSError: connection refused"
    assert "no answer" in details["source"]
    assert not asyncio.run(probe("api", {"postgres": broken, "schema": fine})).ready
