"""URLs in one spelling, and whether a host can be reached from outside.

One rule for slashes: a stored URL never ends in one, so `f"{url}/v1/posts"` is always right.
"""

from __future__ import annotations

import ipaddress
import json
import re
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit, urlunsplit

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_ENCRYPTED = {"https", "wss"}
_DATABASES = {"postgresql", "postgres"}
_INTERNAL_SUFFIXES = (
    ".localhost",
    ".internal",
    ".local",
    ".lan",
    ".intranet",
    ".corp",
    ".home",
    ".home.arpa",
    ".svc",
)
DATABASE_OPTIONS = frozenset(
    """
    application_name channel_binding client_encoding connect_timeout dbname fallback_application_name
    gssdelegation gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval
    krbsrvname load_balance_hosts max_protocol_version min_protocol_version oauth_client_id oauth_client_secret
    oauth_issuer oauth_scope options passfile password port replication require_auth requirepeer requiressl
    scram_client_key scram_server_key service servicefile ssl ssl_max_protocol_version ssl_min_protocol_version
    sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslkeylogfile sslmode sslnegotiation sslpassword
    sslrootcert sslsni target_session_attrs tcp_user_timeout user
    """.split()  # noqa: SIM905 -- fifty names, one a line otherwise
)
"""What libpq knows in a URL. A test holds it against the library."""
_ENCRYPTED_SSL_MODES = {"require", "verify-ca", "verify-full"}


def normalise_url(text: str, *, schemes: tuple[str, ...], default_path: str = "") -> str:
    """`text` in its one spelling: lower-case scheme and host, no default port, no trailing slash.

    A bare host name gets the first of `schemes` and `default_path`, where there is a `default_path`.

    Raises:
        ValueError: what is wrong with it, as the end of a sentence.
    """
    if default_path and "://" not in text:
        text = f"{schemes[0]}://{text}"
    if re.search(r"\s", text):
        raise ValueError("contains white space")
    try:
        parts = urlsplit(text)
    except ValueError:
        # The library's message quotes what it was given, passwords included.
        raise ValueError("is not a valid address") from None
    scheme = parts.scheme.lower()
    if scheme not in schemes or "://" not in text:
        raise ValueError(f"does not start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    path = parts.path.rstrip("/")
    if scheme in _DATABASES:
        _check_database_url(text, path, parts.query)
        return urlunsplit((scheme, parts.netloc, path, parts.query, ""))
    try:
        port = parts.port
    except ValueError:
        raise ValueError("has a port that is not a number from 0 to 65535") from None
    host = parts.hostname
    if not host or not re.fullmatch(r"[a-z0-9._:-]+", host):
        raise ValueError("names no valid host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("carries a user name or password, which do not belong in it")
    if parts.query or parts.fragment:
        raise ValueError("carries a query or fragment, which do not belong in it")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        netloc += f":{port}"
    return urlunsplit((scheme, netloc, path or default_path, "", ""))


def _check_database_url(text: str, path: str, query: str) -> None:
    if not hosts_of(text) and "host=" not in query:
        raise ValueError("names no host")
    if not path:
        raise ValueError("names no database")
    if {name for name, _ in parse_qsl(query, keep_blank_values=True)} - DATABASE_OPTIONS:
        # Not quoted: a password with an unescaped `?` ends up here.
        raise ValueError("has an option, after the `?`, that Postgres's client library does not know")
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise ValueError("has a `%` without two hexadecimal digits after it (write `%` itself as `%25`)")


def database_url_of(text: str) -> str:
    """The URL of a database from the JSON that RDS keeps in its secret. Its certificate is verified.

    Raises:
        ValueError: what is wrong with it, as the end of a sentence.
    """
    try:
        said = json.loads(text)
        host, port, user, password = said["host"], int(said.get("port", 5432)), said["username"], said["password"]
        name = said.get("dbname") or "postgres"
    except (ValueError, TypeError, KeyError, AttributeError):
        # The library's message would quote what it was given, the password included.
        raise ValueError("is JSON, but not that of an RDS secret (host, username, password, dbname)") from None
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{login}@{host}:{port}/{quote(name)}?sslmode=verify-full"


def hosts_of(url: str) -> list[str]:
    """Every host that a URL names; none for a database reached through a socket file."""
    parts = urlsplit(url)
    if parts.scheme.lower() not in _DATABASES:
        return [parts.hostname] if parts.hostname else []
    listed = parts.netloc.rpartition("@")[2].split(",")
    return [host for entry in listed if (host := re.sub(r":\d*$", "", entry).strip("[]").lower())]


def is_internal_host(host: str) -> bool:
    """Whether only machines nearby can resolve or reach it: loopback, private ranges, service names."""
    name = host.rstrip(".").lower().strip("[]")
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        last = name.rpartition(".")[2]
        return "." not in name or last.isdigit() or name.endswith(_INTERNAL_SUFFIXES)
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


def is_encrypted(url: str) -> bool:
    """Whether what is sent there cannot be read on the way."""
    parts = urlsplit(url)
    if parts.scheme in _DATABASES:
        modes = parse_qs(parts.query).get("sslmode", ["prefer"])
        return modes[-1] in _ENCRYPTED_SSL_MODES
    return parts.scheme in _ENCRYPTED


def password_of(url: str) -> str | None:
    parts = urlsplit(url)
    userinfo = parts.netloc.rpartition("@")[0]
    _, colon, password = userinfo.partition(":")
    return unquote(password) if colon else None
