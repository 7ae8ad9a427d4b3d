"""Whose signature the database's certificate has to bear: the TLS part of a connection URL.

RDS signs with authorities of its own, three for each region, that no system trusts. Their certificates are part of the
package, so that a deployment verifies its database from the first connection on.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from groundswell.configuration.addresses import hosts_of

RDS_AUTHORITIES = Path(__file__).resolve().parent.parent / "rds_authorities"
"""A file for each region."""
_RDS_HOST = re.compile(r".+\.(?:([a-z0-9-]+)\.rds\.amazonaws\.com(?:\.cn)?|rds\.([a-z0-9-]+)\.amazonaws\.com\.cn)")


def rds_region_of(host: str) -> str:
    """The region that a host name of RDS belongs to; empty for any other name."""
    match = _RDS_HOST.fullmatch(host.rstrip(".").lower())
    return "" if match is None else match[1] or match[2]


def how_to_fetch(region: str) -> str:
    """The command that adds a region's authorities to a checkout."""
    target = f"groundswell/{RDS_AUTHORITIES.name}/{region}.pem"
    return f"curl -fo {target} https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem"


def rds_authority(region: str) -> Path:
    """The file with the authorities of `region`.

    Raises:
        ValueError: there is none; a sentence that says what to do.
    """
    found = RDS_AUTHORITIES / f"{region}.pem"
    if not found.is_file():
        raise ValueError(
            f"the certificate authorities of RDS in {region} are not part of this version. In a checkout run "
            f"`{how_to_fetch(region)}` and deploy again, or set GROUNDSWELL_DATABASE_CA to such a file."
        )
    return found


def verified(url: str, authority: str) -> str:
    """`url` so that the server's certificate and host name are verified.

    `authority` is `rds`, `system`, or the path of a PEM file. Empty: a URL that asks for `verify-full` and names no
    file is verified by RDS's authorities where the host is RDS's; all others stay as they are.

    Raises:
        ValueError: there is no such authority; a sentence that says what to do.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    regions = {rds_region_of(host) for host in hosts_of(url)} - {""}
    if not authority:
        if options.get("sslmode") != "verify-full" or options.get("sslrootcert") or not regions:
            return url
        authority = "rds"
    if authority == "rds":
        if len(regions) != 1:
            raise ValueError(
                "is `rds`, and the database's host is not a name of RDS, which ends in "
                ".{region}.rds.amazonaws.com. Set the path of the authority's certificate, or `system`."
            )
        authority = str(rds_authority(regions.pop()))
    elif authority != "system":
        path = Path(authority).expanduser()
        if not path.is_file():
            raise ValueError(f"there is no file {path}. Set the path of a certificate in PEM, `rds`, or `system`.")
        authority = str(path)
    options |= {"sslmode": "verify-full", "sslrootcert": authority}
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(options, safe="/"), ""))
