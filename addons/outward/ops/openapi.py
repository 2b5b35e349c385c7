"""The OpenAPI 3.1 document of the admin API: what it takes and gives, for people and for generators.

Kept beside the handlers by tests that send what it promises and compare what comes back.
"""

from typing import Any

from outward import __version__
from outward.core.model import Lane, Mode, Stage
from outward.core.reasons import Reason
from outward.ops.access import ALL
from outward.records.query import MAX_LIMIT

type Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": "string", "format": "date-time"}
_ID: Json = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_REASON: Json = {"type": "string", "enum": [str(reason) for reason in Reason]}


def _or_null(schema: Json) -> Json:
    return (
        {**schema, "type": [schema["type"], "null"]} if "enum" not in schema else {"anyOf": [schema, {"type": "null"}]}
    )


def _object(**properties: Json) -> Json:
    """Return an object with exactly these members."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(name: str) -> Json:
    return _object(items=_array(_ref(name)), next_cursor=_or_null(_TEXT))


_PLACE = {"pattern": _TEXT, "file": _TEXT, "line": _COUNT}

_EVENT: Json = {
    "schema_version": {"const": 1},
    "time": _TIME,
    "id": _ID,
    "verdict": {"enum": ["allow", "deny"]},
    "reason": _REASON,
    "stage": {"enum": [str(stage) for stage in Stage]},
    "mode": {"enum": [str(mode) for mode in Mode]},
    "would_deny": _FLAG,
    **{name: _or_null(_TEXT) for name in ("group", "client", "method", "scheme", "host", "path", "sni", "address")},
    "port": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
    "ech": _or_null(_FLAG),
    "lane": {"enum": [*(str(lane) for lane in Lane), None]},
    "rule": {"anyOf": [_object(**_PLACE), {"type": "null"}]},
    **{name: _or_null(_TEXT) for name in ("generation", "conversation", "user_agent", "trace_id")},
    "duration_ms": {"type": ["number", "null"]},
    **{name: {"type": ["integer", "null"]} for name in ("bytes_up", "bytes_down", "status")},
    "title": _TEXT,
    "cure": _TEXT,
    "suggestion": _or_null(_TEXT),
}

_SOURCE = _object(url=_TEXT, title=_or_null(_TEXT), permitted=_FLAG, reason=_or_null(_TEXT))
_RULE = _object(
    **_PLACE,
    ports=_or_null({"type": "array", "items": {"type": "integer"}}),
    methods=_or_null({"type": "array", "items": _TEXT}),
    paths=_or_null({"type": "array", "items": _TEXT}),
    tls=_FLAG,
    limits=_TEXT,
    group=_TEXT,
    effective=_FLAG,
    why_not=_or_null(_TEXT),
)
_SEARCH: Json = {
    "enabled": _FLAG,
    "decided_by": _or_null(_TEXT),
    "origin": {"enum": ["file", "runtime", None]},
    "changed_by": _or_null(_TEXT),
    "changed_at": _or_null(_TIME),
    "locked": _FLAG,
    "locked_by": _or_null(_TEXT),
    "opt_in": {"enum": ["required", "assumed"]},
    "sources": _or_null({"type": "array", "items": _TEXT}),
    "filter": {"enum": ["covering", "strict"]},
    "max_searches": {"type": ["integer", "null"]},
    "unfilterable": {"enum": ["block", "verify"]},
    "on_violation": {"enum": ["flag", "cut"]},
    "record": {"enum": ["full", "counts"]},
}
_AUDIT_TEXTS = ("author_name", "entity_path", "ip_address", "target_details")

SCHEMAS: Json = {
    "Problem": _object(type=_TEXT, title=_TEXT, status={"type": "integer"}, detail=_TEXT),
    "Event": _object(**_EVENT),
    "Blocked": _object(
        group=_or_null(_TEXT),
        host=_or_null(_TEXT),
        port={"type": ["integer", "null"]},
        reason=_REASON,
        count=_COUNT,
        first_seen=_TIME,
        last_seen=_TIME,
        last_id=_ID,
        suggestion=_or_null(_TEXT),
    ),
    "WebSearch": _object(**_SEARCH),
    "GroupRow": _object(path=_TEXT, mode=_TEXT, rules=_COUNT, web_search=_ref("WebSearch")),
    "Rule": _RULE,
    "Group": _object(
        path=_TEXT,
        chain=_array(_TEXT),
        **dict.fromkeys(("mode", "lane", "denial", "ech"), _TEXT),
        **{name: _array(_ref("Rule")) for name in ("allow", "deny", "ceilings", "ignore")},
        allow_total=_COUNT,
        ceiling_set_by=_array(_TEXT),
        web_search=_ref("WebSearch"),
    ),
    "GroupSearch": _object(group=_TEXT, **_SEARCH),
    "Conversation": _object(conversation=_TEXT, group=_TEXT, searches=_COUNT, opted_in=_FLAG, time=_TIME),
    "OptIn": _object(conversation=_TEXT, group=_TEXT, opted_in=_FLAG),
    "Receipt": _object(
        conversation=_TEXT,
        group=_TEXT,
        searches=_COUNT,
        queries=_array(_TEXT),
        sources=_array(_SOURCE),
        citations=_array(_SOURCE),
        incomplete=_FLAG,
    ),
    "AuditEvent": _object(
        id=_TEXT,
        author_id=_or_null({"type": "integer"}),
        entity_id=_or_null({"type": "integer"}),
        entity_type=_TEXT,
        event_type=_TEXT,
        target_id=_or_null({"type": "integer"}),
        target_type=_TEXT,
        created_at=_TIME,
        details={"type": "object"},
        **{name: _or_null(_TEXT) for name in _AUDIT_TEXTS},
    ),
    "Question": {
        "type": "object",
        "properties": {
            "group": {"type": "string", "minLength": 1},
            "url": _TEXT,
            "host": _TEXT,
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "method": _TEXT,
            "path": _TEXT,
        },
        "required": ["group"],
        "additionalProperties": False,
    },
    "Trail": _object(
        verdict={"enum": ["allow", "deny"]},
        reason=_REASON,
        group=_TEXT,
        host=_TEXT,
        port={"type": "integer"},
        method=_or_null(_TEXT),
        path=_or_null(_TEXT),
        lane=_or_null(_TEXT),
        mode=_TEXT,
        would_deny=_FLAG,
        vendor=_or_null(_TEXT),
        rule={"anyOf": [_object(**_PLACE), {"type": "null"}]},
        chain=_array(_TEXT),
        steps=_array(_object(group=_TEXT, kind={"enum": ["allow", "deny"]}, **_PLACE, outcome=_TEXT, decided=_FLAG)),
        ceiling=_or_null(_TEXT),
        suggestion=_or_null(_TEXT),
        generation=_TEXT,
    ),
}


def _query(name: str, what: str, schema: Json | None = None) -> Json:
    return {"name": name, "in": "query", "description": what, "schema": schema or _TEXT}


def _path(name: str, what: str, schema: Json | None = None) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": what,
        "schema": schema or {**_TEXT, "minLength": 1},
    }


_WHEN = "RFC 3339, or an age such as `2h` or `7d`."
_LIMIT = _query(
    "limit", "Most items of one answer.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50}
)
_CURSOR = _query("cursor", "`next_cursor` of the answer before.")
_FILTERS = [
    _query("group", "A group, with those below it."),
    _query("host", "Exactly this host."),
    _query("reason", "A reason code.", _REASON),
    _query("client", "Exactly this client."),
    _query("conversation", "Exactly this conversation."),
    _query("since", f"From this time on. {_WHEN}"),
    _query("until", f"Up to this time. {_WHEN}"),
    _query("would_deny", "List what report mode let through instead.", {"enum": ["true", "false"]}),
    _query("ignored", "List only what groups ignore as noise.", {"enum": ["true", "false"]}),
]
_GROUP = _path("path", "Path of a group; slashes may be sent as they are.")
_CONVERSATION = _path("id", "Name of a conversation.", {"type": "string", "minLength": 1, "maxLength": 256})
_COMMON = {"400": "The request cannot be understood.", "401": "No valid token.", "429": "Too many requests."}
_ANSWERS = {
    "403": "The token is for another group.",
    "404": "There is no such thing.",
    "409": "The policy locks it.",
    "415": "The body is not JSON.",
    "503": "The records do not answer.",
}


def _operation(
    what: str, answer: Json, *extra: str, parameters: tuple[Json, ...] = (), body: Json | None = None
) -> Json:
    """Return an operation whose success is a JSON answer, with the errors that it can give."""
    errors = {**_COMMON, **{status: _ANSWERS[status] for status in (*extra, "503")}}
    operation: Json = {
        "summary": what,
        "operationId": what.lower().replace(",", "").replace(" ", "_"),
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": answer}}},
            **{status: _problem(text) for status, text in errors.items()},
        },
    }
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _problem(text: str) -> Json:
    return {"description": text, "content": {"application/problem+json": {"schema": _ref("Problem")}}}


def _stream() -> Json:
    verdict = _query("verdict", "Only these.", {"enum": ["allow", "deny"]})
    stream = _operation("Watch events", {}, "403", parameters=(verdict, _FILTERS[0]))
    content = {"text/event-stream": {"schema": _TEXT}}
    stream["responses"]["200"] = {"description": "Server-sent events named `decision`.", "content": content}
    return stream


def _receipt() -> Json:
    group = _query("group", "Where several groups have a conversation of this name; else the last active one.")
    receipt = _operation("Show a receipt", _ref("Receipt"), "403", "404", parameters=(_CONVERSATION, group))
    receipt["responses"]["200"]["content"]["text/markdown"] = {"schema": _TEXT}
    return receipt


def _opt_in() -> Json:
    group = _query("group", "Only for this group; else for every group of the scope.")
    body = _object(group={"type": "string", "minLength": 1})
    parameters = (_CONVERSATION,)
    opt_in = _operation("Opt a conversation in", _ref("OptIn"), "403", "404", "415", parameters=parameters, body=body)
    opt_out = _operation("Withdraw an opt-in", {}, "403", parameters=(_CONVERSATION, group))
    del opt_out["responses"]["200"]
    opt_out["responses"]["204"] = {"description": "Withdrawn, or never given."}
    return {"put": opt_in, "delete": opt_out}


def _paths() -> Json:
    pages = (_LIMIT, _CURSOR)
    blocked = (*_FILTERS, *pages)
    audit = (
        *(each for each in _FILTERS if each["name"] in ("group", "conversation", "since", "until")),
        _query("event_type", "Only events of this name."),
        *pages,
    )
    search, ident, named = _object(enabled=_FLAG), (_path("id", "Decision id.", _ID),), (_GROUP,)
    toggle = _operation(
        "Set web search", _ref("GroupSearch"), "403", "404", "409", "415", parameters=named, body=search
    )
    explain = _operation("Explain a decision", _ref("Trail"), "403", "404", "415", body=_ref("Question"))
    return {
        "/blocked": {"get": _operation("List blocked events", _page("Event"), "403", parameters=blocked)},
        "/blocked/summary": {"get": _operation("Summarise blocked", _page("Blocked"), "403", parameters=blocked)},
        "/decisions/{id}": {"get": _operation("Show a decision", _ref("Event"), "403", "404", parameters=ident)},
        "/events/stream": {"get": _stream()},
        "/groups": {"get": _operation("List groups", _page("GroupRow"), parameters=pages)},
        "/groups/{path}": {"get": _operation("Show a group", _ref("Group"), "403", "404", parameters=named)},
        "/groups/{path}/web-search": {"put": toggle},
        "/conversations": {"get": _operation("List conversations", _page("Conversation"), parameters=pages)},
        "/conversations/{id}/opt-in": _opt_in(),
        "/conversations/{id}/receipt": {"get": _receipt()},
        "/audit": {"get": _operation("List audit events", _page("AuditEvent"), "403", parameters=audit)},
        "/explain": {"post": explain},
        "/openapi.json": {"get": _operation("Show this document", {"type": "object"})},
    }


def document() -> Json:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Outward admin API",
            "version": __version__,
            "description": f"A token's scope is the path of a group, or `{ALL}`. What lies outside it answers 403.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": SCHEMAS,
        },
    }
