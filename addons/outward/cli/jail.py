"""The outside of `outward run --jail`: starts a process in namespaces of its own and takes over its only way out.

Owns the conversation with the jail's first process, and what is said where the kernel refuses. Never weakens the jail:
what cannot be made is an error, not a command that runs without it.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import click

from outward.cli.captures import Captures
from outward.cli.child import attend, cannot_start
from outward.cli.terminal import Terminal
from outward.config.loaded import Loaded
from outward.config.localhost import localhost_ports, localhost_rules
from outward.core.model import Place, Rule
from outward.jail import inside
from outward.jail.capture import PORTS

_PATIENCE = 20.0  # seconds for the namespaces to be made
_SYSCTL = Path("/proc/sys")
_CAUSES = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor restricts user namespaces"),
    ("kernel/unprivileged_userns_clone", "0", "user namespaces are switched off"),
    ("user/max_user_namespaces", "0", "no user namespaces are allowed"),
    ("kernel/yama/ptrace_scope", "3", "no process may look into another, as the jail's supervisor has to"),
)


class JailError(click.ClickException):
    """The jail cannot be made; the message says why and what helps."""


@dataclass(frozen=True, slots=True)
class View:
    """What the command sees of the files.

    Attributes:
        hidden: folders that are empty in the jail.
        shown: files in them that are seen nevertheless, read-only.
        files: files that cannot be written, while their folders may be moved.
        fixed: files and folders that cannot be written or replaced.
        links: symbolic links on the way to what is hidden or fixed, which cannot be replaced either.
        closed: files that cannot be read.
    """

    hidden: Sequence[str] = ()
    shown: Sequence[str] = ()
    files: Sequence[str] = ()
    fixed: Sequence[str] = ()
    links: Sequence[str] = ()
    closed: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        hidden: Sequence[Path],
        shown: Sequence[Path] = (),
        files: Sequence[Path] = (),
        fixed: Sequence[Path] = (),
        closed: Sequence[Path] = (),
    ) -> Self:
        """Make the hidden folders, so that nobody else can, and return the view with links resolved.

        Raises:
            JailError: the command works in a folder that would have to be read-only.
        """
        for folder in hidden:
            with contextlib.suppress(OSError):  # where we cannot make it, the command cannot either
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fixed = [_there(path) for path in fixed]
        hide, show, keep, fix, shut = (
            list(dict.fromkeys(os.path.realpath(path) for path in paths if path.exists()))
            for paths in (hidden, shown, files, fixed, closed)
        )
        tops, fix = _outside(hide, hide), _outside(_outside(fix, hide), fix)
        here = os.path.realpath(Path.cwd())
        for each in fix:
            if here == each or here.startswith(f"{each.rstrip('/')}/"):
                raise JailError(
                    f"no jail: the command works in {each}, where files that it adds would count as configuration or as"
                    " Outward itself. The command was not run. Work elsewhere, or include files by their names"
                )
        links = dict.fromkeys(link for path in (*hidden, *fixed) for link in _links(path))
        return cls(tops, show, _outside(keep, [*tops, *fix]), fix, list(links), _outside(shut, tops))


def _outside(paths: Sequence[str], folders: Sequence[str]) -> list[str]:
    return [path for path in paths if not any(path.startswith(f"{folder}/") for folder in folders)]


def _there(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists: what is missing could be made in that."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _links(path: Path) -> Iterator[str]:
    """Yield the symbolic links on the way to what exists, each by a path without others."""
    here, rest = "/", str(path.absolute()).split("/")[::-1]
    while rest:
        part = rest.pop()
        there = os.path.normpath(os.path.join(here, part))  # noqa: PTH118 - `here` has no links
        try:
            target = os.readlink(there)  # noqa: PTH115 - as above
        except OSError:
            here = there
            continue
        yield there
        here = "/" if target.startswith("/") else here
        rest += target.split("/")[::-1]


def opened(loaded: Loaded, ports: tuple[int, ...], *, quiet: bool) -> tuple[Rule, ...]:
    """Return what opens this machine's localhost to the jail, and say so."""
    asked = (rule for port in ports for rule in localhost_rules(port, Place("--localhost", 0)))
    rules = (*(loaded.settings.localhost if loaded.settings else ()), *asked)
    if rules and not quiet:
        told = ", ".join(f"{port} ({place})" for port, place in localhost_ports(rules).items())
        click.echo(f"outward: the jail reaches this machine's localhost on port {told}", err=True)
    return rules


class Jail:
    """A process that waits in its namespaces for the command to start.

    Attributes:
        listener: listens on the jail's loopback; whoever accepts on it is the way out.
        captures: what is led to the proxy although it knows none.
    """

    def __init__(self, localhost: Collection[int] = ()) -> None:
        """Make the namespaces; blocks for a moment.

        Args:
            localhost: ports of this machine's localhost that are led to the proxy.

        Raises:
            JailError: this system cannot, or the kernel refuses.
        """
        if sys.platform != "linux":
            raise JailError("--jail needs Linux; here, what ignores the proxy's variables is not held by anything")
        self._control, inner = socket.socketpair()
        self._control.settimeout(_PATIENCE)
        captures, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._terminal = Terminal()
        with inner, theirs:
            numbers = inner.fileno(), theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", inside.__file__, *map(str, (*numbers, *localhost))], pass_fds=numbers
            )
        try:
            message, received, _, _ = socket.recv_fds(self._control, 4096, 1 + len(PORTS) + 2 * len(localhost))
        except OSError as error:
            self._process.kill()
            raise JailError(_refusal(f"the jail did not answer: {error}")) from error
        if not received:
            self._process.wait()
            raise JailError(_refusal(json.loads(message or "{}").get("refused", "the jail ended at once")))
        self.listener, *captured = (socket.socket(fileno=each) for each in received)
        self.captures = Captures(captures, captured, localhost)

    @property
    def address(self) -> tuple[str, int]:
        """Where the proxy is, seen from within."""
        host, port = self.listener.getsockname()
        return host, port

    async def follow(self, command: Sequence[str], environment: Mapping[str, str], view: View) -> int:
        """Start the command, follow it to its end, and return its exit status; raises as `start`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self, self.listen)
        try:
            return await attend(self, lambda: self.start(command, environment, view), apart=True)
        finally:
            loop.remove_reader(self)
            self.captures.read()
            loop.remove_reader(self.captures)

    def start(self, command: Sequence[str], environment: Mapping[str, str], view: View) -> None:
        """Start the command.

        Raises:
            CommandError: it cannot be started.
            JailError: the jail could not be made after all.
        """
        folder = os.path.realpath(Path.cwd())
        wanted = {"command": list(command), "environment": dict(environment), "folder": folder, **asdict(view)}
        self._send(**wanted, foreground=self._terminal.is_wanted)
        answer = b""
        while not answer.endswith(b"\n"):
            try:
                data = self._control.recv(4096)
            except OSError as error:
                raise JailError(_refusal(f"the jail did not answer: {error}")) from error
            if not data:
                raise JailError(_refusal("the jail ended at once"))
            answer += data
        first, *others = answer.splitlines()
        said = json.loads(first)
        if "refused" in said:
            raise JailError(_refusal(said["refused"]))
        if said["failed"]:
            self._process.wait()
            raise cannot_start(command[0], OSError(*said["failed"]))
        self._follow(others)  # it was stopped as it began

    def fileno(self) -> int:
        """Return the descriptor that is ready when the jail has something to say."""
        return self._control.fileno()

    def listen(self) -> None:
        """Follow the command if it was stopped: stop too, and continue it afterwards."""
        try:
            data = self._control.recv(4096)
        except OSError:
            return
        self._follow(data.splitlines())

    def _follow(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            foreground = self._terminal.follow(json.loads(line)["stopped"])
            if foreground is not None:
                self._send(signal=int(self._terminal.CONTINUE), foreground=foreground)

    def send_signal(self, sig: int) -> None:
        """Send the command a signal, or its group one that a terminal sends."""
        self._send(signal=int(sig))

    def wait(self) -> int:
        """Wait for the command's end, and return its exit status."""
        status = self._process.wait()
        self._terminal.take_back()
        return status

    def _send(self, **message: Any) -> None:
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # it has ended, which `wait` tells

    def __enter__(self) -> Self:
        """Return the jail."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what runs in it: without this end of the socket its first process ends, and all with it."""
        self._control.close()
        self.listener.close()
        self.captures.close()
        self._process.wait()


def _refusal(said: str) -> str:
    """Explain why the kernel refused, as far as it shows."""
    found = [(name.replace("/", "."), cause) for name, value, cause in _CAUSES if _reads(_SYSCTL / name) == value]
    if found:
        names, causes = zip(*found, strict=True)
        why = f"{' and '.join(causes)} on this machine (sysctl {', '.join(names)})"
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
