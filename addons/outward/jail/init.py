"""The first process of the jail's PID namespace: it starts the command, and is its end.

Owns the order of things: mounts, the last privilege given up, the filter, the command. It speaks with the proxy in
lines of JSON over a socket that nothing else in the jail has. When it ends, or the proxy does, all in the jail ends.
"""

import contextlib
import errno
import json
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from outward.jail import filter as seccomp
from outward.jail import system, users, view
from outward.jail.capture import Capture
from outward.jail.supervisor import Supervisor

_PIECE = 65536
_TERMINAL = frozenset((signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP))  # what a terminal sends to a whole group


class Control:
    """Messages from and to the proxy, one JSON object a line."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._rest = b""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._stream.fileno()

    def receive(self) -> list[dict[str, Any]]:
        """Wait for messages; the process ends if the proxy has gone."""
        data = self._stream.recv(_PIECE)
        if not data:
            os._exit(1)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def first(self) -> dict[str, Any]:
        """Wait for the first message; nothing follows it until it is answered."""
        while not (messages := self.receive()):
            pass
        return messages[0]

    def send(self, **message: Any) -> None:
        """Tell the proxy something, if it is there."""
        with contextlib.suppress(OSError):
            self._stream.sendall(json.dumps(message).encode() + b"\n")


class Init:
    """The process; `run` does not return."""

    def __init__(
        self,
        control: Control,
        mask: set[signal.Signals],
        exchange: int | None,
        elsewhere: int | None,
        capture: Capture,
    ) -> None:
        """Take what was prepared outside.

        Args:
            control: to the proxy.
            mask: signals that the command is to have blocked.
            exchange: namespace that maps root's files, if root made the jail.
            elsewhere: namespace in which root is somebody else, likewise.
            capture: leads to the proxy what knows none.
        """
        self._control, self._mask, self._capture = control, mask, capture
        self._exchange, self._elsewhere = exchange, elsewhere
        self._child = 0
        self._terminal: int | None = None

    def run(self) -> NoReturn:
        """Wait for the command, start it, and end with it."""
        system.end_with_parent(signal.SIGKILL)
        system.hide_memory()
        wanted = self._control.first()
        with contextlib.suppress(OSError):
            self._terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            self._confine(wanted)
            failed = self._start(wanted)
        except OSError as error:
            self._control.send(refused=error.strerror or str(error))
            os._exit(1)
        self._control.send(failed=failed)
        if failed:
            os._exit(1)
        while True:
            ready, _, _ = select.select([self._control.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, _PIECE)
                self._reap()
            if self._control.fileno() in ready:
                for message in self._control.receive():
                    self._act(**message)

    def _confine(self, wanted: dict[str, Any]) -> None:
        """Make the view of the files, and give up what only that needed."""
        if self._exchange is not None:
            users.map_files(self._exchange, view.mounted(), wanted["folder"])
        owner = None if self._elsewhere is None else users.STAND_IN
        places = (wanted[each] for each in ("hidden", "shown", "files", "fixed", "links"))
        view.furnish(*places, closed=wanted["closed"], owner=owner)
        if self._elsewhere is not None:
            users.become_root_elsewhere(self._elsewhere)
        os.chdir(wanted["folder"])  # what was laid over it, or above it, holds from here on
        system.hide_memory()  # the kernel forgets it with the user id

    def _start(self, wanted: dict[str, Any]) -> list[Any] | None:
        """Start the command; return the error number and text if there is none such."""
        ours, theirs = socket.socketpair()
        self._child = os.fork()
        if self._child == 0:
            ours.close()
            _become(theirs, wanted["command"], wanted["environment"], self._mask)
        theirs.close()
        _, received, _, _ = socket.recv_fds(ours, 1, 1)
        if not received:
            raise OSError(errno.EPERM, ours.recv(_PIECE).decode() or "the command's process ended at once")
        # The supervisor looks into its neighbours and resolves paths as they do; more it cannot.
        system.keep_capabilities(system.CAP_SYS_PTRACE, system.CAP_SYS_CHROOT)
        Supervisor(received[0], self._capture).start()
        self._capture.start()
        if wanted["foreground"]:
            self._hand_over()
        ours.sendall(b"!")
        answer = b"".join(iter(lambda: ours.recv(_PIECE), b""))  # closed by the kernel when the command has begun
        ours.close()
        return json.loads(answer) if answer else None

    def _hand_over(self) -> None:
        """Give the terminal to the command's group."""
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(self._terminal, self._child)

    def _act(self, **message: Any) -> None:
        """Do what the proxy says: pass a signal on, or continue a stopped command."""
        send: Callable[[int, int], None] = os.kill
        number = message["signal"]
        if message.get("foreground"):
            self._hand_over()
        if number in _TERMINAL or number == signal.SIGCONT:
            send = os.killpg
        with contextlib.suppress(ProcessLookupError):
            send(self._child, number)

    def _reap(self) -> None:
        """Bury the dead, and end with the command's status."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if process == 0:
                return
            if process == self._child and os.WIFSTOPPED(status):
                self._control.send(stopped=os.WSTOPSIG(status))
            elif process == self._child:
                code = os.waitstatus_to_exitcode(status)
                self._capture.finish()
                os._exit(code if code >= 0 else 128 - code)


def _become(
    control: socket.socket, command: list[str], environment: dict[str, str], mask: set[signal.Signals]
) -> NoReturn:
    """Give up everything and become the command."""
    try:
        os.setpgid(0, 0)  # a signal to one's own group reaches nobody outside
        system.forbid_privilege()
        notifications = system.install_filter(seccomp.program(system.MACHINE))
        socket.send_fds(control, [b"!"], [notifications])
        os.close(notifications)
    except OSError as error:
        control.sendall(b"?" + str(error.strerror or error).encode())
        os._exit(1)
    if not control.recv(1):  # the first process has ended: the command is not to begin
        os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - running it is the purpose
    except OSError as error:
        control.sendall(json.dumps([error.errno, error.strerror]).encode())
    os._exit(1)
