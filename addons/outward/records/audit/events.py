"""The audit events of what people change at run time: toggles, opt-ins, tokens, requests and grants, another policy.

Values in, an event out.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from outward.core.grants import Grant, grant_of
from outward.core.toggles import Toggle
from outward.records.audit.values import SECRET_USED, AuditEvent
from outward.records.events.values import Event, rfc3339

if TYPE_CHECKING:
    from outward.records.state.requests import AccessRequest
    from outward.records.state.runtime_settings import OptInChange, StoredToken


def toggle_set(path: str, toggle: Toggle, *, was: bool | None, address: str | None) -> AuditEvent:
    """Return the event of a group's toggle; `was` is None if nobody could tell."""
    return AuditEvent(
        event_type="web_search_setting_changed",
        group=path,
        target=path,
        target_type="Group",
        author=toggle.actor,
        author_class="Administrator",
        ip_address=address,
        message=f"web search turned {'on' if toggle.enabled else 'off'}",
        details={"change": "web_search", "from": was, "to": toggle.enabled},
    )


def opt_in_set(wanted: "OptInChange", address: str | None) -> AuditEvent:
    """Return the event of a conversation's opt-in."""
    return AuditEvent(
        event_type="conversation_opt_in_changed",
        group=wanted.group,
        target=wanted.conversation,
        author=wanted.actor,
        author_class="Administrator",
        ip_address=address,
        message=f"conversation opted {'in to' if wanted.active else 'out of'} web search",
        details={"change": "opt_in", "to": wanted.active, "credential": wanted.credential},
    )


def opt_in_bound(conversation: str, group: str, credential: str) -> AuditEvent:
    """Return the event of an opt-in's first use, which binds it to a credential."""
    return AuditEvent(
        event_type="conversation_opt_in_bound",
        group=group,
        target=conversation,
        author="outward",
        author_class="Proxy",
        message="conversation's opt-in bound to the credential that used it first",
        details={"change": "opt_in", "credential": credential},
    )


def token_changed(event_type: str, token: "StoredToken", author: str) -> AuditEvent:
    """Return the event of a token's making or end; nothing of its secret is in it."""
    return AuditEvent(
        event_type=event_type,
        group=None if token.scope == "all" else token.scope,
        target=token.id,
        target_type="AdminToken",
        author=author,
        author_class="Administrator",
        message=f"admin token {event_type.rpartition('_')[2]}, scope {token.scope}",
        details={
            "change": "admin_token",
            "scope": token.scope,
            "role": token.role,
            "name": token.name,
            "expires": None if token.expires is None else rfc3339(token.expires),
        },
    )


def signed_in(person: "StoredToken", address: str | None) -> AuditEvent:
    """Return the event of a person's sign-in at the provider of identities; one without a role was let in nowhere."""
    let_in = bool(person.held)
    return AuditEvent(
        event_type="admin_signed_in" if let_in else "admin_sign_in_refused",
        target=person.id,
        target_type="AdminSession",
        author=person.name,
        author_class="Administrator" if let_in else "Stranger",
        ip_address=address,
        message="signed in to the admin page" if let_in else "has no role, and was not let in to the admin page",
        details={"issuer": person.issuer, "subject": person.subject, "roles": list(person.held or ())},
    )


def secret_used(name: str, event: Event) -> AuditEvent:
    """Return the event of a secret's use on a request; nothing of its value is in it."""
    return AuditEvent(
        event_type=SECRET_USED,
        group=event.group,
        target=name,
        target_type="Secret",
        author=event.client_name or event.client,
        ip_address=event.client,
        message=f"secret {name} set on requests to {event.host}",
        details={
            "secret": name,
            "host": event.host,
            "port": event.port,
            "conversation": event.conversation,
            **who(event),
            "subject": event.subject,
            "grant": None if event.rule is None else grant_of(event.rule.place),
        },
    )


def who(event: Event) -> dict[str, str]:
    """Return by what names the client of an event is known, beside its address."""
    names = {"client_name": event.client_name, "subject": event.subject}
    return {key: name for key, name in names.items() if name is not None}


def request_made(asked: "AccessRequest", address: str) -> AuditEvent:
    """Return the event of an access request; its `why` is for the page alone."""
    return AuditEvent(
        event_type="access_request_made",
        group=asked.group,
        target=asked.id,
        target_type="AccessRequest",
        author=asked.client,
        ip_address=address,
        message=f"asked for {asked.host} port {asked.port}",
        details={"change": "access_request", "reason": asked.reason, **_aim(asked)},
    )


def request_decided(decided: "AccessRequest", address: str | None) -> AuditEvent:
    """Return the event of an access request's approval or refusal."""
    until = None if decided.until is None else rfc3339(decided.until / 1000)
    return AuditEvent(
        event_type=f"access_request_{decided.state}",
        group=decided.group,
        target=decided.id,
        target_type="AccessRequest",
        author=decided.decided_by,
        author_class="Administrator",
        ip_address=address,
        message=f"{decided.state} the request for {decided.host} port {decided.port}",
        details={
            "change": "access_request",
            "note": decided.note,
            "grant": decided.grant,
            "until": until if decided.grant else None,
            **_aim(decided),
        },
    )


def grant_ended(grant: Grant, author: str | None, address: str | None) -> AuditEvent:
    """Return the event of a grant's end; without an author its time had come."""
    return AuditEvent(
        event_type="access_grant_ended" if author is None else "access_grant_revoked",
        group=grant.group,
        target=grant.id,
        target_type="AccessGrant",
        author=author or "outward",
        author_class="Proxy" if author is None else "Administrator",
        ip_address=address,
        message=f"the grant of {grant.host} port {grant.port} {'has ended' if author is None else 'is revoked'}",
        details={"change": "access_grant", "until": rfc3339(grant.until / 1000), **_aim(grant)},
    )


def _aim(about: "AccessRequest | Grant") -> dict[str, object]:
    return {"host": about.host, "port": about.port, "method": about.method, "path": about.path}


_TOLD = 20  # subtrees that an event names


def policy_reloaded(
    before: str,
    now: str,
    *,
    asked: bool,
    kept_back: Sequence[str] = (),
    more: Mapping[str, object] = MappingProxyType({}),
) -> AuditEvent:
    """Return the event of a policy put in force.

    Args:
        before: the generation that was in force.
        now: the one that is.
        asked: whether a signal asked for it, rather than a changed file.
        kept_back: what of confined files is not in force, a line for each subtree.
        more: where the policy comes from, and what is new in it.
    """
    details: dict[str, object] = {"change": "policy", "from": before, "to": now, "asked": asked, **more}
    if kept_back:
        details |= {"kept_back": list(kept_back[:_TOLD]), "kept_back_total": len(kept_back)}
    return _of_policy("policy_reloaded", now, f"policy of generation {now} in force", details)


def policy_reload_failed(in_force: str, problem: str, *, asked: bool) -> AuditEvent:
    """Return the event of a configuration that did not load; the last good policy stays."""
    details = {"change": "policy", "from": in_force, "to": in_force, "asked": asked, "problem": problem}
    message = f"reload failed, policy of generation {in_force} stays in force: {problem}"
    return _of_policy("policy_reload_failed", in_force, message, details)


def _of_policy(event_type: str, generation: str, message: str, details: dict[str, object]) -> AuditEvent:
    return AuditEvent(
        event_type=event_type,
        target=generation,
        target_type="Policy",
        author="outward",
        author_class="Proxy",
        message=message,
        details=details,
    )
