"""Smells of a compiled policy: what loads, and does not do what its author seems to want."""

from collections.abc import Iterator
from dataclasses import dataclass

from outward.core.model import Place
from outward.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Smell:
    """One smell.

    Attributes:
        ident: stable code, such as `W102`.
        message: lower case, no final stop.
        place: where it was written.
        length: characters from the place on that it is about.
        help: how to mend it.
    """

    ident: str
    message: str
    place: Place | None = None
    length: int = 1
    help: str = ""


def lint(policy: Policy) -> Iterator[Smell]:
    """Yield the smells of a policy."""
    yield from ()
