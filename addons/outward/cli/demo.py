"""`outward demo`: a chat, two stub vendors and a real proxy on this machine; neither keys nor internet are needed."""

import asyncio
import logging
import signal
import tempfile
from pathlib import Path

import click

from outward.cli.serve import new_event_loop
from outward.demo.chat import Chat
from outward.demo.page import Page
from outward.demo.stage import stage
from outward.demo.story import story
from outward.ops.logs import set_up
from outward.ops.server import OpsServer
from outward.service import StartError

_CONVERSATION = "chat-42"


@click.command()
@click.option("--once", is_flag=True, help="Print the story as text and end.")
@click.option("--port", default=8090, show_default=True, help="Loopback port of the page; 0 takes a free one.")
def demo(*, once: bool, port: int) -> None:
    """Show how one allowlist governs connections and hosted web search, with stub vendors on this machine."""
    set_up("text", logging.WARNING)
    with (
        tempfile.TemporaryDirectory(prefix="outward-") as folder,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        try:
            runner.run(_once(Path(folder)) if once else _serve(Path(folder), port))
        except (StartError, OSError) as error:
            raise click.ClickException(str(error)) from error


async def _once(folder: Path) -> None:
    async with stage(folder, pace=0) as found:
        async for line in story(Chat(found, _CONVERSATION)):
            click.echo(line)


async def _serve(folder: Path, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with stage(folder) as found:
        server = OpsServer(Page(found), lambda _where: None)
        await server.start("127.0.0.1", port)
        try:
            click.echo("The chat is at http://{}:{}/ (Ctrl-C ends it)".format(*server.address))
            click.echo("Outward's admin page is at http://{}:{}/, token {}".format(*found.ops, found.admin))
            await stop.wait()
        finally:
            await server.close()
