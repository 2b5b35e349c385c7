"""What the dial would make of an allowed host: its addresses, as far as they are known, and who resolves it."""

import asyncio
from dataclasses import replace

import click

from outward.config.settings import Settings
from outward.core.addresses import Address, Own, judge_address
from outward.core.explain import DecisionTrace
from outward.core.model import Verdict
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
    judged = [judge_address(each, trace.question.port, policy.internal, Own()) for each in found]
    refused = next((each for each in judged if each is not None), None)
    if refused is None or None in judged:  # one that may be dialled is enough
        return trace
    denied = replace(decision, verdict=Verdict.DENY, reason=Reason.ADDRESS_NOT_PUBLIC)
    return replace(
        trace, decision=denied, closed=f"{refused.what}: {', '.join(map(str, found))}", address=str(found[0])
    )


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
