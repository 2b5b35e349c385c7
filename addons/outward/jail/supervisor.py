"""The supervisor of the jail: makes the connections of its processes, and keeps those that stay inside.

A filter cannot read an address, and who reads one and lets the call go on is deceived by a second thread. So no call
goes on: each `connect` is answered here, with a copy of the address. For a socket file the supervisor connects a socket
of its own. The kernel tells who listens behind it. If that is a process of this PID namespace, the socket takes the
place of the caller's; if not, the caller is refused, and nothing was said over it.

Whatever fails here is an error of the caller's, never a connection.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import struct
import threading

from outward.jail import system
from outward.jail.capture import Capture

_RECEIVE, _SEND, _IS_VALID, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103  # <linux/seccomp.h>
_NOTIFICATION, _RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_ADDITION, _AT_NUMBER = struct.Struct("=QIIII"), 1
_MOST_WORKERS = 512  # connections that may wait at a time, each for a listener that is slow to accept
_LONGEST, _LONGEST_PATH = 128, 108  # bytes; struct sockaddr_storage, and the path in struct sockaddr_un
_UNIX = struct.pack("=H", socket.AF_UNIX)
_TURN = struct.pack("@ll", 1, 0)  # struct timeval: how long to wait before looking whether the caller still does
_KEPT = (  # options of the caller's socket that its stand-in takes over
    (socket.SO_PASSCRED, 4, 1),
    (socket.SO_SNDBUF, 4, 2),  # the kernel doubles what it is told
    (socket.SO_RCVBUF, 4, 2),
    (socket.SO_RCVTIMEO, 16, 1),
    (socket.SO_SNDTIMEO, 16, 1),
)
_OWN = re.compile(rb"^/proc/(?:self|thread-self)(?=/)")


class Supervisor:
    """Answers a filter's notifications, in threads of the process that makes one."""

    def __init__(self, notifications: int, capture: Capture) -> None:
        self._notifications, self._capture = notifications, capture
        self._root = os.open("/", os.O_PATH)
        self._lock = threading.Lock()
        self._workers = self._idle = 0

    def start(self) -> None:
        """Begin to answer; the threads end with the process.

        Raises:
            OSError: nobody would answer: the user may have no more threads.
        """
        with self._lock:
            self._add_worker()
            if not self._workers:
                raise OSError(errno.EAGAIN, "the jail's supervisor cannot start a thread")

    def _add_worker(self) -> None:
        with contextlib.suppress(RuntimeError):  # the user may have no more threads: connections wait for the others
            threading.Thread(target=self._work, daemon=True).start()
            self._workers += 1
            self._idle += 1

    def _busy(self) -> None:
        """Leave somebody to answer while this thread cannot: who waits must not keep others from what would end it."""
        with self._lock:
            self._idle -= 1
            if not self._idle and self._workers < _MOST_WORKERS:
                self._add_worker()

    def _work(self) -> None:
        os.unshare(os.CLONE_FS)  # a working folder and a root of this thread's own
        while True:
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self._notifications, _RECEIVE, buffer)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.ENOENT}:
                    continue  # the caller has gone
                os._exit(1)  # nobody would answer any more: the jail ends
            self._busy()
            self._answer(buffer)
            with self._lock:
                self._idle += 1

    def _answer(self, buffer: bytearray) -> None:
        notification, thread, *_, descriptor, address, length, _, _, _ = _NOTIFICATION.unpack(buffer)
        failed = errno.EPERM
        try:
            call = ConnectCall(self._notifications, self._root, notification, thread, descriptor & 0xFFFFFFFF)
            call.connect(address, length, self._capture)
            failed = 0
        except OSError as error:
            failed = error.errno or errno.EPERM
        except Exception:  # noqa: BLE001 - a fault of ours refuses one connection, and no more
            failed = errno.EPERM
        with contextlib.suppress(OSError):  # the caller has gone
            fcntl.ioctl(self._notifications, _SEND, _RESPONSE.pack(notification, 0, -failed, 0))


class ConnectCall:
    """One `connect` of a process of the jail, which waits for its answer."""

    def __init__(self, notifications: int, root: int, notification: int, thread: int, descriptor: int) -> None:
        self._notifications, self._root, self._notification = notifications, root, notification
        self._thread, self._descriptor = thread, descriptor

    def connect(self, where: int, length: int, capture: Capture) -> None:
        """Connect as the caller asked.

        Args:
            where: of the address in the caller's memory.
            length: of the address, in bytes.
            capture: has somebody listen where TCP is dialled.

        Raises:
            OSError: what the caller is told.
        """
        length &= 0xFFFFFFFF
        if length > _LONGEST:
            raise OSError(errno.EINVAL, "the address is too long")
        process = os.pidfd_open(self._process())
        try:
            address = self._read(where, length)
            self._check()
            taken = system.take_descriptor(process, self._descriptor)
        finally:
            os.close(process)
        try:
            if _is_socket_file(taken, address):
                with socket.socket(fileno=os.dup(taken)) as theirs:
                    self._connect_to_file(theirs, address)
            else:
                with capture.led(self._thread, address) if _is_tcp(taken) else contextlib.nullcontext():
                    system.connect(taken, address)
        finally:
            os.close(taken)

    def _check(self) -> None:
        """Make sure that the number of the thread is still the caller's."""
        fcntl.ioctl(self._notifications, _IS_VALID, struct.pack("=Q", self._notification))

    def _process(self) -> int:
        with open(f"/proc/{self._thread}/status", "rb") as status:  # noqa: PTH123 - a new Path for each costs more
            for line in status:
                if line.startswith(b"Tgid:"):
                    return int(line[5:])
        raise OSError(errno.ESRCH, "the caller has gone")

    def _read(self, where: int, length: int) -> bytes:
        """Copy the address out of the caller's memory."""
        memory = os.open(f"/proc/{self._thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            read = os.pread(memory, length, where)
        except (OSError, OverflowError) as error:
            raise OSError(errno.EFAULT, "the address cannot be read") from error
        finally:
            os.close(memory)
        if len(read) != length:
            raise OSError(errno.EFAULT, "the address cannot be read")
        return read

    def _connect_to_file(self, theirs: socket.socket, address: bytes) -> None:
        """Connect a socket of our own, and give it to the caller if who listens is in the jail."""
        if len(address) > len(_UNIX) + _LONGEST_PATH:
            raise OSError(errno.EINVAL, "the address is too long")
        if theirs.type not in {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}:
            raise OSError(errno.EACCES, "this kind of socket needs no connection to send")
        if theirs.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "the socket listens")
        if _is_connected(theirs):
            raise OSError(errno.EISCONN, "the socket is connected already")
        with socket.socket(socket.AF_UNIX, theirs.type) as ours:
            waits = not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
            self._dial(ours, self._path(address), waits=waits)
            process, _, _ = struct.unpack("3i", ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if process <= 0:  # no number here: it is no process of this namespace
                raise OSError(errno.EACCES, "who listens is outside the jail")
            for option, size, times in _KEPT:
                value = theirs.getsockopt(socket.SOL_SOCKET, option, size)
                ours.setsockopt(socket.SOL_SOCKET, option, _divided(value, times))
            ours.setblocking(waits)
            self._replace(ours)

    def _path(self, address: bytes) -> bytes:
        path = address[2:].partition(b"\0")[0]
        path = _OWN.sub(b"/proc/%d" % self._process(), path)
        if len(path) > _LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, "the path is too long")
        return path

    def _dial(self, ours: socket.socket, path: bytes, *, waits: bool) -> None:
        """Connect to a path as the caller would find it, from its working folder and below its root."""
        ours.settimeout(None)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TURN)
        root = os.open(f"/proc/{self._thread}/root", os.O_PATH | os.O_CLOEXEC)
        folder = os.open(f"/proc/{self._thread}/cwd", os.O_PATH | os.O_CLOEXEC)
        try:
            self._check()
            _enter(root)
            os.fchdir(folder)
            if not waits:
                ours.setblocking(False)
            while True:
                try:
                    system.connect(ours.fileno(), _UNIX + path)
                except BlockingIOError:
                    if not waits:
                        raise
                    self._check()  # the listener's queue is full; does the caller still wait?
                else:
                    return
        finally:
            _enter(self._root)
            os.close(root)
            os.close(folder)

    def _replace(self, ours: socket.socket) -> None:
        """Put our socket in the place of the caller's."""
        with open(f"/proc/{self._thread}/fdinfo/{self._descriptor}", "rb") as info:  # noqa: PTH123 - as above
            flags = next(int(line[6:], 8) for line in info if line.startswith(b"flags:"))
        arguments = self._notification, _AT_NUMBER, ours.fileno(), self._descriptor, flags & os.O_CLOEXEC
        fcntl.ioctl(self._notifications, _ADD_DESCRIPTOR, _ADDITION.pack(*arguments))


def _is_connected(theirs: socket.socket) -> bool:
    try:
        theirs.getpeername()
    except OSError:
        return False
    return True


def _is_socket_file(descriptor: int, address: bytes) -> bool:
    """Whether an address names a file; other Unix addresses stay within the socket's own network namespace."""
    family = int.from_bytes(address[:2], "little")
    return family == socket.AF_UNIX and address[2:3] not in {b"", b"\0"} and _family(descriptor) == socket.AF_UNIX


def _family(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return copy.family


def _is_tcp(descriptor: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return copy.type == socket.SOCK_STREAM and copy.family in {socket.AF_INET, socket.AF_INET6}


def _enter(root: int) -> None:
    os.fchdir(root)
    os.chroot(".")


def _divided(value: bytes, times: int) -> bytes:
    return value if times == 1 else (int.from_bytes(value, "little") // times).to_bytes(len(value), "little")
