"""A program that tries to get out of a jail, one attempt a line; the standard library alone, for any interpreter.

Reads a JSON list a line, the attempt and what it takes, and answers with one JSON string a line: `got …` where it got
something from outside, `none: …` where it did not. Outside a jail the same attempts show that they are real.
"""

import contextlib
import ctypes
import json
import mmap
import os
import platform
import socket
import struct
import sys
import threading
import time
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {  # x86_64, aarch64
    "io_uring_setup": (425, 425), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "userfaultfd": (323, 282), "bpf": (321, 280), "perf_event_open": (298, 241), "open_by_handle_at": (304, 265),
}  # fmt: skip
PATIENCE = 20  # seconds; the machine may be busy
RACING = float(os.environ.get("RACING", "3"))  # seconds for a race that may be lost
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID = 0x20000, 0x10000000, 0x40000000, 0x20000000


def call(name, *arguments):
    number = NUMBERS[name][platform.machine() == "aarch64"]
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def talk(sock):
    """Say hello over a connection, and return who answers."""
    sock.settimeout(PATIENCE)
    sock.send(b"hello")
    return "got " + sock.recv(99).decode()


def stream(path, kind=socket.SOCK_STREAM):
    """Connect to a socket file, or to an abstract name written with `@`."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        return talk(sock)


def packets(path):
    return stream(path, socket.SOCK_SEQPACKET)


def under_links(path):
    """Call it by another name: a symbolic link, and a path over one's own working folder in `/proc`."""
    link = Path("link.sock")
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(path)
    return stream("/proc/self/cwd/link.sock")


def datagram(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return posted(sock, path)


def raw_datagram(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_RAW) as sock:
        return posted(sock, path)


def half_of_a_pair(path):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return posted(one, path)


def posted(sock, path):
    sock.sendto(b"hello", path)
    return "got it sent"


def pair_by_address(path):
    """Send to an address over a socket that is connected to something else."""
    one, other = socket.socketpair()
    with one, other:
        one.sendto(b"hello", path)
        return f"none: sent to {other.recv(9)!r}" if _waiting(other) else "got it sent"


def _waiting(sock):
    sock.settimeout(0.2)
    try:
        return bool(sock.recv(9, socket.MSG_PEEK))
    except OSError:
        return False


def own_server(reply):
    """Return the path of a server of our own."""
    path = f"own-{os.getpid()}-{threading.get_ident()}-{os.urandom(4).hex()}.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)

    def serve():
        while True:
            sock, _ = server.accept()
            with sock, contextlib.suppress(OSError):
                sock.settimeout(PATIENCE)
                sock.recv(9)
                sock.send(reply)

    threading.Thread(target=serve, daemon=True).start()
    return path


def swapped_address(path):
    """Change the address from a second thread while the kernel is asked to connect to it."""
    inner = own_server(b"own")
    one, two = (
        struct.pack("=H", socket.AF_UNIX) + os.fsencode(each) + b"\0" for each in (os.path.abspath(inner), path)
    )
    memory = ctypes.create_string_buffer(128)
    size, stop = max(len(one), len(two)), threading.Event()

    def swap():
        while not stop.is_set():
            for each in (one, two):
                ctypes.memmove(memory, each, len(each))

    _begin(swap, lambda: memory.raw[2:3] != b"\0")
    try:
        return _race(lambda sock: libc.connect(sock.fileno(), memory, size) == 0)
    finally:
        stop.set()


def swapped_file(path):
    """Change what the name means while the supervisor looks at it."""
    inner, name, stop = own_server(b"own"), "swap.sock", threading.Event()

    def swap():
        while not stop.is_set():
            for each in (inner, path):
                with contextlib.suppress(OSError):
                    os.symlink(each, "swap.new")
                    os.rename("swap.new", name)

    _begin(swap, lambda: os.path.lexists(name))
    try:
        return _race(lambda sock: sock.connect_ex(name) == 0)
    finally:
        stop.set()


def swapped_descriptor(path):
    """Put another socket at the number while the kernel is asked to connect it."""
    stop, number = threading.Event(), os.dup(0)

    def swap():
        while not stop.is_set():
            with socket.socket() as inet, socket.socket(socket.AF_UNIX) as unix:
                os.dup2(inet.fileno(), number)
                os.dup2(unix.fileno(), number)

    _begin(swap, lambda: os.readlink(f"/proc/self/fd/{number}").startswith("socket"))
    address = struct.pack("=H", socket.AF_UNIX) + os.fsencode(path) + b"\0"
    end = time.monotonic() + RACING
    try:
        while time.monotonic() < end:
            if libc.connect(number, address, len(address)) == 0:
                return "got connected"
        return "none: refused each time"
    finally:
        stop.set()


def _begin(swap, begun):
    threading.Thread(target=swap, daemon=True).start()
    while not begun():
        pass


def _race(connect):
    """Connect until somebody outside answers, for some seconds; tell who did."""
    answers, end = set(), time.monotonic() + RACING
    while "got outside" not in answers and time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            if connect(sock):
                answers.add(talk(sock))
    return "got outside" if "got outside" in answers else f"none: {sorted(answers)}"


def family(number, kind, protocol):
    with socket.socket(number, kind, protocol):
        return "got a socket"


def ring():
    return f"got {call('io_uring_setup', 4, ctypes.create_string_buffer(256))}"


def old_calls():
    """Make a system call of 32-bit programs, which have other numbers."""
    if platform.machine() != "x86_64":
        return "none: no such calls on this processor"
    code = bytes.fromhex("b814000000cd80c3")  # mov eax, getpid; int 0x80; ret
    child = os.fork()
    if child == 0:
        memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        memory.write(code)
        function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
        os._exit(0 if function() == os.getpid() else 1)
    _, status = os.waitpid(child, 0)
    return "got an answer" if status == 0 else f"none: {status}"


def many_numbers():
    """Call by a number of the x32 interface."""
    if libc.syscall(ctypes.c_long(0x40000000 | 39)) > 0:
        return "got an answer"
    return f"none: {os.strerror(ctypes.get_errno())}"


def key():
    return f"got key {call('add_key', b'user', b'outward-test', b'x', 1, -3)}"


def wanted_key():
    try:
        return f"got key {call('request_key', b'user', b'outward-test-no-such', b'more', 0)}"
    except OSError as error:
        if error.errno == 126:  # ENOKEY: the kernel has asked
            return "got asked"
        raise


def page_faults():
    return f"got {call('userfaultfd', 1)}"  # UFFD_USER_MODE_ONLY


def kernel_program():
    attributes = struct.pack("=IIIII", 1, 4, 4, 1, 0) + bytes(100)  # BPF_MAP_CREATE of a hash
    return f"got {call('bpf', 0, attributes, len(attributes))}"


def performance():
    attributes = struct.pack("=IIQ", 1, 112, 1) + bytes(24) + struct.pack("=Q", 0x61) + bytes(64)
    return f"got {call('perf_event_open', attributes, 0, -1, -1, 0)}"


def by_handle():
    """Open a file by its number on the disk, whatever lies over it."""
    handle, mount = struct.pack("=Ii", 128, 0) + bytes(128), ctypes.c_int()
    memory = ctypes.create_string_buffer(handle)
    if libc.name_to_handle_at(-100, b"/", memory, ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    folder = os.open("/", os.O_RDONLY)
    try:
        return f"got {call('open_by_handle_at', folder, memory, os.O_RDONLY)}"
    finally:
        os.close(folder)


def own_supervisor():
    """Install a filter whose listener could let calls go on; of two filters that notify, the younger is asked."""
    program = struct.pack("=HBBI", 0x06, 0, 0, 0x7FC00000)  # return SECCOMP_RET_USER_NOTIF
    lines = ctypes.create_string_buffer(program, len(program))
    child = os.fork()
    if child == 0:
        libc.prctl(38, 1, 0, 0, 0)  # no new privileges
        number = 277 if platform.machine() == "aarch64" else 317
        structure = struct.pack("@HP", 1, ctypes.addressof(lines))
        # Every call after this one waits for an answer, the end of this process too.
        libc.syscall(ctypes.c_long(number), ctypes.c_long(1), ctypes.c_long(8), structure)
        os._exit(ctypes.get_errno())
    own, end = _filters(os.getpid()), time.monotonic() + PATIENCE
    while _filters(child) <= own and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return f"none: {os.strerror(os.waitstatus_to_exitcode(status))}"
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "got a listener"


def _filters(pid):
    """Return how many filters a process is under."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Seccomp_filters:")), 0)


def opened(path, flags="r"):
    os.close(os.open(path, os.O_RDWR if "w" in flags else os.O_RDONLY))
    return "got it open"


def listed(path):
    found = sorted(os.listdir(path))
    return f"got {found}" if found else "none: empty"


def content(path):
    return f"got {Path(path).read_text()[:40]}"


def written(path, text):
    Path(path).write_text(text)
    return "got it written"


def replaced(path, text):
    """Put another file in the place of one."""
    Path(path + ".new").write_text(text)
    os.replace(path + ".new", path)
    return "got it replaced"


def another_folder(path, above):
    """Put another folder in the place of one, by moving a folder above it out of the way."""
    os.rename(above, above + ".old")
    os.makedirs(path)
    Path(path, "mine").write_text("x")
    return "got another"


def signalled(pid):
    os.kill(pid, 0)
    return "got a process"


def looked_into(pid):
    return f"got {os.listdir(f'/proc/{pid}/root')[:1]}"


def traced(pid):
    if libc.ptrace(0x4206, pid, None, None) != 0:  # PTRACE_SEIZE
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "got traced"


def first_memory():
    """Look into the jail's first process, which can do more than the command."""
    return f"got {os.open('/proc/1/mem', os.O_RDWR)}"


def first_descriptors():
    number = libc.syscall(ctypes.c_long(438), os.pidfd_open(1), 3, 0)  # pidfd_getfd
    return f"got {number}" if number >= 0 else f"none: {os.strerror(ctypes.get_errno())}"


def inherited():
    found = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if int(name) > 2
             and os.path.exists(f"/proc/self/fd/{name}")}  # fmt: skip
    found = {name: target for name, target in found.items() if not target.startswith(f"/proc/{os.getpid()}/")}
    return f"got {found}" if found else "none: none"


def from_memory(host, port):
    """Run a program that lies in memory only."""
    number = os.memfd_create("program", 0)
    text = f"import socket; s = socket.create_connection(({host!r}, {port}), {PATIENCE}); s.send(b'x'); print('got', s.recv(9)[0])"
    os.write(number, f"#!{sys.executable}\n{text}\n".encode())
    os.fchmod(number, 0o700)
    with os.popen(f"/proc/{os.getpid()}/fd/{number} 2>&1") as pipe:
        said = pipe.read().strip().splitlines()
    return said[-1] if said and said[-1].startswith("got") else f"none: {said[-1:]}"


def shared_segment(number):
    found = libc.shmget(number, 0, 0)
    return f"got segment {found}" if found >= 0 else f"none: {os.strerror(ctypes.get_errno())}"


def in_a_nest(act, *arguments):
    """Try something with every capability of a user namespace of one's own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            uid = os.getuid()
            if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            said = ATTEMPTS[act](*arguments)
        except OSError as error:
            said = f"none: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as pipe:
        return pipe.read().decode()


def mounted(kind, source, target, options=""):
    if libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "got it mounted"


def uncovered(path):
    """Take away what lies over a folder."""
    libc.umount2(path.encode(), 2)
    return listed(path)


def bound_elsewhere(source, target):
    """Show a folder at another place, without what lies over it."""
    os.makedirs(target, exist_ok=True)
    if libc.mount(source.encode(), target.encode(), None, 0x1000, None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "got it bound"


def typed():
    """Type into the terminal, as somebody at the keyboard would, with bits that the kernel ignores too."""
    with open("/dev/tty", "rb+", buffering=0) as terminal:
        for request in (0x5412, 0x100005412):
            for letter in b"x":
                if libc.ioctl(terminal.fileno(), ctypes.c_ulong(request), ctypes.byref(ctypes.c_char(letter))):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "got it typed"


def terminals():
    found = [name for name in os.listdir("/dev/pts") if name != "ptmx"]
    return f"got {found}" if found else "none: no terminal"


def kernel_event(kind):
    with socket.socket(16, 3, kind):
        return "got a socket"


ATTEMPTS = {name: thing for name, thing in globals().items() if callable(thing) and not name.startswith("_")}


def main():
    for line in sys.stdin:
        act, *arguments = json.loads(line)
        try:
            answer = ATTEMPTS[act](*arguments)
        except Exception as error:
            answer = f"none: {type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
