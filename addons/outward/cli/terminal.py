"""The terminal, which a jailed command has while it is in the foreground; job control as a shell does it.

The command is in a process group of its own, so that none of its signals reaches this process. So somebody has to hand
it the terminal, stop with it at Ctrl-Z, and take the terminal back.
"""

import contextlib
import os
import signal
import sys

_WANTS = frozenset((signal.SIGTTIN, signal.SIGTTOU))  # a group in the background reads, or sets the terminal up


class Terminal:
    """The controlling terminal, if there is one."""

    CONTINUE = signal.SIGCONT

    def __init__(self) -> None:
        self._given = False
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)

    @property
    def is_wanted(self) -> bool:
        """Whether the command gets the terminal at once: in a pipeline it does when it asks, others may use it too."""
        streams = sys.stdin, sys.stdout
        self._given = self._is_ours() and all(stream is not None and stream.isatty() for stream in streams)
        return self._given

    def follow(self, number: int) -> bool | None:
        """Stop as the command did, by a signal; return when continued, or at once.

        Returns:
            Whether the command gets the terminal; None if it is to stay as it is.
        """
        if number == signal.SIGSTOP:
            return None  # somebody stopped the command alone, and will continue it
        if number not in _WANTS or not self._is_ours():
            self._stop(number)
        self._given = self._is_ours()
        return self._given

    def take_back(self) -> None:
        """Take the terminal from a group that has ended."""
        if self._given and self._descriptor is not None:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
            with contextlib.suppress(OSError):
                os.tcsetpgrp(self._descriptor, os.getpgrp())
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._given = False

    def _stop(self, number: int) -> None:
        """Stop this group, so that the shell that started it takes the terminal."""
        self.take_back()
        before = signal.signal(number, signal.SIG_DFL)
        os.killpg(os.getpgrp(), number)  # returns when somebody continues us, or at once where nobody could
        signal.signal(number, before)

    def _is_ours(self) -> bool:
        """Whether this process group, or the command's in its stead, is in the foreground."""
        if self._descriptor is None:
            return False
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            return False
