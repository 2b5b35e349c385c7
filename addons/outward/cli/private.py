"""The policy of a private proxy: one group, one client that holds a token made for this run. Pure but for the token."""

import asyncio
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from outward.cli.descent import descends
from outward.config.hidden import Hidden
from outward.core.addresses import Network
from outward.core.model import ClientEntry, Credential, DenyDelivery, Mode, OptIn, Place, Rule
from outward.core.policy import Policy
from outward.core.rules import Rules

USER = "run"  # Basic username, and so the name of the conversation


@dataclass(frozen=True, slots=True)
class Private:
    """How a private proxy differs from the configuration that it was made from.

    Attributes:
        group: path of the group that the command belongs to.
        token: the secret that the command presents; empty lets every local process in.
        web_search: turn hosted search on for the group and the conversation, unless the policy locks it.
        report: let through what the group's rules block.
        internal: networks opened beside those of the configuration.
        name: what the records call the command: where it runs.
        hidden: what the command has as placeholders.
        localhost: what opens this machine's localhost to a jailed command.
    """

    group: str
    token: str = field(repr=False)
    web_search: bool = False
    report: bool = False
    internal: tuple[Network, ...] = ()
    name: str | None = None
    hidden: Hidden = field(default_factory=Hidden)
    localhost: tuple[Rule, ...] = ()

    @property
    def child(self) -> str:
        """The name that a connection proves by coming from the command; it tells nothing of the token."""
        return hashlib.sha256(self.token.encode()).hexdigest()

    def vouch(self, transport: asyncio.Transport) -> tuple[str, ...]:
        """Return that name where a connection without credentials comes from the command."""
        peer, own = (transport.get_extra_info(name) for name in ("peername", "sockname"))
        return (self.child,) if self.token and peer and descends(peer[:2], own[:2], self.token) else ()

    def apply(self, policy: Policy) -> Policy:
        """Return the policy of the private proxy; used for every generation that is loaded."""
        group = policy.groups[self.group]
        if self.report:
            group = replace(group, mode=Mode.REPORT)
        group = replace(group, denial=group.denial or DenyDelivery.AUTO)  # the command trusts the CA
        if self.web_search and group.web_search.locked_by is None:
            group = replace(group, web_search=replace(group.web_search, enabled=True, decided_by="--web-search"))
        if self.localhost:
            group = replace(group, allow=Rules((*self.localhost, *group.allow.all)))
        entry = ClientEntry(
            kind=Credential.ANYONE,
            place=Place("outward run", 1),
            group=self.group,
            opt_in=OptIn.ASSUMED if self.web_search else None,
            name=self.name,
        )
        if self.token:
            entry = replace(entry, kind=Credential.TOKEN, token_sha256=self.child)
        return replace(
            policy,
            groups={**policy.groups, self.group: group},
            clients=(entry, replace(entry, kind=Credential.CERTIFICATE, token_sha256=None, certificate=self.child)),
            internal=(*policy.internal, *self.internal),
            secrets=policy.secrets | frozenset(each.name for each in self.hidden.entries),
            bound=self.hidden.bound,
        )


def new_token() -> str:
    """Return a secret for one run: 192 random bits."""
    return secrets.token_urlsafe(24)


class NoGroupError(ValueError):
    """The group of the command is not known."""


def choose_group(policy: Policy, wanted: str | None) -> str:
    """Return the group that the command belongs to.

    The wanted one, else the one that the policy gives to anyone, else the only one.

    Raises:
        NoGroupError: the wanted one does not exist, or there are several to choose from.
    """
    if wanted is not None:
        if wanted not in policy.groups:
            raise NoGroupError(f"no group `{wanted}`; there are {_listed(policy.groups)}")
        return wanted
    anyone = (entry.group for entry in policy.clients if entry.kind is Credential.ANYONE)
    found = next((group for group in anyone if group in policy.groups), None)
    if found is None and len(policy.groups) == 1:
        found = next(iter(policy.groups))
    if found is None:
        raise NoGroupError(f"which group? Give --group, one of {_listed(policy.groups)}")
    return found


def _listed(groups: Iterable[str]) -> str:
    names = sorted(groups)
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "") if names else "none"
