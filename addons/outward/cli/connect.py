"""`outward connect`: a TCP connection through the proxy, for programs that speak no HTTP."""

import contextlib
import json
import os
import socket
import sys
import threading
from functools import partial

import click

from outward.cli.through import NoWayError, Way, copy, main, tunnel, way_of


@click.command()
@click.argument("host")
@click.argument("port", type=click.IntRange(1, 65535))
@click.option(
    "--listen",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Listen on this port of 127.0.0.1 (0: any), and carry each connection to HOST PORT.",
)
@click.option("--json", "as_json", is_flag=True, help="Say on standard error, as JSON, what is said there.")
def connect(host: str, port: int, listen: int | None, *, as_json: bool) -> None:
    r"""Connect standard input and output to HOST PORT, through the proxy that HTTPS_PROXY names.

    The rule must open the port, and say `tls: false` for what is not TLS: {host: db.example.com, ports: [5432], tls:
    false}. Exits with 4 where the policy refuses.

    \b
    ssh -o ProxyCommand='outward connect %h %p' git@example.com
    outward connect db.example.com 5432 --listen 15432 & psql -h 127.0.0.1 -p 15432
    """
    if listen is None:
        sys.stdout.flush()
        sys.exit(main([host, str(port)], partial(_say, as_json=as_json)))
    try:
        way = way_of(os.environ)
        door = socket.create_server(("127.0.0.1", listen))
    except (NoWayError, OSError) as error:
        raise click.ClickException(str(error)) from error
    here = door.getsockname()[1]
    told = (
        json.dumps({"listen": f"127.0.0.1:{here}"}) if as_json else f"outward: 127.0.0.1:{here} leads to {host}:{port}"
    )
    click.echo(told, err=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            stream, _ = door.accept()
            threading.Thread(target=_carry, args=(way, host, port, stream, as_json), daemon=True).start()


def _say(error: NoWayError, *, as_json: bool) -> None:
    told = json.dumps({"error": str(error), "denied": error.denied}) if as_json else f"outward: {error}"
    click.echo(told, err=True)


def _carry(way: Way, host: str, port: int, near: socket.socket, as_json: bool) -> None:
    """Carry one connection; its end takes the other side's with it."""
    with near:
        try:
            far, rest = tunnel(way, host.removeprefix("[").removesuffix("]"), port)
        except NoWayError as error:
            _say(error, as_json=as_json)
            return
        with far:
            copy(far, rest, lambda: near.recv(1 << 16), near.sendall)
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)
