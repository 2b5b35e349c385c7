"""Who has signed in at a provider, and whoever can tell: what the administrator's side asks of sign-in."""

from dataclasses import dataclass
from typing import Protocol

from outward.ops.web import OpsRequest


@dataclass(frozen=True, slots=True)
class Who:
    """A person, as the provider names it.

    Attributes:
        issuer, subject: who it is, for ever.
        name: how it is called.
        held: the configured roles that it has.
        why: what is said besides to one that has none.
    """

    issuer: str
    subject: str
    name: str
    held: tuple[str, ...]
    why: str = ""


class SignIn(Protocol):
    """Both halves of a sign-in; see `signin.door`."""

    def begin(self, origin: str, secret: str) -> str:
        """Return where to send a person."""

    def end(self, request: OpsRequest, origin: str, secret: str) -> Who:
        """Return who has signed in."""
