"""Known vulnerabilities are read from what pip-audit and npm print, and a service that is away is no clean bill."""

from __future__ import annotations

import io
import json

import pytest

from scripts import advisories
from scripts.advisories import Advisory, Unreachable, check, read_npm_audit, read_pip_audit

PIP_AUDIT = {
    "dependencies": [
        {"name": "anyio", "version": "4.16.0", "vulns": []},
        {
            "name": "requests",
            "version": "2.31.0",
            "vulns": [
                {"id": "PYSEC-2024-1", "fix_versions": ["2.32.0"], "aliases": ["CVE-2024-35195"], "description": "…"},
                {"id": "GHSA-9hjg-9r4m-mvj7", "fix_versions": [], "aliases": [], "description": "…"},
            ],
        },
    ],
    "fixes": [],
}
NPM_AUDIT = {
    "auditReportVersion": 2,
    "vulnerabilities": {
        "braces": {
            "name": "braces",
            "severity": "high",
            "isDirect": False,
            "via": [
                {
                    "source": 1098094,
                    "name": "braces",
                    "title": "Uncontrolled resource consumption in braces",
                    "url": "https://github.com/advisories/GHSA-grv7-fg5c-xmjg",
                    "severity": "high",
                    "range": "<3.0.3",
                }
            ],
            "effects": ["micromatch"],
            "range": "<3.0.3",
            "fixAvailable": True,
        },
        "micromatch": {
            "name": "micromatch",
            "severity": "high",
            "via": ["braces"],
            "range": "*",
            "fixAvailable": False,
        },
    },
    "metadata": {"vulnerabilities": {"high": 2, "total": 2}},
}
NPM_REFUSED = {
    "message": "405 Method Not Allowed - POST https://registry.example/-/npm/v1/security/advisories/bulk",
    "method": "POST",
    "statusCode": 405,
    "body": "",
    "error": {"summary": "", "detail": ""},
}
REQUESTS = Advisory("requests", "2.31.0", "PYSEC-2024-1", "fixed in 2.32.0")


def test_what_pip_audit_knows_of_a_pin_is_named_with_its_remedy() -> None:
    assert read_pip_audit(json.dumps(PIP_AUDIT)) == [
        REQUESTS,
        Advisory("requests", "2.31.0", "GHSA-9hjg-9r4m-mvj7", "no fix yet"),
    ]


def test_what_npm_knows_is_named_once_at_the_package_that_has_it() -> None:
    assert read_npm_audit(json.dumps(NPM_AUDIT)) == [
        Advisory("braces", "<3.0.3", "GHSA-grv7-fg5c-xmjg", "fix: npm audit fix")
    ]


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("", "an empty answer"),
        ("ERROR:pip_audit: 503 Server Error\nTraceback", "ERROR:pip_audit: 503 Server Error"),
        ("[]", r"\[\]"),
        (json.dumps(NPM_REFUSED), "405 Method Not Allowed"),
    ],
)
def test_an_answer_that_is_no_report_is_no_report_of_nothing(output: str, why: str) -> None:
    for read in (read_pip_audit, read_npm_audit):
        with pytest.raises(Unreachable, match=why):
            read(output)


def test_an_index_that_knows_no_version_is_not_taken_for_one_that_knows_no_vulnerability() -> None:
    unknown = {"name": "numpy", "skip_reason": "Dependency not found on PyPI"}
    with pytest.raises(Unreachable, match="1 of 3 packages: Dependency not found"):
        read_pip_audit(json.dumps({"dependencies": [*PIP_AUDIT["dependencies"], unknown]}))


@pytest.mark.parametrize("answer", [b'{"vulnerabilities": []}', b"<html>Sign in</html>", b"{}"])
def test_a_mirror_without_advisories_is_skipped(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(answer))
    with pytest.raises(Unreachable):
        advisories.ask_pypi("requirements.lock")


def test_a_service_that_is_away_is_skipped_with_its_reason_and_the_others_are_asked() -> None:
    def away() -> list[Advisory]:
        raise Unreachable("HTTP Error 404: Not Found")

    lines = list(check({"one.lock": away, "other.lock": lambda: [REQUESTS], "third.lock": list}))
    assert lines == [
        ("one.lock: skipped, the advisory service gave no answer: HTTP Error 404: Not Found", False),
        ("other.lock: 1 known vulnerabilities", False),
        ("  requests 2.31.0: PYSEC-2024-1, fixed in 2.32.0", True),
        ("third.lock: 0 known vulnerabilities", False),
    ]


def test_what_is_accepted_for_a_reason_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advisories, "ACCEPTED", {"PYSEC-2024-1": "only with verify=False, which nothing here sets"})
    assert list(check({"one.lock": lambda: [REQUESTS, REQUESTS]})) == [
        ("one.lock: 0 known vulnerabilities, 1 accepted", False)
    ]


def test_a_question_to_a_service_that_cannot_be_reached_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def away(url: str, **_: object) -> object:
        asked.append(url)
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", away)
    with pytest.raises(Unreachable, match="not known"):
        advisories.ask_pypi("requirements.lock")
    assert asked == [advisories.PROBE]
