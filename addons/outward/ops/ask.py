"""What a request to the administrator's side asks for, read and checked: filters, pages, names, cursors."""

import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from outward.core.identity import credential_of, is_pattern
from outward.core.model import Credential
from outward.core.names import MalformedHostError, canonical_host
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.ops.principals import ALL, Token
from outward.ops.web import OpsRequest, Problem
from outward.records.audit.audit_query import AuditFilters
from outward.records.events.query import MAX_LIMIT, SORTS, Cursor, Filters

_CURSOR = re.compile(r"([0-9]{1,15}):([^\x00]{0,256})")
_ID = re.compile(r"[0-9a-f]{32}")
_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FILTERS = {
    *("group", "host", "search", "reason", "client", "subject", "conversation", "since", "until", "would_deny"),
    "ignored",
}
_LABELS = frozenset(Credential) - {Credential.ANYONE}
MAX_NAME = 256
MAX_URL = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may be answered.

    Attributes:
        token: who asks.
        params: of the path.
    """

    request: OpsRequest
    token: Token
    params: dict[str, str] = field(default_factory=dict)

    def query(self, *known: str, form: bool = False) -> dict[str, str]:
        """Return the query's parameters, none of them unknown.

        Args:
            known: the names that mean something.
            form: whether a form was sent, whose empty fields mean nothing.

        Raises:
            Problem: 400.
        """
        found = self.request.query()
        unknown = sorted(set(found) - set(known))
        if unknown:
            raise Problem(
                400, f"`{unknown[0][:64]}` is no parameter here; there are: {', '.join(sorted(known)) or 'none'}"
            )
        return {name: value for name, value in found.items() if value or not form}

    def body(self, optional: Mapping[str, type] = MappingProxyType({}), **types: type) -> dict[str, Any]:
        """Return the JSON object of the body with exactly these members, and those optional ones that it has.

        Raises:
            Problem: 400 or 415.
        """
        found = self.request.json()
        known = {**types, **optional}
        if not types.keys() <= found.keys() <= known.keys() or any(
            type(found[name]) is not known[name] for name in found
        ):
            wanted = ", ".join(f'"{name}": {kind.__name__}' for name, kind in types.items())
            raise Problem(400, f"send {{{wanted}}}")
        return found


def page(query: dict[str, str]) -> tuple[int, Cursor | None]:
    """Read `limit` and `cursor`.

    Raises:
        Problem: 400.
    """
    text = query.get("limit", "50")
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise Problem(400, f"`limit` is a number from 1 to {MAX_LIMIT}")
    return int(text), read_cursor(query["cursor"]) if "cursor" in query else None


def read_cursor(text: str) -> Cursor:
    """Read an opaque cursor.

    Raises:
        Problem: 400 for one that was not given out here.
    """
    try:
        match = _CURSOR.fullmatch(urlsafe_b64decode(text.encode("ascii")).decode("utf-8"))
    except (Base64Error, UnicodeError, ValueError):
        match = None
    if match is None:
        raise Problem(400, "`cursor` is not one that a list gave")
    return int(match[1]), match[2]


def write_cursor(cursor: Cursor) -> str:
    """Return an opaque cursor."""
    return urlsafe_b64encode(f"{cursor[0]}:{cursor[1]}".encode()).decode()


def filters(asked: Asked, query: dict[str, str], ignored: tuple[tuple[str, str], ...]) -> Filters:
    """Read which blocked events are wanted, within the token's scope.

    Raises:
        Problem: 400, or 403 for a group outside the scope.
    """
    group, reason, host = query.get("group"), query.get("reason"), query.get("host")
    if group is not None:
        asked.token.demand(group)
    if reason is not None and reason not in tuple(Reason):
        raise Problem(400, "`reason` is no reason code")
    return Filters(
        scope=None if asked.token.scope == ALL else asked.token.scope,
        group=group,
        host=None if host is None else _host(host),
        search=None if "search" not in query else part_of_host(query["search"]),
        reason=reason,
        client=query.get("client"),
        subject=query.get("subject"),
        conversation=query.get("conversation"),
        since=moment("since", query.get("since")),
        until=moment("until", query.get("until")),
        would_deny=_flag("would_deny", query.get("would_deny")),
        ignored=ignored,
        only_ignored=_flag("ignored", query.get("ignored")),
    )


def audit_filters(asked: Asked, query: dict[str, str]) -> AuditFilters:
    """Read which audit events are wanted, within the token's scope.

    Raises:
        Problem: 400, or 403 for a group outside the scope.
    """
    group = query.get("group")
    if group is not None:
        asked.token.demand(group)
    return AuditFilters(
        scope=None if asked.token.scope == ALL else asked.token.scope,
        group=group,
        event_type=query.get("event_type"),
        target=query.get("conversation"),
        since=moment("since", query.get("since")),
        until=moment("until", query.get("until")),
    )


def allowed(asked: Asked, query: dict[str, str]) -> Filters:
    """Read which lines of what was allowed are wanted, within the token's scope.

    Raises:
        Problem: 400, or 403 for a group outside the scope.
    """
    wanted = filters(asked, query, ())
    return replace(wanted, allowed=True, since=None, until=None, seen_since=wanted.since, seen_until=wanted.until)


def sort(query: dict[str, str]) -> str:
    """Read `sort`.

    Raises:
        Problem: 400.
    """
    text = query.get("sort", "-last_seen")
    if text not in SORTS:
        raise Problem(400, f"`sort` is one of {', '.join(SORTS)}")
    return text


def scope(token: Token) -> str | None:
    """Return the path that queries are limited to, or None."""
    return None if token.scope == ALL else token.scope


def end(text: str, now: float, name: str = "until") -> float:
    """Read when something ends: a span from now such as `8h`, or a time.

    Raises:
        Problem: 400.
    """
    if match := _AGO.fullmatch(text):
        return now + int(match[1]) * _SECONDS[match[2]]
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise Problem(400, f"`{name}` is a span such as 8h or 30d, or a time such as 2026-12-01T10:00:00Z") from error


def filter_names(*more: str) -> tuple[str, ...]:
    """Return the parameters that `filters` reads, and more."""
    return (*sorted(_FILTERS), *more)


def decision_id(text: str) -> str:
    """Return a decision id.

    Raises:
        Problem: 404 for what cannot be one.
    """
    if not _ID.fullmatch(text):
        raise Problem(404, "there is no such decision")
    return text


def conversation(text: str) -> str:
    """Return the name of a conversation.

    Raises:
        Problem: 400 for one that no client can send.
    """
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise Problem(400, f"a conversation's name has 1 to {MAX_NAME} printable characters")
    return text


def credential(policy: Policy, client: str | None, subject: str | None) -> str | None:
    """Return the label of the credential that an opt-in is for; None if the request names no client.

    Args:
        policy: whose `clients` are meant.
        client: the name of an entry, or a label as events and audit rows show it.
        subject: the `sub` of the client's JWT, or the name in its certificate.

    Raises:
        Problem: 400 where that is no client, or more than one.
    """
    if client is None:
        if subject is not None:
            raise Problem(400, "`subject` needs `client`")
        return None
    entries = [entry for entry in policy.clients if entry.name == client]
    if not entries:
        if subject is None and (client == Credential.ANYONE or (client.partition(":")[0] in _LABELS and ":" in client)):
            return client
        raise Problem(400, "`client` is the name of an entry of `clients`, or a credential such as `token:…`")
    many = {entry.kind is Credential.JWT or is_pattern(entry.certificate or "") for entry in entries}
    if many == {True} and not subject:
        raise Problem(400, "this client has many subjects: name its `subject`")
    if many == {False} and subject is not None:
        raise Problem(400, "only clients with `issuer`, or a `certificate` that ends in `/*`, have a `subject`")
    found = {credential_of(entry, subject) for entry in entries}
    if len(found) > 1:
        raise Problem(400, "several credentials have this name: give the credential itself")
    return found.pop()


def _host(text: str) -> str:
    """Return the canonical form of a host, so that it is found as it was recorded; odd ones stay as they are."""
    try:
        return canonical_host(text).name
    except MalformedHostError:
        return text


def part_of_host(text: str) -> str:
    """Return a part of a host's name as names are recorded.

    Raises:
        Problem: 400 for what is longer than any name.
    """
    if len(text) > MAX_NAME:
        raise Problem(400, f"`search` has at most {MAX_NAME} characters")
    return _host(text).lower()


def moment(name: str, text: str | None) -> float | None:
    """Read a time, or an age.

    Raises:
        Problem: 400, which names the parameter.
    """
    if text is None:
        return None
    if match := _AGO.fullmatch(text):
        return max(0.0, time.time() - int(match[1]) * _SECONDS[match[2]])
    try:
        parsed = datetime.fromisoformat(text)
        return max(0.0, (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        raise Problem(400, f"`{name}` is a time such as 2026-11-21T10:00:00Z, or an age such as 2h") from error


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise Problem(400, f"`{name}` is true or false")
    return text == "true"
