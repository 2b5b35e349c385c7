"""`outward run`: a command behind a private proxy, and a summary of what was blocked.

The proxy lives in this process and ends with the command. What the command prints is its own: this verb writes to
standard error only, and nothing at all where nothing was blocked.
"""

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outward.cli.captures import Captures
from outward.cli.child import CommandError, run_child
from outward.cli.common import find_config, load_or_exit, load_starter
from outward.cli.given import environment_of, hidden_in, view_of
from outward.cli.inside import refuse_inside
from outward.cli.mirrors import internal_mirrors
from outward.cli.options import config_option, localhost_option
from outward.cli.preset import PresetError, preset
from outward.cli.private import NoGroupError, Private, choose_group, new_token
from outward.cli.searched import Searched
from outward.cli.serve import new_event_loop
from outward.cli.summary import Summary
from outward.cli.trusted import trusted_before, usable
from outward.cli.trusting import demand_trust
from outward.config.discovery import Choice, project
from outward.config.loaded import Loaded
from outward.config.places import own_folders, run_state
from outward.core.model import Rule
from outward.ops.logs import set_up
from outward.service import Options, Service, StartError

if TYPE_CHECKING:
    from outward.cli.jail import Jail
    from outward.cli.learning import Learning

_GRACE = 1.0  # seconds for what the command left open
_LULL = 1.0  # seconds; a short command ends without paying for the engine
_PATIENCE = 0.5  # seconds that a 407 waits for its answer; the command can end the proxy, and its records with it


@click.command(context_settings={"allow_interspersed_args": False})
@config_option
@click.option("--group", "-g", help="Group that the command belongs to; default: the one for anyone, or the only one.")
@click.option("--web-search", is_flag=True, help="Turn hosted web search on for this run.")
@click.option("--report", is_flag=True, help="Let through what the rules block, and list it at the end.")
@click.option("--write", type=click.Path(path_type=Path), help="With --report: the policy file to add to.")
@click.option("--include", multiple=True, metavar="HOST", help="With --write: this host too, if it would be left out.")
@click.option("--no-token", is_flag=True, help="Let every local process in, and name no token.")
@click.option("--jail", "jailed", is_flag=True, help="Leave the command no other way out than the proxy (Linux).")
@localhost_option
@click.option("--hide", multiple=True, metavar="VARIABLE", help="Give the command a placeholder for a secret.")
@click.option("--hide-known", is_flag=True, help="Hide every secret of the environment that the shipped table knows.")
@click.option("--no-parent", is_flag=True, help="Go past the proxy that HTTPS_PROXY names.")
@click.option("--json", "as_json", is_flag=True, help="Write the summary as JSON.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    command: tuple[str, ...],
    config: Path | None,
    group: str | None,
    *,
    web_search: bool,
    report: bool,
    write: Path | None,
    include: tuple[str, ...],
    no_token: bool,
    jailed: bool,
    localhost: tuple[int, ...],
    hide: tuple[str, ...],
    hide_known: bool,
    no_parent: bool,
    as_json: bool,
    learning: bool = False,
) -> None:
    """Run COMMAND behind a private proxy; its exit status is passed on.

    Without a configuration, a starter policy holds: common developer hosts, and what this machine's package managers
    are set up to use.
    """
    set_up("text", logging.WARNING)
    learning = learning or write is not None
    if learning:
        refuse_inside("learn")
    if localhost and not jailed:
        raise click.UsageError("--localhost opens a port to the jail, and without one all are open: give --jail")
    if write is not None and not report:
        raise click.UsageError("--write writes what --report lets through: give both")
    choice = find_config(config, quiet=as_json)
    loaded, chosen = _configured(choice, group, no_parent=no_parent, quiet=as_json)
    pupil = _pupil(write, choice, loaded, chosen, include) if learning else None
    loaded = pupil.loaded if pupil else loaded
    private = Private(
        chosen,
        "" if no_token else new_token(),
        web_search,
        report,
        name=project(os.environ) or None,
        hidden=hidden_in(hide, loaded, known_too=hide_known),
        localhost=_localhost(loaded, localhost, quiet=as_json) if jailed else (),
    )
    told = _Told(Summary(pupil.lessons.add if pupil else None), Searched(), pupil)
    told.status = _follow(command, loaded, private, told, starter=choice.file is None, jailed=jailed)
    if as_json:
        click.echo(json.dumps(told.as_json(chosen)), err=True)
    else:
        told.show(chosen)
    sys.exit(told.status)


def _configured(choice: Choice, group: str | None, *, no_parent: bool, quiet: bool) -> tuple[Loaded, str]:
    """Return what holds, the starter policy if nothing else does, and the path of the command's group."""
    loaded = load_or_exit(choice) if choice.file else load_starter()
    demand_trust(loaded, ask=True)
    loaded = _behind(loaded, no_parent=no_parent, quiet=quiet)
    if loaded.policy is None:
        raise click.ClickException("the configuration has no policy")
    try:
        return loaded, choose_group(loaded.policy, group)
    except NoGroupError as error:
        raise click.UsageError(str(error)) from error


@dataclass(slots=True)
class _Told:
    """What is told at the end of a run.

    Attributes:
        captures: the jail's; None without a jail.
        status: the command's exit status.
    """

    summary: Summary
    searched: Searched
    pupil: "Learning | None"
    captures: Captures | None = None
    status: int = 0

    def as_json(self, group: str) -> dict[str, object]:
        learnt = {"learnt": list(self.pupil.write(self.status))} if self.pupil else {}
        past = self.captures.as_json() if self.captures else {}
        told = {"group": group, "blocked": self.summary.as_json(), "searched": self.searched.as_json()}
        return {**told, **past, **learnt}

    def show(self, group: str) -> None:
        width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
        met = {(host, port) for host, port, *_ in self.summary.rows}
        past = self.captures.told(met) if self.captures else ()
        for line in (*self.searched.text(width), *self.summary.text(group, width), *past):
            bold = line.startswith("outward: ") and "NO_COLOR" not in os.environ
            click.secho(line, err=True, bold=bold or None, reset=bold)
        for line in self.pupil.write(self.status) if self.pupil else ():
            click.echo(f"outward: {line}", err=True)


def _follow(
    command: tuple[str, ...], loaded: Loaded, private: Private, told: _Told, *, starter: bool, jailed: bool
) -> int:
    """Run the command behind a proxy of its own, in a jail if one is wanted; return its exit status."""
    with tempfile.TemporaryDirectory(prefix="outward-") as spare, asyncio.Runner(loop_factory=new_event_loop) as runner:
        try:
            own = _own_port(loaded, Path(spare), private)
            hidden = own_folders(os.environ, *(each.settings.state for each in (loaded, own) if each.settings))
            with _jail(private) if jailed else nullcontext() as jail:
                told.captures = jail.captures if jail else None
                return runner.run(_run(command, own, private, told, starter=starter, jail=jail, hidden=hidden))
        except StartError as error:
            raise click.ClickException(str(error)) from error
        except CommandError as error:
            click.echo(f"outward: {error}", err=True)
            return error.status


def _pupil(write: Path | None, choice: Choice, loaded: Loaded, group: str, include: tuple[str, ...]) -> "Learning":
    from outward.cli.learning import Learning  # noqa: PLC0415 - few learn, and it takes a while

    return Learning(write, choice, loaded, group, include)


def _jail(private: Private) -> "Jail":
    from outward.cli.jail import Jail  # noqa: PLC0415 - loads all that a jail is made of
    from outward.config.localhost import localhost_ports  # noqa: PLC0415 - as above

    return Jail(localhost_ports(private.localhost))


def _localhost(loaded: Loaded, ports: tuple[int, ...], *, quiet: bool) -> tuple[Rule, ...]:
    from outward.cli.jail import opened  # noqa: PLC0415 - as above

    return opened(loaded, ports, quiet=quiet)


def _behind(loaded: Loaded, *, no_parent: bool, quiet: bool) -> Loaded:
    """Put the proxy behind the one that the environment names, and say so."""
    if loaded.settings is None:
        return loaded
    try:
        found = preset(os.environ, parent=not no_parent)
    except PresetError as error:
        raise click.UsageError(str(error)) from error
    for line in () if quiet else found.told(loaded.settings):
        click.echo(f"outward: {line}", err=True)
    return replace(loaded, settings=found.over(loaded.settings))


async def _run(
    command: tuple[str, ...],
    loaded: Loaded,
    private: Private,
    told: _Told,
    *,
    starter: bool,
    jail: "Jail | None",
    hidden: Sequence[Path],
) -> int:
    """Start the proxy, run the command, stop the proxy."""
    service = Service(loaded, _options(private, told))
    await service.start()
    try:
        if starter:
            told.summary.opened = await internal_mirrors(service.dialer, service.judge, loaded.discovered)
            service.use(loaded, replace(private, internal=told.summary.opened).apply)
        if jail is None:
            return await run_child(command, environment_of(service, private, service.address))
        await service.adopt(jail.listener, (private.child,))
        await jail.captures.lead(service, (private.child,))
        environment = environment_of(service, private, jail.address)
        return await jail.follow(command, environment, view_of(loaded, hidden, Path(environment["SSL_CERT_FILE"])))
    finally:
        told.summary.policy = service.judge.policy
        await service.drain(_GRACE)
        await service.stop()


def _options(private: Private, told: _Told) -> Options:
    return Options(
        private.apply,
        told.summary.add,
        ops=False,
        lull=_LULL,
        linger=0.0,
        vouch=private.vouch,
        patience=_PATIENCE,
        receipt=told.searched.add,
    )


def _own_port(loaded: Loaded, spare: Path, private: Private) -> Loaded:
    """Move the proxy to a free loopback port, and the state to the folder of `run`, or one that can be written."""
    settings = loaded.settings
    if settings is None:
        raise click.ClickException("the configuration has no settings")
    state = run_state(os.environ) or spare
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(state, os.W_OK)
    except OSError:
        writable = False
    secrets = (*settings.secrets, *private.hidden.entries)
    direct = (*settings.no_proxy, *private.localhost)  # a parent's localhost is another
    trust = (*settings.trust, *(usable(trusted_before(os.environ), os.environ) if "system" in settings.trust else ()))
    settings = replace(
        settings,
        trust=trust,
        listen=("127.0.0.1", 0),
        state=state if writable else spare,
        secrets=secrets,
        no_proxy=direct,
    )
    return replace(loaded, settings=settings)
