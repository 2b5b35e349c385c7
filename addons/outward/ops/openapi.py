"""The OpenAPI 3.1 document of the admin API: what it takes and gives, for people and for generators.

Kept beside the handlers by tests that send what it promises and compare what comes back.
"""

from outward import __version__
from outward.ops.principals import ALL
from outward.ops.shapes import FLAG, ID, REASON, SCHEMAS, TEXT, Json, an_object, page, ref
from outward.records.events.query import MAX_LIMIT, SORTS
from outward.records.state.requests import STATES


def _query(name: str, what: str, schema: Json | None = None) -> Json:
    return {"name": name, "in": "query", "description": what, "schema": schema or TEXT}


def _path(name: str, what: str, schema: Json | None = None) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": what,
        "schema": schema or {**TEXT, "minLength": 1},
    }


_WHEN = "RFC 3339, or an age such as `2h` or `7d`."
_LIMIT = _query(
    "limit", "Most items of one answer.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50}
)
_CURSOR = _query("cursor", "`next_cursor` of the answer before.")
_FILTERS = [
    _query("group", "A group, with those below it."),
    _query("host", "Exactly this host."),
    _query("search", "A part of a host's name."),
    _query("reason", "A reason code.", REASON),
    _query("client", "The address that clients connect from, or their name in the policy."),
    _query("subject", "Exactly this subject: the `sub` of a JWT, or the name in a certificate."),
    _query("conversation", "Exactly this conversation."),
    _query("since", f"From this time on. {_WHEN}"),
    _query("until", f"Up to this time. {_WHEN}"),
    _query("would_deny", "List what report mode let through instead.", {"enum": ["true", "false"]}),
    _query("ignored", "List only what groups ignore as noise.", {"enum": ["true", "false"]}),
]
_SORT = _query(
    "sort", "What comes first; `-` is from the last to the first.", {"enum": list(SORTS), "default": "-last_seen"}
)
_OUTCOME = _query(
    "outcome", "What is counted; what was allowed, by group alone.", {"enum": ["deny", "allow"], "default": "deny"}
)
_GROUP = _path("path", "Path of a group; slashes may be sent as they are.")
_CONVERSATION = _path("id", "Name of a conversation.", {"type": "string", "minLength": 1, "maxLength": 256})
_COMMON = {"400": "The request cannot be understood.", "401": "No valid token.", "429": "Too many requests."}
_ANSWERS = {
    "403": "The token is for another group.",
    "404": "There is no such thing.",
    "409": "The policy, or what has been decided, forbids it.",
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
    return {"description": text, "content": {"application/problem+json": {"schema": ref("Problem")}}}


def _stream() -> Json:
    verdict = _query("verdict", "Only these.", {"enum": ["allow", "deny"]})
    stream = _operation("Watch events", {}, "403", parameters=(verdict, _FILTERS[0]))
    content = {"text/event-stream": {"schema": TEXT}}
    stream["responses"]["200"] = {"description": "Server-sent events named `decision`.", "content": content}
    return stream


def _receipt() -> Json:
    group = _query("group", "Where several groups have a conversation of this name; else the last active one.")
    receipt = _operation("Show a receipt", ref("Receipt"), "403", "404", parameters=(_CONVERSATION, group))
    receipt["responses"]["200"]["content"]["text/markdown"] = {"schema": TEXT}
    return receipt


def _opt_in() -> Json:
    group = _query("group", "Only for this group; else for every group of the scope.")
    named = {"type": "string", "minLength": 1}
    body = an_object(group=named, client=named, subject=named)
    body["required"] = ["group"]
    body["properties"]["client"]["description"] = "Entry of `clients`, or credential, that it is bound to from now on."
    parameters = (_CONVERSATION,)
    opt_in = _operation("Opt a conversation in", ref("OptIn"), "403", "404", "415", parameters=parameters, body=body)
    opt_out = _operation("Withdraw an opt-in", {}, "403", parameters=(_CONVERSATION, group))
    del opt_out["responses"]["200"]
    opt_out["responses"]["204"] = {"description": "Withdrawn, or never given."}
    return {"put": opt_in, "delete": opt_out}


def _paths() -> Json:
    pages = (_LIMIT, _CURSOR)
    blocked = (*_FILTERS, *pages)
    allowed = (
        *(each for each in _FILTERS if each["name"] in ("group", "host", "search", "since", "until")),
        *pages,
        _SORT,
    )
    audit = (
        *(each for each in _FILTERS if each["name"] in ("group", "conversation", "since", "until")),
        _query("event_type", "Only events of this name."),
        *pages,
    )
    of_secrets = (_FILTERS[0], _query("since", f"Uses from this time on; by default 30 days. {_WHEN}"))
    of_uses = (_query("secret", "Exactly this secret."), _query("conversation", "Exactly this conversation."))
    search, ident, named = an_object(enabled=FLAG), (_path("id", "Decision id.", ID),), (_GROUP,)
    toggle = _operation("Set web search", ref("GroupSearch"), "403", "404", "409", "415", parameters=named, body=search)
    explain = _operation("Explain a decision", ref("Trail"), "403", "404", "415", body=ref("Question"))
    return {
        "/blocked": {"get": _operation("List blocked events", page("Event"), "403", parameters=blocked)},
        "/blocked/summary": {
            "get": _operation("Summarise blocked", page("Blocked"), "403", parameters=(*blocked, _SORT))
        },
        "/allowed": {"get": _operation("Summarise allowed", page("Allowed"), "403", parameters=allowed)},
        "/attempts": {
            "get": _operation("Count attempts over time", ref("Attempts"), "403", parameters=(_OUTCOME, *_FILTERS))
        },
        "/decisions/{id}": {"get": _operation("Show a decision", ref("Event"), "403", "404", parameters=ident)},
        "/events/stream": {"get": _stream()},
        "/groups": {"get": _operation("List groups", page("GroupRow"), parameters=pages)},
        "/groups/{path}": {"get": _operation("Show a group", ref("Group"), "403", "404", parameters=named)},
        "/groups/{path}/web-search": {"put": toggle},
        "/conversations": {"get": _operation("List conversations", page("Conversation"), parameters=pages)},
        "/conversations/{id}/opt-in": _opt_in(),
        "/conversations/{id}/receipt": {"get": _receipt()},
        "/audit": {"get": _operation("List audit events", page("AuditEvent"), "403", parameters=audit)},
        "/secrets": {"get": _operation("List secrets", page("Secret"), "403", parameters=(*of_secrets, *pages))},
        "/secrets/uses": {
            "get": _operation(
                "List uses of secrets", page("SecretUse"), "403", parameters=(*of_uses, *of_secrets, *pages)
            )
        },
        "/explain": {"post": explain},
        **_access(pages),
        **_tokens(pages),
        "/openapi.json": {"get": _operation("Show this document", {"type": "object"})},
    }


def _access(pages: tuple[Json, ...]) -> Json:
    ident = (_path("id", "Id of a request.", ID),)
    grant = (_path("id", "Id of a grant."),)
    state = _query("state", "Only these.", {"enum": list(STATES)})
    listed = _operation("List access requests", page("AccessRequest"), "403", parameters=(_FILTERS[0], state, *pages))
    made = _operation("Ask for access", ref("AccessRequest"), "403", "404", "409", "415", body=ref("Wish"))
    shown = _operation("Show an access request", ref("AccessRequest"), "403", "404", parameters=ident)
    decided = _operation(
        "Decide an access request",
        ref("AccessDecision"),
        "403",
        "404",
        "409",
        "415",
        parameters=ident,
        body=ref("Verdict"),
    )
    revoked = _operation("Revoke a grant", {}, "403", "404", parameters=grant)
    del revoked["responses"]["200"]
    revoked["responses"]["204"] = {"description": "Revoked."}
    return {
        "/requests": {"get": listed, "post": made},
        "/requests/{id}": {"get": shown, "put": decided},
        "/grants": {"get": _operation("List grants", page("Grant"))},
        "/grants/{id}": {"delete": revoked},
    }


def _tokens(pages: tuple[Json, ...]) -> Json:
    ident = (_path("id", "Id of a token, or of a sign-in.", {"type": "string", "pattern": "^[0-9a-f]{12}$"}),)
    revoked = _operation("Revoke a token", {}, "403", "404", parameters=ident)
    del revoked["responses"]["200"]
    revoked["responses"]["204"] = {"description": "Revoked."}
    made = _operation("Make a token", ref("TokenMade"), "403", "404", "415", body=ref("NewToken"))
    return {
        "/tokens": {"get": _operation("List tokens", page("Token"), "403", parameters=pages), "post": made},
        "/tokens/{id}": {"delete": revoked},
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
