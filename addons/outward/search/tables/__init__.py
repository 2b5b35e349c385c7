"""The vendors' surfaces as data, one file per vendor, and what reads them.

A file has two YAML documents. The first says whose it is, and is all that start-up reads: `adapter`, `hosts`,
`source`, `date`. The second holds the lines:

    prefixes: [/v1]                                # what every path begins with; none where it is absent
    mounts: {/anthropic: anthropic}                # another vendor's surface under a path
    endpoints:
      POST /messages: {governed: messages}         # its body is judged by this schema of the adapter
      GET,POST /files/{}: usual                    # {} is a segment or a part of one, /** everything below
      ANY /agents/**: {denied: agents}             # a word of `DENIALS`
    tools:
      web_search_20250305: search                  # own, search, fetch, connector, sandbox, agent
      bash_{date}: own
    fields:
      server_url: fetch                            # text, data, fetch; the key anywhere
      source.url: fetch                            # the key within another
      web_search_result/url: text                  # the key in an object of this type
      cached_content: {denied: stored}

`shared.yaml` holds the lines that all vendors begin with. Newer files of the same names can be laid over these.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from outward.search.surface import DENIALS, Endpoint, EndpointKind, FieldKind, Fields, Routes, Surface, Tool

SHIPPED = Path(__file__).parent
_SHARED = "shared"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "ANY"})
_KEYS = frozenset({"prefixes", "mounts", "closed", "storage", "endpoints", "tools", "fields"})
_HEAD = frozenset({"adapter", "hosts", "source", "date", "beside"})


class TableError(ValueError):
    """A table that cannot be read; the message names the file and the line's key."""


def names() -> tuple[str, ...]:
    """Return the names of the shipped surfaces."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml") if path.stem != _SHARED))


@cache
def heads() -> Mapping[str, Mapping[str, Any]]:
    """Return the first document of every shipped table by its name."""
    return {name: _head(SHIPPED / f"{name}.yaml") for name in names()}


@cache
def surface(name: str) -> Surface:
    """Return a vendor's surface as it is shipped.

    Raises:
        TableError: there is no table of this name.
    """
    return _surface(name, (SHIPPED,))


def _surface(name: str, folders: tuple[Path, ...]) -> Surface:
    head = next((_head(path) for folder in reversed(folders) if (path := folder / f"{name}.yaml").exists()), None)
    if head is None:
        raise TableError(f"there is no table {name!r}")
    shared, own = _merged(_SHARED, folders), _merged(name, folders)
    prefixes = own.get("prefixes") or [""]
    try:
        endpoints = {_line(line): _endpoint(name, value) for line, value in own["endpoints"].items()}
        tools = {kind: Tool(value) for kind, value in (shared["tools"] | own["tools"]).items()}
        fields = Fields.of({line: _field(value) for line, value in (shared["fields"] | own["fields"]).items()})
    except ValueError as error:
        raise TableError(f"table {name!r}: {error}") from error
    return Surface(
        name,
        head["adapter"],
        Routes(endpoints, prefixes),
        Routes(endpoints),
        tools,
        tuple((_tool_pattern(kind), tool) for kind, tool in tools.items() if "{" in kind),
        fields,
        closed=bool(own.get("closed")),
        mounts=own.get("mounts") or {},
        storage=tuple(own.get("storage") or ()),
        source=str(head["source"]),
        date=str(head["date"]),
    )


def _tool_pattern(kind: str) -> re.Pattern[str]:
    return re.compile(re.escape(kind).replace(r"\{date\}", r"\d{8}").replace(r"\{\}", r"[a-z0-9_.-]+"))


def overlaid(folders: Iterable[Path]) -> Mapping[str, Surface]:
    """Read all tables anew, with those of folders laid over the shipped ones, the last on top. For a thread.

    Raises:
        TableError: for the first that cannot be read, or that belongs to no vendor.
    """
    over = tuple(folders)
    for folder in over:
        for path in sorted(folder.glob("*.yaml")):
            if path.stem != _SHARED and path.stem not in names():
                raise TableError(f"{path.name}: no vendor of this name; `vendors` gives a host to one that there is")
    return {name: _surface(name, (SHIPPED, *over)) for name in names()}


def _head(path: Path) -> Mapping[str, Any]:
    value = _read(path.read_text("utf-8").partition("\n---\n")[0], path)
    if not value.keys() <= _HEAD or not {"adapter", "source", "date"} <= value.keys():
        raise TableError(f"{path.name}: it begins with `adapter`, `hosts`, `source` and `date`")
    return value


def _read(text: str, path: Path) -> dict[str, Any]:
    try:
        value = yaml.load(text, _LOADER) or {}  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise TableError(f"{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise TableError(f"{path.name}: a mapping was expected")
    return value


def _merged(name: str, folders: tuple[Path, ...]) -> dict[str, Any]:
    """Return the lines of a table, those of later folders over those of earlier ones."""
    found: dict[str, Any] = {"endpoints": {}, "tools": {}, "fields": {}}
    for folder in folders:
        path = folder / f"{name}.yaml"
        if not path.exists():
            continue
        lines = _read(path.read_text("utf-8").partition("\n---\n")[2], path)
        if not lines.keys() <= _KEYS:
            raise TableError(f"{path.name}: unknown key {min(lines.keys() - _KEYS)!r}")
        for key, value in lines.items():
            found[key] = found[key] | (value or {}) if key in ("endpoints", "tools", "fields") else value
    return found


def _line(line: str) -> str:
    methods, space, path = line.partition(" ")
    if not space or not path.startswith("/") or not set(methods.split(",")) <= _METHODS:
        raise ValueError(f"{line!r} is not a method and a path")
    return line


def _endpoint(name: str, value: Any) -> Endpoint:
    if value == EndpointKind.USUAL:
        return Endpoint(EndpointKind.USUAL, name)
    kind, word = _pair(value)
    if kind == EndpointKind.DENIED:
        return Endpoint(EndpointKind.DENIED, name, why=_denial(word))
    if kind != EndpointKind.GOVERNED:
        raise ValueError(f"{value!r} is none of usual, governed, denied")
    other, dot, schema = word.rpartition(".")
    return Endpoint(EndpointKind.GOVERNED, other if dot else name, schema)


def _field(value: Any) -> tuple[FieldKind, str]:
    if isinstance(value, str):
        return FieldKind(value), ""
    kind, word = _pair(value)
    return FieldKind(kind), _denial(word)


def _pair(value: Any) -> tuple[str, str]:
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"{value!r} is not understood")
    ((kind, word),) = value.items()
    return str(kind), str(word)


def _denial(word: str) -> str:
    if word not in DENIALS:
        raise ValueError(f"{word!r} is no reason to deny; the reasons are {', '.join(DENIALS)}")
    return word
