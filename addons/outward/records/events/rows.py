"""Rows: the columns of an event in the store. Pure."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from outward.records.events.values import Record

COLUMNS = (
    *("id", "time_ms", "verdict", "reason", "stage", "mode", "would_deny", "group_path", "client", "method", "scheme"),
    *("host", "port", "path", "sni", "ech", "address", "lane", "rule_file", "rule_line", "rule_pattern", "generation"),
    *("conversation", "user_agent", "duration_ms", "bytes_up", "bytes_down", "status", "trace_id", "would_reason"),
    *("detail", "instance", "client_name", "subject", "claims", "redirected_from", "count", "last_ms", "size"),
)

_ROW_BYTES = 360  # of a row without its texts, and of its places in the indexes
_OURS = len("2026-11-30T12:00:00.000Z")

type Row = tuple[Any, ...]


def row_of(record: Record) -> Row:
    """Return the columns of a record, which an older program may have spilled."""
    get = record.get
    rule = get("rule") or {}
    count = get("count") or 1
    claims = orjson.dumps(get("claims")).decode() if get("claims") else None
    return (
        record["id"],
        milliseconds(record["time"]),
        *(get("verdict"), get("reason"), get("stage"), get("mode"), get("would_deny"), get("group"), get("client")),
        *(get("method"), get("scheme"), get("host"), get("port"), get("path"), get("sni"), get("ech"), get("address")),
        *(get("lane"), rule.get("file"), rule.get("line"), rule.get("pattern"), get("generation")),
        *(get("conversation"), get("user_agent"), get("duration_ms"), get("bytes_up"), get("bytes_down")),
        *(get("status"), get("trace_id"), get("would_reason"), get("detail"), get("instance")),
        *(get("client_name"), get("subject"), claims, get("redirected_from"), count),
        milliseconds(record["last_seen"]) if count > 1 else None,
        _size(record),
    )


def _size(record: Mapping[str, Any]) -> int:
    """Return about what a row takes: what is searched by stands in an index too."""
    texts = sum(len(value) for value in record.values() if isinstance(value, str))
    texts += 40 * len(record.get("claims") or ())
    return _ROW_BYTES + texts + 2 * len(record.get("host") or "") + 2 * len(record.get("group") or "")


def milliseconds(text: str) -> int:
    """Return an RFC 3339 time as Unix milliseconds; ours end in them."""
    if len(text) == _OURS and text.endswith("Z") and text[-4:-1].isdecimal():
        return _second(text[:19]) + int(text[-4:-1])
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@lru_cache(maxsize=64)
def _second(text: str) -> int:
    return round(datetime.fromisoformat(f"{text}Z").timestamp()) * 1000
