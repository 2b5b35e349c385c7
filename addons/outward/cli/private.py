"""The policy of a private proxy: one group, one client that holds a token made for this run. Pure but for the token."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from outward.core.addresses import Network
from outward.core.model import ClientEntry, Credential, Mode, OptIn, Place
from outward.core.policy import Policy

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
    """

    group: str
    token: str = field(repr=False)
    web_search: bool = False
    report: bool = False
    internal: tuple[Network, ...] = ()

    def apply(self, policy: Policy) -> Policy:
        """Return the policy of the private proxy; used for every generation that is loaded."""
        group = policy.groups[self.group]
        if self.report:
            group = replace(group, mode=Mode.REPORT)
        if self.web_search and group.web_search.locked_by is None:
            group = replace(group, web_search=replace(group.web_search, enabled=True, decided_by="--web-search"))
        entry = ClientEntry(
            kind=Credential.TOKEN if self.token else Credential.ANYONE,
            place=Place("outward run", 1),
            group=self.group,
            token_sha256=hashlib.sha256(self.token.encode()).hexdigest() if self.token else None,
            opt_in=OptIn.ASSUMED if self.web_search else None,
        )
        return replace(
            policy,
            groups={**policy.groups, self.group: group},
            clients=(entry,),
            internal=(*policy.internal, *self.internal),
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
