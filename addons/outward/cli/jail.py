"""The outside of `outward run --jail`: starts a process in namespaces of its own and takes over its only way out.

Owns the conversation with `jailed`, and what is said where the kernel refuses. Never weakens the jail: what cannot be
made is an error, not a command that runs without it.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from outward.cli.child import cannot_start

_PATIENCE = 20.0  # seconds for the namespaces to be made
_SYSCTL = Path("/proc/sys")
_CAUSES = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor restricts user namespaces"),
    ("kernel/unprivileged_userns_clone", "0", "user namespaces are switched off"),
    ("user/max_user_namespaces", "0", "no user namespaces are allowed"),
)


class JailError(Exception):
    """The jail cannot be made; the message says why and what helps."""


class Jail:
    """A process that waits in its namespaces for the command that it becomes.

    Attributes:
        listener: listens on the jail's loopback; whoever accepts on it is the way out.
        process: the process; after `start`, the command.
    """

    def __init__(self) -> None:
        """Make the namespaces; blocks for a moment.

        Raises:
            JailError: this system cannot, or the kernel refuses.
        """
        if sys.platform != "linux":
            raise JailError("--jail needs Linux; here, what ignores the proxy's variables is not held by anything")
        self._control, inside = socket.socketpair()
        self._control.settimeout(_PATIENCE)
        program = Path(__file__).with_name("jailed.py")
        with inside:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", program, str(inside.fileno())], pass_fds=[inside.fileno()]
            )
        try:
            message, received, _, _ = socket.recv_fds(self._control, 4096, 1)
        except OSError as error:
            self.process.kill()
            raise JailError(f"the jail did not answer: {error}") from error
        if not received:
            self.process.wait()
            raise JailError(_refusal(message.decode("utf-8", "replace") or "the jail ended at once"))
        self.listener = socket.socket(fileno=received[0])

    @property
    def address(self) -> tuple[str, int]:
        """Where the proxy is, seen from within."""
        host, port = self.listener.getsockname()
        return host, port

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Let the process become a command.

        Raises:
            CommandError: it cannot be started.
        """
        self._control.sendall(json.dumps([list(command), dict(environment)]).encode())
        self._control.shutdown(socket.SHUT_WR)
        failed = self._control.recv(4096)  # closed by the kernel when the command has begun
        if failed:
            self.process.wait()
            number, text = json.loads(failed)
            raise cannot_start(command[0], OSError(number, text))

    def __enter__(self) -> Self:
        """Return the jail."""
        return self

    def __exit__(self, *_: object) -> None:
        """End a process that has not become a command; a command has ended already."""
        self._control.close()
        self.listener.close()
        self.process.wait()


def _refusal(said: str) -> str:
    """Explain why the kernel refused, as far as it shows."""
    causes = [cause for name, value, cause in _CAUSES if _reads(_SYSCTL / name) == value]
    if causes:
        names = ", ".join(name.replace("/", ".") for name, value, _ in _CAUSES if _reads(_SYSCTL / name) == value)
        why = f"{' and '.join(causes)} on this machine (sysctl {names})"
    else:
        why = "inside a container, its seccomp profile has to allow user namespaces"
    return f"no jail: {said}. The command was not run. It needs user namespaces for {_user()}: {why}"


def _reads(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _user() -> str:
    return "root" if os.geteuid() == 0 else "ordinary users"
