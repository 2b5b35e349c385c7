"""`outward serve`: the long-running proxy, its signals, and its log."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from outward.cli.common import load_configuration, load_or_exit, require_config
from outward.cli.options import config_option
from outward.cli.table import has_colour
from outward.cli.trusting import demand_trust, if_trusted
from outward.config.diagnostics import Level
from outward.ops.logs import FORMATS, set_up
from outward.records.events.values import Record
from outward.records.text import clean
from outward.service import Options, Service, StartError

log = logging.getLogger(__name__)

_USUAL = ((None, None), (None, 443), ("https", 443), ("http", 80))  # ports that need not be said


@click.command()
@config_option
@click.option(
    "--log-format", type=click.Choice(FORMATS), envvar="OUTWARD_LOG_FORMAT", default="text", help="Form of the log."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --log-format json.")
def serve(config: Path | None, log_format: str, *, as_json: bool) -> None:
    """Run the proxy. Events go to standard output, the log to standard error.

    On a terminal events are lines for people, elsewhere JSON.

    TERM or INT drains and exits 0; a second one stops at once. HUP reloads, and so does a changed file.
    """
    choice = require_config(config)
    log_format = "json" if as_json else log_format
    set_up(log_format)
    people = sys.stdout.isatty() and log_format == "text"
    loaded = load_or_exit(choice)
    demand_trust(loaded, ask=False)
    for finding in (each for each in loaded.all_findings if each.level is Level.WARNING):
        log.warning("%s%s", f"{finding.place}: " if finding.place else "", finding.message)
    if loaded.policy is not None:
        log.info("the configuration is %s, generation %s", choice.file, loaded.policy.generation)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        try:
            service = Service(
                loaded,
                Options(
                    stdout=sys.stdout.fileno(),
                    as_line=_for_people if people else None,
                    load=lambda before, restless: if_trusted(
                        load_configuration(choice, before=before, restless=restless)
                    ),
                ),
            )
            service.judge.secrets.hide = hide_memory
            runner.run(_serve(service))
        except StartError as error:
            raise click.ClickException(str(error)) from error


def _for_people(record: Record) -> bytes:
    """Return a record as one line for a terminal: when, what became of it, whose, what it asked for, and why."""
    denied = record.get("verdict") == "deny"
    reason = str(record.get("would_reason") or record["reason"])
    became = "denied" if denied else "reported" if record.get("would_deny") else "allowed"
    if "repeats_of" in record:
        became = f"{record['count']} more"
    host, path, port = (record.get(name) for name in ("host", "path", "port"))
    scheme = record.get("scheme")
    asked = f"{record.get('method') or ''} {host or '-'}{'' if (scheme, port) in _USUAL else f':{port}'}{path or ''}"
    parts = (
        str(record.get("time") or record["last_seen"])[11:19],
        f"{became:<8}",
        record.get("group") or "-",
        asked.strip(),
        reason,
    )
    text = "  ".join(clean(part, 512) for part in (parts if reason != "rule" else parts[:-1]))
    hue = ("31" if denied else "33" if became == "reported" else "2") if has_colour() else ""
    return f"\x1b[{hue}m{text}\x1b[0m\n".encode() if hue else f"{text}\n".encode()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop, or the standard loop where there is none."""
    try:
        import uvloop  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def hide_memory() -> None:
    """Keep values of secrets out of core dumps, and other processes of the same user from reading them; on Linux."""
    if sys.platform == "linux":
        from outward.jail import system  # noqa: PLC0415 - what holds no secret has no use for it

        system.hide_memory()


async def _serve(service: Service) -> None:
    """Run a service until it is told to stop, twice where it is in a hurry."""
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def terminate() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminate)
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    await service.start()
    try:
        await stop.wait()
        log.info("draining: no new connections; open ones get %g seconds", service.settings.grace)
        drain = asyncio.ensure_future(service.drain(service.settings.grace))
        rush = asyncio.ensure_future(hurry.wait())
        await asyncio.wait((drain, rush), return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, rush):
            task.cancel()
    finally:
        await service.stop()
    log.info("stopped")
