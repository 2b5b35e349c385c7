"""Fuzz targets. Each takes any bytes, and its docstring states the invariant that it hunts in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

from outward.config.load import load_text
from outward.config.settings import Limits
from outward.core.decide import decide
from outward.core.model import Pattern, PatternKind, Place, Question, Rule
from outward.core.names import Host, MalformedHostError, canonical_host, parse_authority
from outward.core.paths import PathGlob
from outward.core.policy import Group, Policy
from outward.core.rules import Rules
from outward.http1.fields import HeadError
from outward.http1.head import parse_head
from outward.http1.headreader import HeadReader
from outward.tls.client_hello import Hello, HelloError, HelloReader, NotTlsError

TARGETS: dict[str, Callable[[bytes], None]] = {}
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def target(function: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Register a target under its name."""
    TARGETS[function.__name__] = function
    return function


@target
def host(data: bytes) -> None:
    """A host is refused, or has one canonical form that is plain, bounded and its own canonical form."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = canonical_host(text)
    except MalformedHostError:
        return
    assert canonical_host(str(found)) == found
    assert found.address is not None or (set(found.name) <= PLAIN and 0 < len(found.name) <= 253)
    assert found.address is not None or not found.name.rpartition(".")[2].isdigit()
    assert canonical_host(text.upper() if text.isascii() else text) == found


@target
def authority(data: bytes) -> None:
    """An authority is refused, or is exactly its canonical host and a port from 1 to 65535."""
    try:
        found, port = parse_authority(data.decode("latin-1"), None)
    except MalformedHostError:
        return
    assert 1 <= port <= 65535
    assert parse_authority(f"{found}:{port}", None) == (found, port)


_PLACE = Place("policy.yaml", 1)
_ALLOW = Rules(
    [
        Rule(Pattern(PatternKind.EXACT, "a.test"), _PLACE),
        Rule(Pattern(PatternKind.BELOW, "w.test"), _PLACE, methods=frozenset({"GET"}), paths=(PathGlob("/v1/**"),)),
    ]
)
_POLICY = Policy("g", {"g": Group("g", _ALLOW, Rules([Rule(Pattern(PatternKind.EXACT, "no.w.test"), _PLACE, None)]))})


@target
def decision(data: bytes) -> None:
    """`decide` never raises, and whatever it allows is a.test, or a GET under /v1/ of a name below w.test but no.w.test."""
    parts = data.decode("utf-8", "surrogateescape").split("\n", 3)
    name, method, path = [*parts, None, None, None][:3]
    question = Question("g", Host(name or ""), 443, method, path)
    if decide(_POLICY, question).allowed:
        below = (name or "").endswith(".w.test") and name != "no.w.test"
        assert name == "a.test" or below
        assert name == "a.test" or method is None or (method == "GET" and (path or "").startswith("/v1/"))
        assert name == "a.test" or path is None or method is None or "/../" not in path


_LIMITS = Limits()


@target
def head(data: bytes) -> None:
    """A head is refused, or names one destination that its Host agrees with, has one framing, and is read alike in any chunking."""
    whole, single = _read_head(data, len(data) or 1), _read_head(data, 1)
    assert whole == single or HeadError in (whole, single)
    if not isinstance(whole, bytes):
        return
    try:
        found = parse_head(whole, _LIMITS)
    except HeadError:
        return
    assert canonical_host(str(found.host)) == found.host
    assert found.method == found.method.upper()
    assert sum(name == "host" for name, _ in found.fields) <= 1
    assert sum(name in ("content-length", "transfer-encoding") for name, _ in found.fields) <= 1
    assert not any(c in value for _, value in found.fields for c in "\r\n\0")
    named = found.get("host")
    if named is not None:
        goes_on = found.method != "CONNECT"  # whose Host only has to be one
        agreed = parse_authority(named, 80 if goes_on else found.port)
        assert agreed == (found.host, found.port) or not goes_on


def _read_head(data: bytes, size: int) -> object:
    """Return the head that the reader finds, None where it waits for more, HeadError where it refuses."""
    reader = HeadReader(_LIMITS)
    try:
        for at in range(0, len(data), size):
            if (found := reader.feed(data[at : at + size])) is not None:
                return found[0]
    except HeadError:
        return HeadError
    return None


@target
def hello(data: bytes) -> None:
    """A ClientHello is refused as declared, waited for, or read alike in any chunking, and never beyond its bounds."""
    assert _read_hello(data, len(data) or 1) == _read_hello(data, 1)


def _read_hello(data: bytes, size: int) -> Hello | type[Exception] | None:
    reader = HelloReader()
    try:
        for at in range(0, len(data), size):
            if (found := reader.feed(data[at : at + size])) is not None:
                return found
    except (HelloError, NotTlsError) as error:
        return type(error)
    return None


@target
def config(data: bytes) -> None:
    """A configuration file is refused with a finding that has a place in it, or gives settings and a policy; never both."""
    loaded = load_text(data.decode("utf-8", "surrogateescape"), "fuzz.yaml")
    if loaded.ok:
        assert loaded.settings is not None
        assert loaded.policy is not None
        assert not decide(loaded.policy, Question(None, Host("a.test"), 443)).allowed
    else:
        assert loaded.policy is None
        assert any(finding.level == "error" for finding in loaded.findings)
    lines = data.count(b"\n") + data.count(b"\r") + 2
    assert all(finding.place is None or 1 <= finding.place.line <= lines * 3 for finding in loaded.findings)


def seeds(name: str) -> list[bytes]:
    """Return the seed corpus of a target: a JSON list of Latin-1 texts."""
    file = Path(__file__).parent / "fuzz_corpus" / f"{name}.json"
    return [text.encode("latin-1") for text in json.loads(file.read_text())] if file.is_file() else [b""]
