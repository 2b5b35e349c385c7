"""A real pgbouncer in transaction mode on loopback, before a PostgreSQL server of `harness.postgres`."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from harness.ports import free_port
from harness.postgres import Server, as_nobody
from harness.waiting import wait_for

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

_SETTINGS = """[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
logfile = {folder}/log
pidfile = {folder}/pid
"""


@contextmanager
def pgbouncer(server: Server) -> Iterator[str]:
    """Run it, and give the URL of the server behind it."""
    assert PROGRAM is not None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="outward-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        settings = folder / "pgbouncer.ini"
        # `any` takes every client for the user that the line of the database names.
        text = _SETTINGS.format(server=urlsplit(server.url).port, port=port, folder=folder)
        settings.write_text(text.replace("\n[pgbouncer]", " user=outward\n[pgbouncer]"))
        process = subprocess.Popen([PROGRAM, settings], stderr=subprocess.DEVNULL, **as_nobody())  # type: ignore[call-overload]
        try:
            wait_for(lambda: _listens(port))
            yield f"postgresql://outward@127.0.0.1:{port}{urlsplit(server.url).path}"
        finally:
            process.kill()
            process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
