"""`outward connect`, and ssh behind `run`: a real ssh, git and OpenSSH server, and a service that speaks first."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.ports import free_port
from harness.process import OUTWARD, environment
from harness.waiting import wait_for

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
QUIET = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Shell:
    """A folder with an ssh server's keys, a repository, and a policy that opens the server's port."""

    folder: Path
    port: int

    @property
    def ssh(self) -> str:
        return " ".join(("ssh", "-i", str(self.folder / "id"), *QUIET))

    def run(self, *command: str, options: tuple[str, ...] = (), **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command behind a private proxy."""
        return subprocess.run(
            [OUTWARD, "run", "--config", self.folder / "outward.yaml", *options, "--", *command],
            env={**environment(), "HOME": str(self.folder), "GIT_SSH_COMMAND": self.ssh, **more},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    if SSHD is None or shutil.which("git") is None:
        pytest.skip("no OpenSSH server, or no git, is installed")
    folder, port = tmp_path_factory.mktemp("ssh"), free_port()
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "outward.yaml").write_text(
        "version: 1\n"
        f"server: {{state: '{folder}/state'}}\n"
        "upstream: {internal: [127.0.0.1/32], dns: {hosts: {git.test: [127.0.0.1]}}}\n"
        f"groups: {{dev: {{allow: [{{host: git.test, ports: [{port}], tls: false}}]}}}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    subprocess.run(["git", "init", "-q", "--bare", folder / "repo.git"], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where the server's own unit makes it
    settings = (f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={folder}/host", "PidFile=none", "StrictModes=no")
    options = [word for each in (*settings, f"AuthorizedKeysFile={folder}/id.pub") for word in ("-o", each)]
    with subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *options], stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: answers(port))
            yield Shell(folder, port)
        finally:
            server.terminate()


def test_git_clones_over_ssh(shell: Shell) -> None:
    """The caller's own options for ssh are kept: without the key nothing would be cloned."""
    url = f"ssh://{getpass.getuser()}@git.test:{shell.port}{shell.folder}/repo.git"
    done = shell.run("git", "clone", "-q", url, "cloned")
    assert (done.returncode, (shell.folder / "cloned" / ".git").is_dir()) == (0, True), done.stderr


def test_git_over_ssh_is_refused_in_words(shell: Shell) -> None:
    """Ssh shows what its helper says, and the summary counts it."""
    done = shell.run("git", "clone", "-q", "ssh://git@other.test:22/x.git", "refused")
    assert done.returncode == 128
    assert "outward: other.test:22: No rule allows this host (no_rule)." in done.stderr
    assert "other.test:22    1x  no_rule" in done.stderr


@pytest.fixture
def greeter() -> Iterator[int]:
    """A service that speaks first, and echoes what is said until its client has said its last."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            while True:
                try:
                    stream, _ = door.accept()
                except OSError:
                    return
                with stream:
                    stream.sendall(b"220 hello\n")
                    while data := stream.recv(65536):
                        stream.sendall(data)
                    stream.sendall(b"221 bye\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)


def configuration(folder: Path, port: int) -> Path:
    path = folder / "outward.yaml"
    path.write_text(
        "version: 1\n"
        f"server: {{state: '{folder}/state'}}\n"
        "upstream: {internal: [127.0.0.1/32], dns: {hosts: {greeter.test: [127.0.0.1]}}}\n"
        f"groups: {{dev: {{allow: [{{host: greeter.test, ports: [{port}], tls: false}}]}}}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return path


def connect(folder: Path, port: int, *words: str, said: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """Run `outward connect` behind `outward run`."""
    return subprocess.run(
        [OUTWARD, "run", "--config", configuration(folder, port), "--", OUTWARD, "connect", *words],
        env={**environment(), "HOME": str(folder)},
        input=said,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_bytes_pass_both_ways_to_the_end(tmp_path: Path, greeter: int) -> None:
    """A megabyte, whole; the end of standard input reaches the service, and what it says then reaches us."""
    said = os.urandom(1 << 20)
    done = connect(tmp_path, greeter, "greeter.test", str(greeter), said=said)
    assert (done.returncode, done.stdout) == (0, b"220 hello\n" + said + b"221 bye\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("other.test", "5432"), 4, b"other.test:5432: No rule allows this host (no_rule)"),
        (("greeter.test", "1"), 4, b"greeter.test:1: "),
        (("bad host", "1"), 1, b"holds what no name can hold"),
        (("a\r\nX-Injected: 1", "1"), 1, b"holds what no name can hold"),
    ],
)
def test_what_is_refused_is_said(
    tmp_path: Path, greeter: int, words: tuple[str, ...], status: int, told: bytes
) -> None:
    done = connect(tmp_path, greeter, *words)
    assert (done.returncode, done.stdout) == (status, b"")
    assert told in done.stderr


def test_a_refusal_as_json(tmp_path: Path, greeter: int) -> None:
    done = connect(tmp_path, greeter, "other.test", "5432", "--json")
    told = json.loads(done.stderr.splitlines()[0])
    assert (told["denied"], told["error"][:15]) == (True, "other.test:5432")


def test_without_a_proxy_it_says_what_to_do() -> None:
    done = subprocess.run([OUTWARD, "connect", "a.test", "22"], env=environment(), capture_output=True, check=False)
    assert (done.returncode, b"outward run" in done.stderr) == (1, True)


def test_a_port_leads_to_the_host(tmp_path: Path, greeter: int) -> None:
    """As a database's client would use it: connections one after the other, and a refusal that ends one alone."""
    script = (
        'set -e; "$0" connect greeter.test "$1" --listen 0 2>told & helper=$!\n'
        "while ! grep -q leads told 2>/dev/null; do :; done\n"
        "port=$(sed -n 's/.*127.0.0.1:\\([0-9]*\\) .*/\\1/p' told)\n"
        'for each in one two; do exec 3<>"/dev/tcp/127.0.0.1/$port"; head -n 1 <&3; exec 3>&-; done; kill $helper\n'
    )
    done = subprocess.run(
        [
            OUTWARD,
            "run",
            "--config",
            configuration(tmp_path, greeter),
            "--",
            "bash",
            "-c",
            script,
            OUTWARD,
            str(greeter),
        ],
        env={**environment(), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == b"220 hello\n" * 2, done.stderr
