"""The command of `outward run`: a child in the foreground, with its signals and its exit status.

The child keeps the terminal: it stays in the same process group, so that Ctrl-C and Ctrl-Z reach it from the terminal
itself. Signals that were sent to this process alone are passed on. A jailed command has a group of its own, and gets
the terminal's signals from here while that group is not in the foreground.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class CommandError(Exception):
    """The command could not be started.

    Attributes:
        status: exit status that a shell would give.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Child(Protocol):
    """A process that can be told and waited for, as `subprocess.Popen`."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""

    def wait(self) -> int:
        """Return its exit status when it ends, -n where signal n ended it."""


async def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end and return its exit status, 128 + n where signal n ended it.

    Raises:
        CommandError: it cannot be started.
    """
    child = _Started(command, environment)
    return await attend(child, child.start)


class _Started:
    """A process that is started once its signals have somewhere to go: before, they would end this one alone."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = command, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        try:
            self._process = subprocess.Popen(self._command, env=self._environment)  # noqa: S603 - it is the purpose
        except OSError as error:
            raise cannot_start(self._command[0], error) from error

    def send_signal(self, sig: int) -> None:
        if self._process is not None:
            self._process.send_signal(sig)

    def wait(self) -> int:
        return self._process.wait() if self._process is not None else 0


def cannot_start(program: str, error: OSError) -> CommandError:
    """Return what a shell would say and answer."""
    if isinstance(error, FileNotFoundError):
        return CommandError(f"{program}: command not found", NOT_FOUND)
    return CommandError(f"{program}: {error.strerror}", NOT_EXECUTABLE)


async def attend(child: Child, begin: Callable[[], None] = lambda: None, *, apart: bool = False) -> int:
    """Pass signals on to a child, and return its exit status when it ends, 128 + n where signal n ended it.

    Args:
        child: the process.
        begin: called when signals reach the child, for one that waits to be told.
        apart: it is in a process group of its own.
    """
    loop = asyncio.get_running_loop()
    terminal = not apart and sys.stdin is not None and sys.stdin.isatty()
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if terminal else lambda: child.send_signal(signal.SIGINT))
    passed_on = (*_FORWARDED, signal.SIGTSTP) if apart else _FORWARDED
    for number in passed_on:
        loop.add_signal_handler(number, child.send_signal, number)
    try:
        begin()
        status = await loop.run_in_executor(None, child.wait)
    finally:
        for number in (signal.SIGINT, *passed_on):
            loop.remove_signal_handler(number)
    return status if status >= 0 else 128 - status
