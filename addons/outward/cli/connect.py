"""`outward connect`: a TCP connection through the proxy, for programs that speak no HTTP."""

import contextlib
import os
import socket
import sys
import threading

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
def connect(host: str, port: int, listen: int | None) -> None:
    r"""Connect standard input and output to HOST PORT, through the proxy that HTTPS_PROXY names.

    The rule must open the port, and say `tls: false` for what is not TLS: {host: db.example.com, ports: [5432], tls:
    false}. Exits with 4 where the policy refuses.

    \b
    ssh -o ProxyCommand='outward connect %h %p' git@example.com
    outward connect db.example.com 5432 --listen 15432 & psql -h 127.0.0.1 -p 15432
    """
    if listen is None:
        sys.stdout.flush()
        sys.exit(main([host, str(port)]))
    try:
        way = way_of(os.environ)
        door = socket.create_server(("127.0.0.1", listen))
    except (NoWayError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"outward: 127.0.0.1:{door.getsockname()[1]} leads to {host}:{port}", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            stream, _ = door.accept()
            threading.Thread(target=_carry, args=(way, host, port, stream), daemon=True).start()


def _carry(way: Way, host: str, port: int, near: socket.socket) -> None:
    """Carry one connection; its end takes the other side's with it."""
    with near:
        try:
            far, rest = tunnel(way, host.removeprefix("[").removesuffix("]"), port)
        except NoWayError as error:
            click.echo(f"outward: {error}", err=True)
            return
        with far:
            copy(far, rest, lambda: near.recv(1 << 16), near.sendall)
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)
