"""Templates: what an event has in common with others is written once, in its line of JSON and in its columns of a row.

A client asks the same hosts again and again, so that little is left to write of each event: times, path, bytes, ids.
Pure, and safe in any thread. What comes out is what `values.line` and `rows.row_of` make of the event's record; the few
events that have more than the usual go that way.
"""

from typing import Any, NamedTuple

import orjson

from outward.core.model import Rule
from outward.records.events.rows import COLUMNS, Row, row_of
from outward.records.events.values import Event, as_record, line, path_of, rfc3339

_MOST = 2048  # templates, of about 2 KiB each; then all are made anew
_ID = 32  # characters

_PATH, _LASTING, _TRACE = (COLUMNS.index(name) for name in ("path", "duration_ms", "trace_id"))
_TEXT, _VALUE = orjson.Fragment(b'"\0"'), orjson.Fragment(b"\0")  # a byte that JSON has not
_VARYING = {  # in the order of a line
    "time": _TEXT, "id": _TEXT, "path": _VALUE, "duration_ms": _VALUE, "bytes_up": _VALUE, "bytes_down": _VALUE,
    "trace_id": _VALUE, "first_seen": _TEXT, "last_seen": _TEXT,
}  # fmt: skip


class _Template(NamedTuple):
    """What events have in common.

    Attributes:
        line: of JSON, with `%s` for each of `_VARYING`, in its order.
        before, between, behind: columns from `verdict` to before `path`, from there to before `duration_ms`, and
            behind `trace_id`.
        size: of a row without path and trace.
        rule: its identity is part of the key; held, so that no other rule can have the same.
    """

    line: str
    before: Row
    between: Row
    behind: Row
    size: int
    rule: Rule | None


_known: dict[tuple[object, ...], _Template] = {}


def line_of(event: Event) -> bytes:
    """Return the line of an event that nobody changes any more, as `line` does of its record."""
    template = _template_of(event)
    if template is None:
        return line(as_record(event))
    time, path, trace, lasting = rfc3339(event.time), event.path, event.trace_id, event.duration_ms
    varying: tuple[Any, ...] = (
        time,
        event.id,
        "null" if path is None else orjson.dumps(path_of(path)).decode(),
        "null" if lasting is None else round(lasting, 3),
        "null" if event.bytes_up is None else event.bytes_up,
        "null" if event.bytes_down is None else event.bytes_down,
        "null" if trace is None else f'"{trace}"',
        time,
        time,
    )
    return (template.line % varying).encode()


def columns_of(event: Event) -> Row:
    """Return the row of an event that nobody changes any more, as `row_of` does of its record."""
    template = _template_of(event)
    if template is None:
        return row_of(as_record(event))
    path, trace, lasting, size = event.path, event.trace_id, event.duration_ms, template.size
    if path is not None:
        path = path_of(path)
        size += len(path)
    if trace is not None:
        size += len(trace)
    return (
        event.id,
        int(event.time * 1000),
        *template.before,
        path,
        *template.between,
        None if lasting is None else round(lasting, 3),
        event.bytes_up,
        event.bytes_down,
        event.status,
        trace,
        *template.behind,
        size,
    )


def _template_of(event: Event) -> _Template | None:
    """Return the template of an event; None for one that is not of the usual form."""
    ident, trace = event.id, event.trace_id
    if event.count != 1 or event.last_seen is not None or len(ident) != _ID or not ident.isalnum():
        return None
    if trace is not None and not (len(trace) == _ID and trace.isalnum()):
        return None
    key = (
        event.host, event.port, event.client, event.group, event.method, event.scheme, event.verdict, event.reason,
        event.stage, event.mode, event.would_deny, event.would_reason, event.sni, event.ech, event.address, event.lane,
        id(event.rule), event.generation, event.conversation, event.user_agent, event.status, event.detail,
        event.instance, event.client_name, event.subject, event.claims and repr(event.claims), event.redirected_from,
    )  # fmt: skip
    return _known.get(key) or _made(key, event)


def _made(key: tuple[object, ...], event: Event) -> _Template:
    """Make a template of the first event of its kind, and remember it."""
    record = as_record(event)
    row = row_of({**record, "path": None, "trace_id": None})
    text = line({**record, **_VARYING}).decode().replace("%", "%%").replace("\0", "%s")
    template = _Template(text, row[2:_PATH], row[_PATH + 1 : _LASTING], row[_TRACE + 1 : -1], row[-1], event.rule)
    if len(_known) >= _MOST:
        _known.clear()
    _known[key] = template
    return template
