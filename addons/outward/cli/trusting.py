"""Asking a person about a policy that the working tree brought, and refusing until somebody trusts it."""

import os
import re
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from outward.cli.common import INVALID, WITHOUT, called
from outward.config.diagnostics import Finding, Level
from outward.config.loaded import Loaded
from outward.config.trust import is_inside, is_trusted, trust
from outward.core.model import Place

if TYPE_CHECKING:
    from outward.config.brought import Brought  # as in `loaded`

_SHOWN = 40  # entries of a group
_LONGEST = 160  # characters of an entry


def demand_trust(loaded: Loaded, *, ask: bool) -> None:
    """Go on if what the working tree brought is trusted; else ask on a terminal, or end with 3.

    What is trusted is what was loaded: nothing is read again.

    Args:
        loaded: a configuration.
        ask: whether the verb may ask.
    """
    found = loaded.brought
    if found is None or is_trusted(found, os.environ):
        return
    click.echo(f"outward: {found.path} came with this folder, and nobody has trusted it as it is now", err=True)
    tell(found)
    if not (ask and _is_person() and _agrees()):
        click.echo(f"outward: to trust it: {called()} trust {found.path}", err=True)
        click.echo(f"outward: {WITHOUT}", err=True)
        sys.exit(INVALID)
    remember(found)


def _agrees() -> bool:
    """Ask once: an unclear answer, and a terminal that has gone, are a no; what was typed before is no answer."""
    try:
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
        click.echo("outward: trust it? [y/N]: ", nl=False, err=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except (OSError, UnicodeError, termios.error):
        return False


def mention(loaded: Loaded) -> None:
    """Say, where a verb only judges it, that what the working tree brought is in force nowhere yet."""
    found = loaded.brought
    if found is not None and not is_trusted(found, os.environ):
        told = f"nobody has trusted {found.path} as it is now: `{called()} run` does not use it until somebody does"
        click.echo(f"outward: {told}", err=True)


def if_trusted(loaded: Loaded) -> Loaded:
    """Return a configuration as it is if it is trusted; else with an error, so that it is not put in force."""
    found = loaded.brought
    if found is None or is_trusted(found, os.environ):
        return loaded
    told = Finding(
        Level.ERROR,
        "E029",
        f"`{found.path}` came with this folder, and nobody has trusted it as it is now",
        Place(str(found.path), 1),
        help=f"read it, then `outward trust {found.path}`",
    )
    return replace(loaded, policy=None, findings=(*loaded.findings, told))


def tell(found: "Brought") -> None:
    """Say on standard error what a policy would allow."""
    for line in _lines(found):
        click.echo(_plain(line), err=True)


def remember(found: "Brought") -> None:
    """Trust what was loaded; where that cannot be remembered, say so and go on for this once."""
    try:
        trust(found, os.environ)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"outward: warning: that cannot be remembered: {where}{error.strerror}", err=True)


def _lines(found: "Brought") -> Iterator[str]:
    for path, entries in found.allows.items():
        yield f"  {path} would be allowed:" if entries else f"  {path} would be allowed nothing more"
        widest = sorted(entries, key=_width)  # what matters most is not left to the end of a long list
        yield from (f"    {entry if len(entry) <= _LONGEST else entry[:_LONGEST] + ' …'}" for entry in widest[:_SHOWN])
        if len(entries) > _SHOWN:
            yield f"    and {len(entries) - _SHOWN} more, none of them wider"
    if not found.allows:
        yield "  it has no groups"


def _width(entry: str) -> int:
    """Return 0 for every host and for hosted search, 1 for addresses, a set or many names, 2 for one name."""
    host = entry.removeprefix("host: ")  # which comes first in a rule
    if re.match(r"\*(?!\.)|hosted web search ", host):
        return 0
    return 1 if host.startswith(("*", ".", "[", "@")) or re.match(r"[\d.]+(?:[/:,]|$)", host) else 2


def _plain(text: str) -> str:
    """Return text that shows what it is: no control characters, no letters that look like others."""
    return "".join(each if " " <= each <= "~" else each.encode("unicode_escape").decode() for each in text)


def _is_person() -> bool:
    return not is_inside(os.environ) and sys.stdin.isatty() and sys.stderr.isatty()
