"""The terminal of `outward run --jail`: programs that ask find it, job control works, and nothing is typed into it."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.jails import needs_jail
from harness.process import OUTWARD, environment
from harness.waiting import PATIENCE, wait_for

POLICY = "version: 1\nserver: {{state: '{folder}/state'}}\ngroups: {{agents: {{allow: [allowed.test]}}}}\nclients: [{{group: agents, anyone: true}}]\n"
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


pytestmark = [needs_jail, pytest.mark.slow]


class Shell:
    """A shell with job control, on a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        (folder / "outward.yaml").write_text(POLICY.format(folder=folder))
        self.jail = f"{OUTWARD} run --jail --no-token --config {folder}/outward.yaml -- "
        self.plain = self.jail.replace("--jail ", "")
        self._pid, self.terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe(
                "bash", ["bash", "--norc", "-i"], environment() | {"PS1": "PROMPT> ", "HISTFILE": "", "TERM": "dumb"}
            )
        self._text = ""
        self.until("PROMPT> ")

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self.terminal, text.encode())

    def until(self, pattern: str) -> "re.Match[str]":
        """Wait until the screen shows something new."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self._text)):
            ready, _, _ = select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} is not in {self._text!r}"
            self._text += os.read(self.terminal, 4096).decode(errors="replace")
        self._text = self._text[found.end() :]
        return found

    def close(self) -> None:
        """Hang up."""
        os.close(self.terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in a folder of its own."""
    made = Shell(tmp_path)
    yield made
    made.close()


def test_a_program_that_asks_has_the_terminal(shell: Shell) -> None:
    """It is in the foreground, finds the terminal's name, is interrupted, stopped, and continued."""
    shell.type(f"{shell.jail}{PYTHON} -q\n")
    shell.until(">>> ")
    shell.type("import os, time; print(os.isatty(0), os.tcgetpgrp(0) == os.getpgrp(), os.ttyname(0))\n")
    shell.until(r"\nTrue True /dev/\S+")
    shell.type("print('wait' + 'ing'); any(time.sleep(0.05) for _ in range(9999))\n")
    shell.until("waiting")
    shell.type("\x03")
    shell.until("KeyboardInterrupt")
    shell.type("\x1a")
    shell.until("Stopped")
    shell.type("echo sh''ell\n")
    shell.until("shell")
    shell.type("fg\n")
    shell.until("-q")
    shell.type("\nprint(6 * 7)\n")
    shell.until("42")
    shell.type("raise SystemExit(3)\n")
    shell.until("PROMPT> ")
    shell.type("echo status $?\n")
    shell.until("status 3")


def test_a_shell_in_the_jail_controls_its_jobs(shell: Shell, tmp_path: Path) -> None:
    """Ctrl-Z stops its job, not the shell."""
    shell.type(f"{shell.jail}bash --norc -i\n")
    shell.until("PROMPT> ")
    program = tmp_path / "job.py"
    program.write_text(
        "import signal; signal.signal(signal.SIGCONT, lambda *_: print('ba' + 'ck', flush=True)); print('be' + 'gun', flush=True)\n"
        "while True: signal.pause()\n"
    )
    shell.type(f"{PYTHON} {program}\n")
    shell.until("begun")
    shell.type("\x1a")
    shell.until("Stopped")
    shell.type("fg\n")
    shell.until("back")
    shell.type("\x03")
    shell.until("PROMPT> ")
    shell.type("exit 4\n")
    shell.until("PROMPT> ")
    shell.type("echo status $?\n")
    shell.until("status 4")


def test_an_interrupt_ends_the_command(shell: Shell) -> None:
    """As without a jail."""
    shell.type(f"{shell.jail}sh -c 'echo be''gun; exec sleep 600'\n")
    shell.until("begun")
    shell.type("\x03")
    shell.until("PROMPT> ")
    shell.type("echo status $?\n")
    shell.until("status 130")


def test_a_pipeline_shares_the_terminal(shell: Shell) -> None:
    """Whoever reads it gets it: the command before a pipe, or the program behind it."""
    shell.type(f'{shell.jail}{PYTHON} -c \'print(input("na" + "me ").upper(), flush=True)\' | cat\n')
    shell.until("name ")
    shell.type("first\n")
    shell.until("FIRST")
    shell.until("PROMPT> ")
    reader = (
        'import sys; sys.stdin.read(); print(chr(63), flush=True); print(open(chr(47) + "dev/tty").readline().upper())'
    )
    shell.type(f"{shell.jail}echo x | {PYTHON} -c '{reader}'\n")
    shell.until(r"\n\?")
    shell.type("second\n")
    shell.until("SECOND")


def test_a_command_in_the_background_that_reads_is_stopped(shell: Shell) -> None:
    """And goes on in the foreground."""
    shell.type(f"{shell.jail}head -n 1 &\n")
    shell.until("PROMPT> ")

    def stopped() -> bool:  # the shell tells of it before a prompt
        shell.type("jobs\n")
        return "Stopped" in shell.until(r"(Running|Stopped).*\n")[0]

    wait_for(stopped)
    shell.type("fg\n")
    shell.until("head -n 1")
    shell.type("line''\n")
    shell.until("line''\r\nline''")


def test_the_size_of_the_terminal_reaches_the_command(shell: Shell, tmp_path: Path) -> None:
    """When it changes, the command is told."""
    script = "import signal, os; signal.signal(signal.SIGWINCH, lambda *_: print('now', os.get_terminal_size(0), flush=True)); print('be' + 'gun', flush=True)\nwhile True: signal.pause()"
    program = tmp_path / "size.py"
    program.write_text(script)
    shell.type(f"{shell.jail}{PYTHON} {program}\n")
    shell.until("begun")
    fcntl.ioctl(shell.terminal, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    shell.until(r"now .*columns=77, lines=33")


def test_nothing_is_pasted_by_a_console(shell: Shell, tmp_path: Path) -> None:
    """The filter says no, whatever the terminal; a terminal that is no console would say so itself."""
    program = tmp_path / "paste.py"
    program.write_text(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for request in (0x541C, 0x10000541C):\n"
        "    libc.ioctl(0, ctypes.c_ulong(request), ctypes.byref(ctypes.c_char(3)))\n"
        "    print('error', os.strerror(ctypes.get_errno()))\n"
    )
    shell.type(f"{shell.jail}{PYTHON} {program}; echo do''ne\n")
    shell.until(r"(?s)error Operation not permitted.*error Operation not permitted.*done")
    shell.type(f"{shell.plain}{PYTHON} {program}; echo do''ne\n")
    assert "Operation not permitted" not in shell.until(r"(?s)error .*error .*done")[0]


def test_nothing_is_typed_into_the_shell_that_began_it(shell: Shell, tmp_path: Path) -> None:
    """A command that types is refused; without a jail, on this kernel, the shell would run what was typed."""
    program = tmp_path / "type.py"
    program.write_text(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for letter in b'echo ty``ped\\n':\n"
        "    for request in (0x5412, 0x100005412):\n"
        "        if libc.ioctl(0, ctypes.c_ulong(request), ctypes.byref(ctypes.c_char(letter))) == 0: break\n"
        "print('error', os.strerror(ctypes.get_errno()))\n"
    )
    shell.type(f"{shell.jail}{PYTHON} {program}; echo do''ne\n")
    shell.until("error Operation not permitted")
    shell.until("done")
    shell.type("echo la''st\n")
    assert "typed" not in shell.until(r"(?s).*last")[0]
    shell.type(f"{shell.plain}{PYTHON} {program}; echo do''ne\n")
    if "Success" not in shell.until(r"error .*\n")[0]:
        pytest.skip("this kernel lets nobody type into a terminal (dev.tty.legacy_tiocsti)")
    shell.until("typed")
