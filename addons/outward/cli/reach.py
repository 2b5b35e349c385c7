"""What the dial would make of an allowed host: its addresses, as far as they are known, and who resolves it."""

import asyncio
from dataclasses import replace

import click

from outward.config.settings import Settings
from outward.core.addresses import Address, Own
from outward.core.decide import address_denied, address_refused
from outward.core.explain import DecisionTrace, Step
from outward.core.model import Mode, Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules


def meet(policy: Policy, settings: Settings, trace: DecisionTrace, *, resolve: bool) -> DecisionTrace:
    """Return the trace with what the addresses of its host change.

    Args:
        policy: in force.
        settings: what the file says of names and of a parent proxy.
        trace: the way to the decision by the rules.
        resolve: ask the name servers, if the file does not say where the name leads.
    """
    host, decision = trace.question.host, trace.decision
    if not decision.allowed or host.address is not None or _through_parent(settings, trace):
        return trace
    found = settings.dns_hosts.get(host.name) or (_resolved(settings, host.name) if resolve else ())
    told = [_denied(policy, trace, each) for each in found]
    if not told or None in told:  # one that may be dialled is enough
        return trace
    return told[0] or trace


def _denied(policy: Policy, trace: DecisionTrace, address: Address) -> DecisionTrace | None:
    """Return the trace as an address of the host ends it; None if it may be dialled."""
    decision = trace.decision
    refusal = address_refused(policy, decision, address, trace.question.port, Own())
    if refusal is not None:
        denied = replace(decision, verdict=Verdict.DENY, reason=Reason.ADDRESS_NOT_PUBLIC)
        return replace(trace, decision=denied, closed=f"{refusal.what}: {address}", address=str(address))
    rule = address_denied(policy, decision, address)
    if rule is None or decision.mode is Mode.REPORT:
        return None
    denied = replace(decision, verdict=Verdict.DENY, reason=Reason.DENIED_BY_RULE, rule=rule)
    step = Step(decision.group or "", "deny", rule, f"denies its address {address}", decided=True)
    return replace(trace, decision=denied, steps=(*(replace(each, decided=False) for each in trace.steps), step))


def elsewhere(settings: Settings, trace: DecisionTrace) -> str | None:
    """Return who else has a say about an allowed host; None for nobody."""
    if trace.decision.allowed and _through_parent(settings, trace) and trace.question.host.address is None:
        return "The parent proxy resolves the name, and may refuse it."
    return None


def _through_parent(settings: Settings, trace: DecisionTrace) -> bool:
    direct = Rules(settings.no_proxy).hold(trace.question.host, trace.question.port)
    return settings.parent_proxy is not None and not direct


def _resolved(settings: Settings, name: str) -> tuple[Address, ...]:
    """Ask the name servers that the proxy would ask."""
    from outward.dns.resolver import ResolveError, Resolver  # noqa: PLC0415 - only where it is asked for

    async def ask() -> tuple[Address, ...]:
        return await Resolver(settings.dns_servers, settings.dns_hosts, settings.limits.resolve_timeout).resolve(name)

    try:
        return asyncio.run(ask())
    except ResolveError as error:
        raise click.ClickException(f"the rules allow `{name}`, and it has no address: {error}") from error
