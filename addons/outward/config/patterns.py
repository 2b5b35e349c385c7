"""Host patterns as people write them: `host`, `*.host`, `.host`, `*`, `1.2.3.4`, `10.0.0.0/8`, `[v6]`, with `:port`.

Owns the grammar and its refusals, each with a cure. Says nothing about what a pattern is used for.
"""

import re
from ipaddress import IPv6Network, ip_network

from outward.config.suffixes import is_public_suffix, is_registrys
from outward.core.addresses import Network
from outward.core.model import Pattern, PatternKind
from outward.core.names import MalformedHostError, canonical_host, is_local_name, parse_port
from outward.core.paths import PathGlob

_IPV4_LIKE = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_PLAIN = re.compile(r"[a-zA-Z0-9._*-]+")


class PatternError(ValueError):
    """The text is no pattern.

    Attributes:
        ident: code of the finding.
        cure: how to mend it.
    """

    def __init__(self, ident: str, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.ident = ident
        self.cure = cure


def parse_pattern(text: str, *, public_suffix: bool) -> tuple[Pattern, int | None]:
    """Read a pattern and its port, None if no port is written.

    Args:
        text: the pattern.
        public_suffix: whether a wildcard may stand over a public suffix.

    Raises:
        PatternError: with a code, a sentence and a cure.
    """
    if not text or text != text.strip():
        raise PatternError("E010", "an empty host" if not text.strip() else "blanks around a host")
    host, port = _split_port(text)
    if host == "*":
        return Pattern(PatternKind.ANY), port
    if host.startswith(".") and len(host) > 1 and "*" not in host:
        return _over(host, host[1:], PatternKind.SUFFIX, public_suffix), port
    if "*" in host and "/" not in host:
        return _wildcard(host, public_suffix), port
    network = _network(host)
    if network is not None:
        return network, port
    return _exact(host), port


def host_pattern(text: str) -> str:
    """Read a pattern, wildcards over public suffixes too, and keep it as text; for lists that open nothing."""
    parse_pattern(text, public_suffix=True)
    return text


def _split_port(text: str) -> tuple[str, int | None]:
    """Split the port off; also refuse, with a cure, what people write instead of a host."""
    if match := _SCHEME.match(text):
        raise PatternError("E010", "a URL where a host should be", _apart(text[match.end() :]))
    if "@" in text:
        raise PatternError("E010", "a host with user information", "write the host alone")
    if _BARE_IPV6.fullmatch(text.partition("/")[0]) and "/" not in text:
        raise PatternError("E010", f"`{text}` is an IPv6 address without brackets", f'write `"[{text}]"`')
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port or "/" in port:
        return text, None
    try:
        return host, parse_port(port)
    except MalformedHostError as error:
        raise PatternError("E013", f"`{_shown(port)}` is not a port", "a port is a number from 1 to 65535") from error


def _apart(rest: str) -> str:
    """Return how to write a URL's authority and path as a rule; never more than the URL said."""
    authority, path = re.fullmatch(r"([^/?#]*)([^?#]*).*", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches everything
    if not re.fullmatch(r"[a-zA-Z0-9._*-]+(?::[0-9]{1,5})?", authority):
        return "write the host alone"
    if path in ("", "/", "/*", "/**"):
        return f"write the host alone: `{authority}`"
    glob = f"{path}*" if path.endswith("/*") else path
    try:
        PathGlob(glob)
    except ValueError:
        return f"write the host and the path apart, such as `{{host: {_quoted(authority)}, paths: [...]}}`"
    below = f", or `{_shown(glob)}**` if all below it is meant" if glob.endswith("/") else ""
    return f'write `{{host: {_quoted(authority)}, paths: ["{_shown(glob)}"]}}`{below}'


def _quoted(authority: str) -> str:
    return authority if re.fullmatch(r"[a-zA-Z0-9._-]+", authority) else f'"{authority}"'


def _wildcard(host: str, public_suffix: bool) -> Pattern:
    star, _, base = host.partition(".")
    if star != "*" or "*" in base or not base:
        cure = "the star must be the whole first label, such as `*.example.com`"
        raise PatternError("E011", f"misplaced wildcard in `{_shown(host)}`", cure)
    return _over(host, base, PatternKind.BELOW, public_suffix)


def _over(host: str, base: str, kind: PatternKind, public_suffix: bool) -> Pattern:
    """Read what stands for every name below a base."""
    try:
        name = canonical_host(base)
    except MalformedHostError as error:
        raise PatternError("E010", f"`{_shown(host)}`: {error}") from error
    if name.address is not None:
        raise PatternError("E011", f"`{host}` is a wildcard over an address", "write a network, such as `10.0.0.0/8`")
    if not public_suffix and is_public_suffix(name.name):
        raise _too_wide(host, Pattern(kind, name.name))
    return Pattern(kind, name.name)


def _too_wide(host: str, pattern: Pattern) -> PatternError:
    """Return what is wrong with a wildcard over names that many hold, and how to write what may be meant."""
    meant = f'write `{{host: "{pattern}", public_suffix: true}}`'
    if is_local_name(f"x.{pattern.value}"):
        cure = f"name the zone, such as `*.corp.{pattern.value}`, or, if all of them are meant, {meant}"
        return PatternError("E012", f"wildcard `{host}` covers every name of a local network", cure)
    if not is_registrys(pattern.value):
        cure = f"name the hosts that are needed, or, if everyone's are meant, {meant}"
        return PatternError("E012", f"wildcard `{host}` covers a public suffix", cure)
    cure = f"name the registrable domain, such as `*.example.com`, or, if everyone's names below are meant, {meant}"
    return PatternError("E012", f"wildcard `{host}` covers a public suffix", cure)


def _network(host: str) -> Pattern | None:
    """Read an address or a CIDR network; None if the text is neither."""
    address, slash, _ = host.partition("/")
    if not slash and not host.startswith("[") and not _IPV4_LIKE.fullmatch(host):
        return None
    if slash and not (_IPV4_LIKE.fullmatch(address) or ":" in address):
        raise PatternError("E010", f"`{_shown(host)}` has a path", _apart(host))
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        if slash:
            _check_prefix(text.partition("/")[2])
        else:
            canonical_host(host)  # one reader for addresses: no zone, no mapped form
        network: Network = ip_network(text)
    except ValueError as error:
        raise PatternError("E010", f"`{_shown(host)}` is not an address or a network: {_why(error)}") from error
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise PatternError("E010", f"`{_shown(host)}` is an IPv4 address in IPv6 form", "write the IPv4 address")
    value = str(network) if slash else str(network.network_address)
    return Pattern(PatternKind.NETWORK, value, network)


def _check_prefix(prefix: str) -> None:
    if not re.fullmatch(r"[0-9]{1,3}", prefix):
        raise ValueError("a prefix length is decimal digits; masks and signs are not accepted")


def _why(error: ValueError) -> str:
    return "it has bits set after the prefix" if "host bits" in str(error) else "it is not written in the usual form"


def _exact(host: str) -> Pattern:
    try:
        name = canonical_host(host)
    except MalformedHostError as error:
        cure = "a label has letters, digits, `-` and `_`, and `-` neither first nor last"
        if re.search(r"[()|$^+\\]", host):
            cure = "no regular expressions: `*.example.com` covers every name below"
        raise PatternError("E010", f"`{_shown(host)}`: {error}", cure) from error
    return Pattern(PatternKind.EXACT, name.name)


def _shown(text: str) -> str:
    """Return text as it may stand in a message: bounded, without control characters."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in short)
