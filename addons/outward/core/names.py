"""The one canonicaliser for hosts and authorities.

Owns the meaning of "same host". Everything that names a host goes through `canonical_host`: CONNECT target, absolute
URI, Host, server name, rule, DNS question, dial. It refuses what it does not fully understand instead of repairing it.
Never resolves anything.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

MAX_NAME = 253  # RFC 1035 2.3.4, without the root's dot

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")  # what inet_aton(3) and WHATWG would read as an address
_IPV4 = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


# Names that mean something only near the proxy: `*` does not cover them (RFC 6761, 6762, 9476; container hosts).
_LOCAL_SUFFIXES = frozenset(
    {
        "localhost",
        "localdomain",
        "local",
        "internal",
        "intranet",
        "lan",
        "home",
        "corp",
        "private",
        "svc",
        "alt",
        "onion",
    }
)
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})
_LOCAL_NAMES = frozenset({"metadata.goog", "metadata.tencentyun.com"})


OWN_NAME = "outward.internal"  # what the proxy itself answers for; it is never resolved, dialled or tunnelled


class MalformedHostError(ValueError):
    """The text is not a host name, an address or an authority that every program would read alike."""


@dataclass(frozen=True, slots=True)
class Host:
    """A canonical host: a lower-case A-label name without trailing dot, or an address.

    Attributes:
        name: the name, or the address in its canonical text form (IPv6 without brackets).
        address: the parsed address for a literal, else None.
    """

    name: str
    address: IPv4Address | IPv6Address | None = None

    def __str__(self) -> str:
        return f"[{self.name}]" if isinstance(self.address, IPv6Address) else self.name


def canonical_host(text: str) -> Host:
    """Return the canonical form of a host as it may stand in an authority.

    Args:
        text: a name, an IPv4 address in dotted decimal, or an IPv6 address in brackets.

    Raises:
        MalformedHostError: for anything else: other spellings of addresses, zone ids, empty or long labels,
            control characters, percent-encoding, names that IDNA 2008 / UTS 46 refuses (RFC 5891, RFC 1123 2.1).

    Example:
        >>> canonical_host("EXAMPLE.com.").name
        'example.com'
    """
    if len(text) > MAX_NAME + 3:  # two brackets or one dot more
        raise MalformedHostError("the host name is longer than 253 octets")
    return _canonical(text)


@lru_cache(maxsize=8192)
def _canonical(text: str) -> Host:
    if text.startswith("["):
        return _ipv6_literal(text)
    name = text if text.isascii() else _to_ascii(text)
    name = name.lower().removesuffix(".")
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise MalformedHostError("not a host name")
    if _NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]):
        return _ipv4_literal(name, text)
    if "xn--" in name:
        _check_a_labels(name)
    return Host(name)


def _to_ascii(text: str) -> str:
    """Map a Unicode name to A-labels (UTS 46, non-transitional), without trailing dot; its dots must be plain dots."""
    labels = text.removesuffix(".").split(".")
    if not all(labels):
        raise MalformedHostError("an empty label in the host name")
    try:
        return ".".join(_label_to_ascii(label) for label in labels)
    except (idna.IDNAError, UnicodeError) as error:
        raise MalformedHostError("the host name is not valid under IDNA 2008") from error


def _label_to_ascii(label: str) -> str:
    mapped = idna.uts46_remap(label, std3_rules=True, transitional=False)
    if "." in mapped:
        raise MalformedHostError("a dot of another script in the host name")
    return mapped if mapped.isascii() else idna.alabel(mapped).decode("ascii")


def _check_a_labels(name: str) -> None:
    """Refuse A-labels that do not decode, or that would encode differently (RFC 5891 5.4)."""
    encoded = (label for label in name.split(".") if label.startswith("xn--"))
    try:
        canonical = all(idna.alabel(idna.ulabel(label)).decode("ascii") == label for label in encoded)
    except (idna.IDNAError, UnicodeError):
        canonical = False
    if not canonical:
        raise MalformedHostError("an A-label that is not valid under IDNA 2008")


def _ipv4_literal(name: str, text: str) -> Host:
    """Read dotted decimal only: other forms mean different addresses to different programs."""
    if text.endswith(".") or not _IPV4.fullmatch(name):
        raise MalformedHostError("a number where a name or a dotted-decimal address should be")
    try:
        return Host(name, IPv4Address(name))
    except AddressValueError as error:
        raise MalformedHostError("not an IPv4 address") from error


def _ipv6_literal(text: str) -> Host:
    """Read an IPv6 address in brackets: no zone id (RFC 6874), no IPv4-mapped form, no IPvFuture."""
    if not text.endswith("]") or "%" in text:
        raise MalformedHostError("not an IPv6 literal")
    try:
        address = IPv6Address(text[1:-1])
    except AddressValueError as error:
        raise MalformedHostError("not an IPv6 literal") from error
    if address.ipv4_mapped is not None:
        raise MalformedHostError("an IPv4 address in IPv6 form: write the IPv4 address")
    return Host(address.compressed, address)


def parse_port(text: str) -> int:
    """Return a TCP port, 1 to 65535, from plain decimal digits.

    Raises:
        MalformedHostError: for anything else, signs, spaces, leading zeros and other scripts' digits included.

    Example:
        >>> parse_port("443")
        443
    """
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise MalformedHostError("not a port from 1 to 65535")
    return int(text)


def parse_authority(text: str, default_port: int | None) -> tuple[Host, int]:
    """Split and canonicalise `host[:port]` (RFC 9110 7.2); userinfo is refused.

    Args:
        text: the authority.
        default_port: the port where none is written; None if one must be written (CONNECT).

    Raises:
        MalformedHostError: when the host or the port is not understood.

    Example:
        >>> host, port = parse_authority("a.example:8443", None)
        >>> host.name, port
        ('a.example', 8443)
    """
    return _authority(text, default_port) if len(text) <= MAX_NAME else _split_authority(text, default_port)


def _split_authority(text: str, default_port: int | None) -> tuple[Host, int]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        if default_port is None:
            raise MalformedHostError("a port is missing")
        return canonical_host(text), default_port
    return canonical_host(host), parse_port(port)


_authority = lru_cache(maxsize=8192)(_split_authority)


def is_local_name(name: str) -> bool:
    """Tell whether a canonical name has no public meaning: single labels, special-use suffixes, metadata services.

    Example:
        >>> is_local_name("db.internal")
        True
    """
    last = name.rpartition(".")[2]
    return "." not in name or last in _LOCAL_SUFFIXES or name in _LOCAL_NAMES or name.endswith(".home.arpa")


def is_loopback_name(name: str) -> bool:
    """Tell whether a canonical name means the machine itself, whatever a name server says (RFC 6761 6.3).

    Example:
        >>> is_loopback_name("localhost")
        True
    """
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")
