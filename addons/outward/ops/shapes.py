"""The shapes of what the admin API takes and gives, as JSON Schema. Its operations stand in `openapi`."""

from typing import Any

from outward.core.model import Lane, Mode, Stage
from outward.core.reasons import Reason
from outward.ops.principals import ROLES
from outward.records.state.requests import STATES

type Json = dict[str, Any]

TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": "string", "format": "date-time"}
ID: Json = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
REASON: Json = {"type": "string", "enum": [str(reason) for reason in Reason]}


def or_null(schema: Json) -> Json:
    """Return a shape that may be null, too."""
    return (
        {**schema, "type": [schema["type"], "null"]} if "enum" not in schema else {"anyOf": [schema, {"type": "null"}]}
    )


def an_object(**properties: Json) -> Json:
    """Return an object with exactly these members."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def ref(name: str) -> Json:
    """Return a reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def page(name: str) -> Json:
    """Return a page of items of one shape, with the cursor of the next."""
    return an_object(items=_array(ref(name)), next_cursor=or_null(TEXT))


_PLACE = {"pattern": TEXT, "file": TEXT, "line": _COUNT}

_EVENT: Json = {
    "schema_version": {"const": 1},
    "time": _TIME,
    "id": ID,
    "verdict": {"enum": ["allow", "deny"]},
    "reason": REASON,
    "stage": {"enum": [str(stage) for stage in Stage]},
    "mode": {"enum": [str(mode) for mode in Mode]},
    "would_deny": FLAG,
    **{name: or_null(TEXT) for name in ("group", "client", "method", "scheme", "host", "path", "sni", "address")},
    "port": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
    "ech": or_null(FLAG),
    "lane": {"enum": [*(str(lane) for lane in Lane), None]},
    "rule": {"anyOf": [an_object(**_PLACE), {"type": "null"}]},
    **{name: or_null(TEXT) for name in ("generation", "conversation", "user_agent", "trace_id", "detail")},
    **{name: or_null(TEXT) for name in ("instance", "client_name", "subject", "redirected_from")},
    "claims": {"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean"]}},
    "would_reason": or_null(REASON),
    "duration_ms": {"type": ["number", "null"]},
    **{name: {"type": ["integer", "null"]} for name in ("bytes_up", "bytes_down", "status")},
    "count": _COUNT,
    **dict.fromkeys(("first_seen", "last_seen"), _TIME),
    "title": TEXT,
    "cure": TEXT,
    "suggestion": or_null(TEXT),
}

_TOKEN: Json = {
    "id": TEXT,
    "kind": {"enum": ["token", "session"]},
    "scope": TEXT,
    "role": {"enum": list(ROLES)},
    "name": TEXT,
    "author": or_null(TEXT),
    "created": _TIME,
    **dict.fromkeys(("expires", "last_used"), or_null(_TIME)),
    "state": {"enum": ["valid", "expired", "revoked"]},
}

_SOURCE = an_object(url=TEXT, title=or_null(TEXT), permitted=FLAG, reason=or_null(TEXT))
_RULE = an_object(
    **_PLACE,
    ports=or_null({"type": "array", "items": {"type": "integer"}}),
    methods=or_null({"type": "array", "items": TEXT}),
    paths=or_null({"type": "array", "items": TEXT}),
    encoded_slash=FLAG,
    tls=FLAG,
    addresses={"type": "array", "items": TEXT},
    sets={"anyOf": [an_object(header=TEXT, secrets={"type": "array", "items": TEXT}), {"type": "null"}]},
    **{name: or_null(TEXT) for name in ("until", "owner", "note")},
    limits=TEXT,
    group=TEXT,
    effective=FLAG,
    why_not=or_null(TEXT),
)
_SEARCH: Json = {
    "enabled": FLAG,
    "decided_by": or_null(TEXT),
    "origin": {"enum": ["file", "runtime", None]},
    "changed_by": or_null(TEXT),
    "changed_at": or_null(_TIME),
    "locked": FLAG,
    "locked_by": or_null(TEXT),
    "opt_in": {"enum": ["required", "assumed"]},
    "sources": or_null({"type": "array", "items": TEXT}),
    "filter": {"enum": ["covering", "strict"]},
    "max_searches": {"type": ["integer", "null"]},
    "per_day": _array(an_object(group=TEXT, searches=_COUNT)),
    "unfilterable": {"enum": ["block", "verify"]},
    "on_violation": {"enum": ["flag", "cut"]},
    "record": {"enum": ["full", "counts"]},
}
_AIM: Json = {
    "group": TEXT,
    "host": TEXT,
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "method": or_null(TEXT),
    "path": or_null(TEXT),
}
_ACCESS: Json = {
    "id": ID,
    **_AIM,
    "reason": REASON,
    "count": _COUNT,
    **dict.fromkeys(("first_seen", "last_seen"), _TIME),
    "client": TEXT,
    "whys": _array(TEXT),
    "state": {"enum": list(STATES)},
    "decided_by": or_null(TEXT),
    "decided_at": or_null(_TIME),
    "note": or_null(TEXT),
    "until": or_null(_TIME),
    "grant": or_null(ID),
    "suggestion": or_null(TEXT),
}
_AUDIT_TEXTS = ("author_name", "entity_path", "ip_address", "target_details")

SCHEMAS: Json = {
    "Problem": an_object(type=TEXT, title=TEXT, status={"type": "integer"}, detail=TEXT),
    "Event": an_object(**_EVENT),
    "Blocked": an_object(
        group=or_null(TEXT),
        host=or_null(TEXT),
        port={"type": ["integer", "null"]},
        reason=REASON,
        count=_COUNT,
        first_seen=_TIME,
        last_seen=_TIME,
        last_id=ID,
        suggestion=or_null(TEXT),
    ),
    "Allowed": an_object(
        group=or_null(TEXT),
        host=or_null(TEXT),
        port={"type": ["integer", "null"]},
        count=_COUNT,
        first_seen=_TIME,
        last_seen=_TIME,
        last_id=ID,
    ),
    "Attempts": an_object(seconds=_COUNT, whole=FLAG, items=_array(an_object(time=_TIME, count=_COUNT))),
    "AccessRequest": an_object(**_ACCESS),
    "AccessDecision": an_object(**_ACCESS, yaml=or_null(TEXT)),
    "Grant": an_object(id=ID, **_AIM, made=_TIME, until=_TIME, who=TEXT, note=or_null(TEXT)),
    "Wish": {
        "type": "object",
        "properties": {"group": {"type": "string", "minLength": 1}, "url": TEXT, "why": TEXT, "method": TEXT},
        "required": ["group", "url", "why"],
        "additionalProperties": False,
    },
    "Verdict": {
        "type": "object",
        "properties": {"decision": {"enum": ["approve", "deny"]}, "until": TEXT, "note": TEXT},
        "required": ["decision"],
        "additionalProperties": False,
    },
    "WebSearch": an_object(**_SEARCH),
    "GroupRow": an_object(
        path=TEXT, mode=TEXT, rules=_COUNT, web_search=ref("WebSearch"), searches_today=or_null(_COUNT)
    ),
    "Rule": _RULE,
    "Secret": an_object(
        name=TEXT,
        source=or_null(TEXT),
        hosts=_array(TEXT),
        groups=_array(TEXT),
        bound=_array(ref("Rule")),
        last_used=or_null(_TIME),
        misdirected=_COUNT,
        misdirected_last=or_null(_TIME),
    ),
    "SecretUse": an_object(
        secret=TEXT,
        **{name: or_null(TEXT) for name in ("group", "client", "conversation", "grant", "host")},
        port={"type": ["integer", "null"]},
        first=_TIME,
        last=_TIME,
        hours=_COUNT,
    ),
    "Group": an_object(
        path=TEXT,
        chain=_array(TEXT),
        **dict.fromkeys(("mode", "lane", "denial", "ech"), TEXT),
        limits=_array(
            an_object(
                group=TEXT,
                requests_per_second={"type": ["number", "null"]},
                **dict.fromkeys(("burst", "connections"), or_null(_COUNT)),
            )
        ),
        **{name: _array(ref("Rule")) for name in ("allow", "deny", "ceilings", "ignore")},
        allow_total=_COUNT,
        ceiling_set_by=_array(TEXT),
        web_search=ref("WebSearch"),
        searches_today=or_null({"type": "object", "additionalProperties": _COUNT}),
    ),
    "GroupSearch": an_object(group=TEXT, **_SEARCH),
    "Conversation": an_object(conversation=TEXT, group=TEXT, searches=_COUNT, opted_in=FLAG, time=_TIME),
    "OptIn": an_object(conversation=TEXT, group=TEXT, opted_in=FLAG, credential=or_null(TEXT)),
    "Receipt": an_object(
        conversation=TEXT,
        group=TEXT,
        searches=_COUNT,
        queries=_array(TEXT),
        sources=_array(_SOURCE),
        citations=_array(_SOURCE),
        incomplete=FLAG,
    ),
    "AuditEvent": an_object(
        id=TEXT,
        author_id=or_null({"type": "integer"}),
        entity_id=or_null({"type": "integer"}),
        entity_type=TEXT,
        event_type=TEXT,
        target_id=or_null({"type": "integer"}),
        target_type=TEXT,
        created_at=_TIME,
        details={"type": "object"},
        **{name: or_null(TEXT) for name in _AUDIT_TEXTS},
    ),
    "Token": an_object(**_TOKEN),
    "TokenMade": an_object(**_TOKEN, token=TEXT),
    "NewToken": an_object(
        scope={**TEXT, "description": "Path of a group, or `all`."},
        role={"enum": list(ROLES)},
        name={**TEXT, "pattern": "^[A-Za-z0-9_ .,:@/+-]{1,64}$"},
        expires={**TEXT, "description": "When it ends, within a year: a span such as `30d`, or a time."},
    ),
    "Question": {
        "type": "object",
        "properties": {
            "group": {"type": "string", "minLength": 1},
            "url": TEXT,
            "host": TEXT,
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "method": TEXT,
            "path": TEXT,
        },
        "required": ["group"],
        "additionalProperties": False,
    },
    "Trail": an_object(
        verdict={"enum": ["allow", "deny"]},
        reason=REASON,
        group=TEXT,
        host=TEXT,
        port={"type": "integer"},
        method=or_null(TEXT),
        path=or_null(TEXT),
        lane=or_null(TEXT),
        mode=TEXT,
        would_deny=FLAG,
        would_reason=or_null(TEXT),
        vendor=or_null(TEXT),
        rule={"anyOf": [an_object(**_PLACE), {"type": "null"}]},
        chain=_array(TEXT),
        steps=_array(an_object(group=TEXT, kind={"enum": ["allow", "deny"]}, **_PLACE, outcome=TEXT, decided=FLAG)),
        ceiling=or_null(TEXT),
        closed=or_null(TEXT),
        suggestion=or_null(TEXT),
        generation=TEXT,
    ),
}
