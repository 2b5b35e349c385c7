"""What `run` gives the command: its environment, what it sees of the files, and placeholders for its secrets."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outward.cli.environment import ProxyAddress, client_environment, has_java
from outward.cli.own_files import own_programs
from outward.cli.private import USER, Private
from outward.cli.tool_files import tool_files, write_tool_files
from outward.cli.trusted import trusted_before
from outward.config.hidden import Hidden, HideError, hide_variables, known
from outward.config.loaded import Loaded
from outward.config.trust import INSIDE
from outward.service import Service

if TYPE_CHECKING:
    from outward.cli.jail import View


def environment_of(service: Service, private: Private, address: tuple[str, int]) -> dict[str, str]:
    """Return the command's environment: the caller's without what is meant for us, with the proxy at an address."""
    from outward.proxy.trust import java_truststore  # noqa: PLC0415 - cryptography is slow to import

    proxy = ProxyAddress(*address, USER if private.token else "", private.token)
    bundle = service.tool_bundle(os.environ, trusted_before(os.environ))
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("OUTWARD_")}
    theirs = Hidden(service.settings.secrets).environment(theirs)
    truststore = java_truststore(bundle) if has_java(theirs) else None
    ours = client_environment(proxy, bundle, theirs, truststore) | write_tool_files(bundle, theirs)
    return {**theirs, INSIDE: "1", **ours}


def view_of(loaded: Loaded, hidden: Sequence[Path], bundle: Path) -> "View":
    """Return what a jailed command sees: of Outward's own folders the certificates only, a fixed policy, no secret."""
    from outward.cli.jail import View  # noqa: PLC0415 - as above

    fixed = (*loaded.by_name, *own_programs(os.environ))
    told = (each for each in tool_files(bundle).rglob("*") if each.is_file())
    shown = (
        bundle,
        bundle.with_name("ca.pem"),
        *([store] if (store := bundle.with_suffix(".p12")).exists() else []),
        *told,
    )
    closed = [each.file for each in loaded.settings.secrets if each.file] if loaded.settings else []
    return View.of(hidden, shown=shown, files=loaded.files, fixed=fixed, closed=closed)


def hidden_in(variables: tuple[str, ...], loaded: Loaded, *, known_too: bool) -> Hidden:
    """Return what is hidden by the shipped table; the policy's own secrets are hidden without being named."""
    own = {each.env for each in loaded.settings.secrets} if loaded.settings else set()
    variables = tuple(each for each in variables if each not in own)
    if not (variables or known_too):
        return Hidden()
    from outward.config.machine import discoveries  # noqa: PLC0415 - only where something is hidden

    try:
        wanted = (*variables, *(each for each in (known(os.environ) if known_too else ()) if each not in own))
        return hide_variables(wanted, os.environ, discoveries(os.environ))
    except HideError as error:
        raise click.UsageError(str(error)) from error
