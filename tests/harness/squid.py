"""A real Squid, as companies run it: it takes CONNECT to some ports, and may ask for a password."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from harness.ports import free_port
from harness.waiting import PATIENCE

HAS_SQUID = shutil.which("squid") is not None
_HELPER = Path("/usr/lib/squid/basic_fake_auth")  # takes whatever it is told

_CONF = """http_port 127.0.0.1:{port}
hosts_file {folder}/hosts
acl taken port {ports}
http_access deny CONNECT !taken
{access}
http_access deny all
cache deny all
logformat told %ru %un
access_log stdio:{folder}/access.log logformat=told
cache_log {folder}/cache.log
pid_filename none
pinger_enable off
coredump_dir {folder}
shutdown_lifetime 0 seconds
logfile_rotate 0
visible_hostname squid.test
cache_effective_user {user}
"""


class Squid:
    """Where it listens, and what it was asked for: `host:port user` for each request."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._log = folder / "access.log"

    @property
    def asked(self) -> list[str]:
        """What has been asked for; Squid writes a tunnel down once it has ended."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line for line in lines if not line.startswith("error:")]  # of those who only looked whether it listens


@contextlib.contextmanager
def squid(folder: Path, *ports: int, password: bool = False, hosts: str = "") -> Iterator[Squid]:
    """Run it; `folder` is made readable for the user that it becomes."""
    port = free_port()
    user = pwd.getpwuid(os.getuid()).pw_name if os.getuid() else "nobody"
    folder.mkdir(mode=0o777, exist_ok=True)
    folder.chmod(0o777)
    (folder / "hosts").write_text(hosts)
    auth = f"auth_param basic program {_HELPER}\nacl known proxy_auth REQUIRED\nhttp_access allow known"
    access = auth if password else "http_access allow all"
    conf = folder / "squid.conf"
    listed = " ".join(map(str, ports or (443,)))
    conf.write_text(_CONF.format(port=port, folder=folder, ports=listed, access=access, user=user))
    process = subprocess.Popen(["squid", "-n", f"t{port}", "-N", "-f", str(conf)], stderr=subprocess.DEVNULL)
    try:
        _wait(process, port, conf)
        yield Squid(folder, port)
    finally:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, conf: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"squid ended: see {conf.with_name('cache.log').read_text()}")
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("squid does not listen")
