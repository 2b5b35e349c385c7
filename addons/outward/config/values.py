"""Values as people write them: `30d`, `10MiB`, `127.0.0.1:8080`, `10.1.0.0/16`. Pure readers that raise ValueError."""

import re
from ipaddress import ip_address, ip_network
from math import isfinite
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from outward.core.addresses import Address, Network
from outward.core.names import Host, canonical_host

_NUMBER = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s?([A-Za-z]*)")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_BYTES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
DEFAULT_PORTS = {"https": 443, "http": 80}
_NO_PARENT = "expected `http://host:port`, with `user:password@` before the host where the parent asks"


def seconds(text: str) -> float:
    """Read a duration: a number with `ms`, `s`, `m`, `h`, `d` or `w`; seconds where none is written."""
    value = _scaled(text, _SECONDS, "a duration, such as `10s`, `5m`, `12h` or `30d`")
    if not isfinite(value) or value <= 0:
        raise ValueError("a duration longer than nothing")
    return value


def size(text: str) -> int:
    """Read a size in bytes: a number with `KiB`, `MiB`, `GiB`, `kB`, `MB` or `GB`."""
    return int(_scaled(text, _BYTES, "a size, such as `64KiB` or `10MiB`"))


def _scaled(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"expected {wanted}")
    return float(match[1]) * units[match[2]]


def whole(text: str) -> int:
    """Read a whole number in decimal digits."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,11}", text):
        raise ValueError("expected a whole number")
    return int(text)


def rate(text: str) -> float:
    """Read a number above zero, with up to six decimals."""
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] or not float(match[1]):
        raise ValueError("expected a number above 0, such as `50` or `0.5`")
    return float(match[1])


def flag(text: str) -> bool:
    """Read `true` or `false`; nothing else, so that no word has two meanings."""
    if text not in ("true", "false"):
        raise ValueError("expected `true` or `false`")
    return text == "true"


def endpoint(text: str) -> tuple[str, int]:
    """Read `address:port` of a listener; port 0 picks a free one."""
    host, _colon, port = text.rpartition(":")
    if not host or not _PORT.fullmatch(port) or int(port) > 65_535:
        raise ValueError("expected an address and a port, such as `127.0.0.1:8080`")
    return host_name(host), int(port)


def server(text: str) -> tuple[str, int]:
    """Read `address[:port]` of a DNS server; port 53 where none is written."""
    try:
        return str(ip_address(text.removeprefix("[").removesuffix("]"))), 53
    except ValueError:
        host, port = endpoint(text)
        ip_address(host)
        return host, port


def network(text: str) -> Network:
    """Read an address or a CIDR network."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError("expected an address or a network, such as `10.1.0.0/16`") from error


def address(text: str) -> Address:
    """Read an address."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise ValueError("expected an address, such as `192.0.2.1`") from error


def host_name(text: str) -> str:
    """Read a host name to its canonical form."""
    return canonical_host(text).name


class ParentUrl(NamedTuple):
    """A parent proxy's URL, taken apart; the user and the password are percent-encoded, as they were written."""

    host: Host
    port: int
    user: str | None
    password: str | None


def parent_url(text: str) -> ParentUrl:
    """Take apart the URL of a parent proxy: `http://[user:password@]host:port`.

    Raises:
        ValueError: for anything else. The message does not repeat the URL.
    """
    try:
        parts = urlsplit(text)
        host, port = canonical_host(parts.netloc.rpartition("@")[2].rpartition(":")[0]), parts.port
    except ValueError:
        raise ValueError(_NO_PARENT) from None
    if parts.scheme != "http" or not port or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(_NO_PARENT)
    return ParentUrl(host, port, parts.username, parts.password)


def parent_proxy(text: str) -> str:
    """Read the URL of a parent proxy, and keep it as text."""
    parent_url(text)
    return text


def web_origin(text: str) -> str:
    """Read the address of a page, `https://name[:port]`, to the form that browsers give it (RFC 6454 6.2)."""
    wanted = "expected an address without a path, such as `https://outward.example.com`"
    try:
        parts = urlsplit(text)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        name, port = canonical_host(host or "").name, parts.port
    except ValueError:
        raise ValueError(wanted) from None
    odd = "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme not in DEFAULT_PORTS or odd:
        raise ValueError(wanted)
    name = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{name}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")


def issuer_url(text: str) -> str:
    """Read the address of a provider of identities, and keep it as its tokens have it."""
    try:
        parts = urlsplit(text)
        odd = parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc or parts.port == 0
    except ValueError:
        odd = True
    if odd or not text.isascii() or not text.isprintable() or " " in text or "?" in text or "#" in text:
        raise ValueError("expected the provider's address, such as `https://id.example.com/realms/company`")
    return text


def records_url(text: str) -> str:
    """Read the address of the store."""
    if text != "sqlite" and not re.match("sqlite:///.|postgres(ql)?://", text):
        raise ValueError("expected `sqlite`, `sqlite:///path` or `postgresql://user@host/database`")
    return text


def stream_url(text: str, place: str = "`token_env` or `token_file`") -> str:
    """Read the URL that audit events or notices are sent to; `place` is where its secret belongs."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except ValueError:  # whose message may quote a password
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text or "#" in text:
        raise ValueError(f"expected `https://host/path`, without a user; a secret belongs in {place}")
    return text


def otlp_url(text: str) -> str:
    """Read the URL of an OpenTelemetry collector; without a path it is the base that `/v1/logs` is added to."""
    url = stream_url(text, "`headers_file`")
    return f"{url.rstrip('/')}/v1/logs" if urlsplit(url).path in ("", "/") and not urlsplit(url).query else url


def anchor(text: str) -> str:
    """Read where the head of the audit chain is told to: an endpoint's URL, or the path of a file."""
    return stream_url(text, "the endpoint's own network") if "://" in text else text


def resolve_path(text: str, base: Path, home: str | None) -> Path:
    """Return a path as the file means it: `~` is the home folder, relative paths start at the file's own folder."""
    if text == "~" or text.startswith("~/"):
        return (Path(home) / text[2:]) if home else Path(text).expanduser()
    return base / text
