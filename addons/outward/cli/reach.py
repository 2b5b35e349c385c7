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


def meet(policy: Policy, settings: Settings, trail: DecisionTrace, *, resolve: bool) -> DecisionTrace:
    """Return the trail with what the addresses of its host change.

    Args:
        policy: in force.
        settings: what the file says of names and of a parent proxy.
        trail: the way to the decision by the rules.
        resolve: ask the name servers, if the file does not say where the name leads.
    """
    host, decision = trail.question.host, trail.decision
    if not decision.allowed or host.address is not None or _through_parent(settings, trail):
        return trail
    found = settings.dns_hosts.get(host.name) or (_resolved(settings, host.name) if resolve else ())
    judged = [judge_address(each, trail.question.port, policy.internal, Own()) for each in found]
    refused = next((each for each in judged if each is not None), None)
    if refused is None or None in judged:  # one that may be dialled is enough
        return trail
    denied = replace(decision, verdict=Verdict.DENY, reason=Reason.ADDRESS_NOT_PUBLIC)
    return replace(
        trail, decision=denied, closed=f"{refused.what}: {', '.join(map(str, found))}", address=str(found[0])
    )


def elsewhere(settings: Settings, trail: DecisionTrace) -> str | None:
    """Return who else has a say about an allowed host; None for nobody."""
    if trail.decision.allowed and _through_parent(settings, trail) and trail.question.host.address is None:
        return "The parent proxy resolves the name, and may refuse it."
    return None


def _through_parent(settings: Settings, trail: DecisionTrace) -> bool:
    direct = Rules(settings.no_proxy).hold(trail.question.host, trail.question.port)
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
