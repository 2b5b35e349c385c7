"""Denials as OCSF events, for a SIEM: HTTP Activity where a request was seen, Network Activity where a connection was.

https://schema.ocsf.io/1.8.0/classes/http_activity and …/network_activity, with the profile `security_control`. The
decision id is `metadata.uid`: who receives an event twice tells it by that. What has no place there is `unmapped`.
"""

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import orjson

from outward import __version__
from outward.records.events.rows import milliseconds
from outward.records.events.values import Record

VERSION = "1.8.0"
_HTTP, _NETWORK = 4002, 4001
_METHODS = {
    name: number
    for number, name in enumerate(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "PATCH"), 1)
}
_OTHER, _REFUSE = 99, 5  # activities
_DENIED, _ALLOWED = (2, 2), (1, 1)  # action and disposition
_MEDIUM, _FAILURE, _SUCCESS = 3, 2, 1
_UNMAPPED = (
    *("reason", "would_reason", "stage", "mode", "lane", "conversation", "claims", "redirected_from", "trace_id"),
    *("repeats_of", "instance"),
)


class Ocsf:
    """The dialect of a SIEM that takes OCSF events as JSON, one a line; see `export.Dialect`."""

    content_type = "application/x-ndjson"
    compressed = False
    denials_only = True

    def encode(self, records: Sequence[Record]) -> bytes:
        """Return an event a line."""
        return b"".join(orjson.dumps(event_of(record), option=orjson.OPT_APPEND_NEWLINE) for record in records)

    def read(self, answer: bytes) -> None:
        """Do nothing: a 2xx answer takes all."""


def event_of(record: Record) -> dict[str, Any]:
    """Return the OCSF event of a denial, or of what report mode let through; of its repeats, another of the same."""
    get = record.get
    denied = record["verdict"] == "deny"
    seen = get("path") is not None and get("method") not in (None, "CONNECT")
    uid, activity = (_HTTP, _METHODS.get(record["method"], _OTHER)) if seen else (_NETWORK, _REFUSE)
    action, disposition = _DENIED if denied else _ALLOWED
    start = milliseconds(get("time") or record["first_seen"])
    event = {
        "activity_id": activity,
        "category_uid": 4,
        "class_uid": uid,
        "type_uid": uid * 100 + activity,
        "time": start,
        "start_time": start,
        "end_time": milliseconds(record["last_seen"]),
        "count": record["count"],
        "severity_id": _MEDIUM,
        "status_id": _FAILURE if denied else _SUCCESS,
        "status_code": record["reason"],
        "status_detail": get("detail"),
        "message": f"{record['verdict']} {record['reason']} {record['host'] or '-'}:{record['port'] or '-'}",
        "action_id": action,
        "disposition_id": disposition,
        "metadata": _metadata(record),
        "src_endpoint": _client(record),
        "dst_endpoint": _some(hostname=record["host"], port=record["port"], ip=_address(get("address"))),
        "policy": _some(uid=get("generation"), name=record["group"], group=_some(name=record["group"])),
        "firewall_rule": _rule(get("rule")),
        "http_request": _request(record) if seen else None,
        "http_response": _some(code=get("status")) if seen and get("status") else None,
        "unmapped": {name: record[name] for name in _UNMAPPED if get(name) is not None},
    }
    if activity == _OTHER:
        event["activity_name"] = record["method"]
    if not (event["dst_endpoint"] or {}).keys() - {"port"}:  # nobody said where to
        event["dst_endpoint"] = None
    return _some(**event) or {}


def _metadata(record: Record) -> dict[str, Any]:
    repeats = record.get("repeats_of")
    return {
        "version": VERSION,
        "product": {"name": "Outward", "vendor_name": "Outward", "version": __version__},
        "profiles": ["security_control"],
        "uid": f"{repeats}+{record['count']}@{record['last_seen']}" if repeats else record["id"],
        "correlation_uid": repeats or record["id"],
    }


def _client(record: Record) -> dict[str, Any]:
    address = _address(record["client"])
    owner = _some(uid=record.get("subject"), name=record.get("client_name"))
    return _some(ip=address, name=None if address else record["client"] or "unknown", owner=owner) or {}


def _request(record: Record) -> dict[str, Any] | None:
    url = _some(hostname=record["host"], port=record["port"], path=record["path"], scheme=record.get("scheme"))
    method = record["method"]  # one that OCSF does not list is named by the activity alone
    return _some(http_method=method if method in _METHODS else None, url=url, user_agent=record.get("user_agent"))


def _rule(rule: Record | None) -> dict[str, Any] | None:
    if not rule:
        return None
    return {"name": rule["pattern"], "uid": f"{rule['file']}:{rule['line']}"}


def _address(text: str | None) -> str | None:
    with suppress(ValueError):
        return str(ip_address(text or ""))
    return None


def _some(**values: Any) -> dict[str, Any] | None:
    """Return what is known of some values; None for nothing."""
    return {name: value for name, value in values.items() if value is not None and value != {}} or None
