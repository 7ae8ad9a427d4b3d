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
_OPTION_VALUES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "sslnegotiation": ("postgres", "direct"),
    "load_balance_hosts": ("disable", "random"),
}
"""libpq checks these only when it connects."""
_NUMERIC_OPTIONS = frozenset(
    ("connect_timeout", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout")
)
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
    """Read the address as libpq does (PostgreSQL documentation, 32.1.1.2), and refuse what it would read otherwise.

    Nothing of the address is quoted: what stands in the wrong place may be a part of the password.
    """
    _check_password_signs(text)
    if not hosts_of(text) and "host=" not in query:
        raise ValueError("names no host")
    if not path:
        raise ValueError("names no database")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.keys() - DATABASE_OPTIONS:
        raise ValueError("has an option, after the `?`, that Postgres's client library does not know")
    for entry in re.split(r"[/?]", _hosts_and_rest(text), maxsplit=1)[0].split(","):
        _check_host(entry)
    _check_port(options.get("port", ""))
    for name, known in _OPTION_VALUES.items():
        if name in options and options[name] not in known:
            raise ValueError(f"has a value of {name} that Postgres's client library does not know ({', '.join(known)})")
    for name in _NUMERIC_OPTIONS & options.keys():
        if not re.fullmatch(r"-?\d{1,9}", options[name], re.ASCII):
            raise ValueError(f"has a value of {name} that is no whole number")


def _check_password_signs(text: str) -> None:
    rest = text.partition("://")[2]
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise ValueError("has a `%` without two hexadecimal digits after it (write `%` itself as `%25`)")
    if "%00" in text:
        raise ValueError("has a `%00`, which nothing in it can hold")
    if "#" in text:
        raise ValueError("has a `#` (in a name or a password write it as `%23`)")
    name = re.split(r"[@/?]", rest, maxsplit=1)[0]
    stop = rest[len(name) : len(name) + 1]
    if stop in {"/", "?"} and "@" in rest and not re.match(r"[^@]*[?&]\w+=", rest):
        code = "%2F" if stop == "/" else "%3F"
        raise ValueError(f"has a `{stop}` before the `@` (in a name or a password write it as `{code}`)")
    if "@" in re.split(r"[/?]", _hosts_and_rest(text), maxsplit=1)[0]:
        raise ValueError("has more than one `@` before the host (in a name or a password write it as `%40`)")


def _hosts_and_rest(text: str) -> str:
    """Return what follows the user's name and password, which end at the first `@` that no slash precedes."""
    rest = text.partition("://")[2]
    login = re.match(r"[^@/]*@", rest)
    return rest[login.end() :] if login is not None else rest


def _check_host(entry: str) -> None:
    match = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+(?:%[\w.]+)?\]|[^\[\]:]*)(?::([^:]*))?", entry)
    if match is None:
        raise ValueError("has a host with colons or brackets in it (write an IPv6 address as `[::1]:5432`)")
    _check_port(match[1] or "")


def _check_port(port: str) -> None:
    if any(
        one and (not re.fullmatch(r"\d{1,5}", one, re.ASCII) or not 1 <= int(one) <= 65535) for one in port.split(",")
    ):
        raise ValueError("has a port that is not a number from 1 to 65535")


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
