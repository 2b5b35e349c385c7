"""A vendor's surface: what each of its endpoints, tools and fields is. Values only; `tables` reads them from data.

An endpoint is *usual* (neither searches nor fetches; its body streams unread), *governed* (its body is judged by a
schema) or *denied*. What is not listed is nothing of these, and does not pass.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from outward.core.reasons import Reason
from outward.search.jsonbody import folded


class EndpointKind(StrEnum):
    """What an endpoint is."""

    USUAL = "usual"
    GOVERNED = "governed"
    DENIED = "denied"


class Tool(StrEnum):
    """What a tool does. Which searches have which filter is the adapter's to know."""

    OWN = "own"  # the client runs it, or it reads what the client gave: nothing to judge
    SEARCH = "search"
    FETCH = "fetch"
    CONNECTOR = "connector"  # a server that the vendor would call
    SANDBOX = "sandbox"  # a machine at the vendor, with a network
    AGENT = "agent"  # brings tools of its own


class FieldKind(StrEnum):
    """What stands under a key."""

    TEXT = "text"  # words: no address in them is fetched; what is nested in them is looked at
    DATA = "data"  # nothing below is looked at: schemas, arguments and results of tools, metadata
    FETCH = "fetch"  # an address that the vendor would fetch or call
    DENIED = "denied"  # names something that cannot be seen


# Why an endpoint or a field is denied, by the word that a table says.
DENIALS: dict[str, tuple[Reason, str]] = {
    "stored": (Reason.WEB_SEARCH_UNINSPECTABLE, "what is stored at the vendor may hold tools that cannot be seen"),
    "agents": (Reason.WEB_SEARCH_UNINSPECTABLE, "agents at the vendor bring tools of their own"),
    "batch": (Reason.WEB_SEARCH_UNINSPECTABLE, "a batch by file keeps its tools where they cannot be seen"),
    "live": (Reason.WEB_SEARCH_UNINSPECTABLE, "a live session is not read"),
    "calls": (Reason.WEB_SEARCH_UNINSPECTABLE, "the vendor would call an address that is not in this request"),
    "connectors": (Reason.WEB_SEARCH_UNINSPECTABLE, "a connector keeps its address and its tools at the vendor"),
    "sandbox": (Reason.WEB_SEARCH_UNINSPECTABLE, "the network of this machine at the vendor cannot be seen"),
    "code": (Reason.WEB_SEARCH_UNINSPECTABLE, "what runs at the vendor cannot be seen"),
    "opaque": (Reason.WEB_SEARCH_UNINSPECTABLE, "this body cannot be read"),
    "searches": (Reason.WEB_SEARCH_UNFILTERABLE, "this endpoint searches, and cannot be limited to permitted sources"),
}


class Endpoint(NamedTuple):
    """What an endpoint is.

    Attributes:
        surface: name of the surface whose adapter reads its body.
        schema: of a governed one, as its adapter names it.
        why: of a denied one, a word of `DENIALS`.
        path: the path as that surface sees it.
    """

    kind: EndpointKind
    surface: str
    schema: str = ""
    why: str = ""
    path: str = ""


_ANY = "ANY"
_HOLE = re.compile(r"\*\*|\{\}")


class Routes:
    """Endpoints by method and path. An exact line comes first, then the one with the most that is spelled out."""

    def __init__(self, lines: Mapping[str, Endpoint], prefixes: Iterable[str] = ("",)) -> None:
        self._exact: dict[tuple[str, str], Endpoint] = {}
        patterns: list[tuple[int, bool, str, re.Pattern[str], Endpoint]] = []
        for line, endpoint in lines.items():
            methods, _, path = line.partition(" ")
            for prefix in prefixes:
                whole = (prefix + path).lower()
                for method in methods.split(","):
                    if _HOLE.search(whole) is None:
                        self._exact[method, whole] = endpoint
                    else:
                        literal = len(_HOLE.sub("", whole))
                        denied = endpoint.kind is EndpointKind.DENIED
                        patterns.append((-literal, not denied, method, pattern_of(whole), endpoint))
        self._patterns = tuple((each[2], each[3], each[4]) for each in sorted(patterns, key=lambda each: each[:2]))

    def find(self, method: str, path: str) -> Endpoint | None:
        """Return what an endpoint is, or None; case and a slash at the end tell no paths apart."""
        plain = path.lower().rstrip("/") or "/"
        found = self._exact.get((method, plain)) or self._exact.get((_ANY, plain))
        if found is not None:
            return found
        for each, pattern, endpoint in self._patterns:
            if each in (method, _ANY) and pattern.fullmatch(plain):
                return endpoint
        return None


def pattern_of(path: str) -> re.Pattern[str]:
    """Return what a path with holes matches: `{}` within a segment, `/**` everything below."""
    parts = re.split(r"(/\*\*|\{\})", path)
    regex = "".join({"/**": "(/.*)?", "{}": "[^/]+"}.get(part) or re.escape(part) for part in parts)
    return re.compile(regex)


class ValuePlace(NamedTuple):
    """Where a value stands.

    Attributes:
        what: its key is; None if nobody knows.
        word: why it is denied, where it is: a word of `DENIALS`.
        fold: the key without case and separators.
    """

    what: FieldKind | None
    word: str
    fold: str


TOP = ValuePlace(None, "", "")
_MOST_PLACES = 20_000  # of one surface: whoever sends a body chooses its keys
_LONGEST_PLACE = 200  # characters
_NOTHING: Mapping[str, tuple[FieldKind, str]] = {}


class Fields:
    """What stands under which key: everywhere, within another key, or in an object of a type.

    What a key is in an object of a type under another key is remembered: conversations repeat a few of them.
    """

    def __init__(
        self,
        plain: Mapping[str, tuple[FieldKind, str]],
        nested: Mapping[str, Mapping[str, tuple[FieldKind, str]]],
        typed: Mapping[str, Mapping[str, tuple[FieldKind, str]]],
    ) -> None:
        self.plain, self.nested, self.typed = plain, nested, typed
        self._known: dict[tuple[str, str], dict[str, ValuePlace]] = {}
        self._count = 0

    def within(self, kind: str, parent: str) -> dict[str, ValuePlace]:
        """Return what is remembered of the keys in objects of a type under a folded key."""
        found = self._known.get((kind, parent))
        if found is None:
            found = {}
            if len(kind) + len(parent) <= _LONGEST_PLACE:
                self._known[kind, parent] = found
        return found

    def learn(self, known: dict[str, ValuePlace], kind: str, parent: str, name: str) -> ValuePlace:
        """Find out what a key is, and remember it among those that are known of its like."""
        fold = folded(name)
        typed, nested = self.typed.get(kind, _NOTHING), self.nested.get(parent, _NOTHING)
        what = typed.get(fold) or nested.get(fold) or self.plain.get(fold)
        place = ValuePlace(None, "", fold) if what is None else ValuePlace(*what, fold)
        if len(name) <= _LONGEST_PLACE:
            known[name] = place
            self._count += 1
        if self._count > _MOST_PLACES:
            self._known, self._count = {}, 0
        return place

    @staticmethod
    def of(lines: Mapping[str, tuple[FieldKind, str]]) -> "Fields":
        """Sort lines into their places: `key`, `parent.key`, `type/key`."""
        plain: dict[str, tuple[FieldKind, str]] = {}
        nested: dict[str, dict[str, tuple[FieldKind, str]]] = {}
        typed: dict[str, dict[str, tuple[FieldKind, str]]] = {}
        for line, value in lines.items():
            kind, slash, key = line.rpartition("/")
            if slash:
                typed.setdefault(kind, {})[folded(key)] = value
                continue
            parent, dot, key = line.rpartition(".")
            if dot:
                nested.setdefault(folded(parent), {})[folded(key)] = value
            else:
                plain[folded(key)] = value
        return Fields(plain, nested, typed)


@dataclass(frozen=True, slots=True)
class Surface:
    """A vendor's whole surface.

    Attributes:
        adapter: name of the module that reads its bodies.
        closed: whether an unlisted GET does not pass either.
        mounts: other surfaces by the path that they stand under.
        storage: schemes of addresses in the vendor's own storage, which it reads with the caller's own rights; `own`
            for files at the very host that is asked.
        source, date: where its lines are from, and when they were held against it.
    """

    name: str
    adapter: str
    routes: Routes
    loose: Routes
    tools: Mapping[str, Tool]
    patterns: tuple[tuple[re.Pattern[str], Tool], ...]
    fields: Fields
    closed: bool = False
    mounts: Mapping[str, str] = field(default_factory=dict)
    storage: tuple[str, ...] = ()
    source: str = ""
    date: str = ""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return what an endpoint of the vendor's own host is."""
        found = self.routes.find(method, path)
        return None if found is None else found._replace(path=path)

    def anywhere(self, method: str, path: str) -> Endpoint | None:
        """Return what an endpoint is on a host that has the surface under a path of its own."""
        found = self.endpoint(method, path)
        for below in () if found is not None else _below(path):
            found = self.routes.find(method, below) or self.loose.find(method, below)
            if found is not None:
                return found._replace(path=below)
        return found

    def tool(self, kind: str) -> Tool | None:
        """Return what a tool does, or None if nobody knows."""
        found = self.tools.get(kind)
        if found is not None:
            return found
        return next((tool for pattern, tool in self.patterns if pattern.fullmatch(kind)), None)

    def mounted(self, path: str) -> tuple[str, str] | None:
        """Return the surface that a path belongs to and the path that it sees there, or None."""
        lower = path.lower()
        for prefix in sorted(self.mounts, key=len, reverse=True):
            if lower == prefix or lower.startswith(prefix + "/"):
                return self.mounts[prefix], path[len(prefix) :] or "/"
        return None


def _below(path: str) -> Iterator[str]:
    """Yield a path without its first segment, without its second, and so on."""
    yield path
    at = path.find("/", 1)
    while at > 0:
        yield path[at:]
        at = path.find("/", at + 1)
