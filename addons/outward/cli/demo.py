"""`outward demo`: a chat, two stub vendors and a real proxy on this machine; neither keys nor internet are needed."""

import asyncio
import json
import logging
import signal
import tempfile
from pathlib import Path

import click

from outward.cli.serve import new_event_loop
from outward.demo.chat import Chat
from outward.demo.page import DemoPage
from outward.demo.stage import stage
from outward.demo.story import story
from outward.ops.logs import set_up
from outward.ops.server import OpsServer
from outward.service import StartError

_CONVERSATION = "chat-42"


@click.command()
@click.option("--once", is_flag=True, help="Print the story as text and end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: addresses, or with --once what the logs hold.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8090,
    show_default=True,
    help="Loopback port of the page; 0 takes a free one.",
)
def demo(*, once: bool, as_json: bool, port: int) -> None:
    """Show how one allowlist governs connections and hosted web search, with stub vendors on this machine."""
    set_up("text", logging.WARNING)
    with (
        tempfile.TemporaryDirectory(prefix="outward-") as folder,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        try:
            runner.run(_once(Path(folder), as_json) if once else _serve(Path(folder), port, as_json))
        except BrokenPipeError:
            raise  # whoever reads has seen enough; `main` ends quietly
        except (StartError, OSError) as error:
            raise click.ClickException(str(error)) from error


async def _once(folder: Path, as_json: bool) -> None:
    async with stage(folder, pace=0) as found:
        chat = Chat(found, _CONVERSATION)
        async for line in story(chat):
            if not as_json:
                click.echo(line)
        if as_json:
            held = {"receipt": await chat.receipt(), "blocked": await chat.blocked(), "audit": await chat.audit()}
            click.echo(json.dumps(held, indent=2))


async def _serve(folder: Path, port: int, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with stage(folder) as found:
        server = OpsServer(DemoPage(found), lambda _where: None)
        try:
            await server.start("127.0.0.1", port)
        except OSError as error:
            raise StartError(
                f"port {port} cannot be opened; choose another one with --port, 0 for a free one"
            ) from error
        try:
            chat, admin = (f"http://{host}:{port}/" for host, port in (server.address, found.ops))
            if as_json:
                click.echo(json.dumps({"chat": chat, "admin": admin, "token": found.admin}))
            else:
                click.echo(f"The chat is at {chat} (Ctrl-C ends it)")
                click.echo(f"Outward's admin page is at {admin}, token {found.admin}")
            await stop.wait()
        finally:
            await server.close()
