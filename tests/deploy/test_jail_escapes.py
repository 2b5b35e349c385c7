"""Ways out of `outward run --jail`, each tried as root and as an ordinary user, inside and, to show that it is real, outside.

What does not work outside either (a device that is not there, a kernel without the feature) is skipped, and says so.
"""

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import outward
from harness import netns
from harness.jails import needs_jail
from harness.netns import Agent, as_user, needs_root
from harness.process import OUTWARD, environment, processes_of
from harness.waiting import PATIENCE, wait_for

NOBODY = 65534
PROGRAM = Path(netns.HERE) / "escapes.py"
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
POLICY = "version: 1\nserver: {{state: '{folder}/state'}}\ngroups: {{agents: {{allow: [allowed.test]}}}}\nclients: [{{group: agents, anyone: true}}]\n"


pytestmark = [
    needs_jail,
    needs_root,
    pytest.mark.slow,
]


class Outside:
    """What listens outside the jail, each bound in a way of its own; all answer `outside`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sockets: list[socket.socket] = []
        self._paths: list[Path] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Bind them."""
        folder = self._folder
        self.bind(str(folder / "absolute.sock"))
        with contextlib.chdir(folder):
            self.bind("relative.sock")
        self.bind(str(folder / "link.tmp"))
        os.link(folder / "link.tmp", folder / "linked.sock")
        (folder / "link.tmp").unlink()
        self.bind(str(folder / "rename.tmp")).parent.joinpath("rename.tmp").rename(folder / "renamed.sock")
        number = os.open(folder, os.O_PATH)
        self.bind(f"/proc/self/fd/{number}/descriptor.sock")
        os.close(number)
        self.bind(str(folder / "packets.sock"), socket.SOCK_SEQPACKET)
        self.bind(str(folder / "datagram.sock"), socket.SOCK_DGRAM)
        self.bind(f"\0outward-test-{os.getpid()}")
        self.bind(f"/run/outward-test-{os.getpid()}.sock")
        self.bind("/tmp/.X11-unix-outward-test" + str(os.getpid()))
        serve = "import socket,sys; s=socket.socket(1); s.bind(sys.argv[1]); s.listen(); print('ready', flush=True)\nwhile 1: c=s.accept()[0]; c.recv(9); c.send(b'outside')"
        other = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", serve, str(folder / "elsewhere.sock")], stdout=subprocess.PIPE
        )
        self._processes.append(other)
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        (folder / "elsewhere.sock").chmod(0o777)

    def bind(self, path: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> Path:
        """Bind a socket, and answer on it."""
        server = socket.socket(socket.AF_UNIX, kind)
        self._sockets.append(server)
        server.bind(path)
        if not path.startswith("\0"):
            Path(path).chmod(0o777)
            self._paths.append(Path(path))
        if kind is not socket.SOCK_DGRAM:
            server.listen(64)
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        return Path(path)

    @staticmethod
    def _serve(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=Outside._answer, args=(server.accept()[0],), daemon=True).start()

    @staticmethod
    def _answer(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.settimeout(PATIENCE)
            if sock.recv(9):
                sock.send(b"outside")

    def close(self) -> None:
        """Take all away."""
        for server in self._sockets:
            with contextlib.suppress(OSError):  # of datagrams; the others' threads wake up
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        for process in self._processes:
            process.kill()
            process.communicate()
        for path in self._paths:
            if path.is_absolute() and self._folder not in path.parents:
                path.unlink(missing_ok=True)


@dataclass
class Captive:
    """An agent in a jail, one outside, and what both try."""

    folder: Path
    outside: Agent
    inside: Agent
    services: Outside
    jail: "subprocess.Popen[str]"
    victim: int
    segment: int
    policy: str
    inherited: str

    def filled_in(self, word: object) -> object:
        """Replace the names of facts in what is tried."""
        numbers = {"{victim}": self.victim, "{segment}": self.segment}
        if not isinstance(word, str):
            return word
        return numbers[word] if word in numbers else word.format(folder=self.folder, pid=os.getpid())


def _ask(agent: Agent, *what: object) -> str:
    assert agent.process.stdin is not None
    assert agent.process.stdout is not None
    agent.process.stdin.write(json.dumps(what) + "\n")
    agent.process.stdin.flush()
    line = agent.process.stdout.readline()
    assert line, f"the agent ended at {what}"
    return str(json.loads(line))


@pytest.fixture(scope="module", params=[0, NOBODY], ids=["root", "nobody"])
def captive(request: pytest.FixtureRequest) -> Iterator[Captive]:
    """An agent in a jail that a user made, among that user's own files."""
    uid: int = request.param
    become = [] if uid == 0 else list(as_user(uid))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o777)
        for each in ("home/.config", "home/.cache", "home/.local/state", "state", "work"):
            (folder / each).mkdir(parents=True, exist_ok=True)
        policy = POLICY.format(folder=folder)
        (folder / "outward.yaml").write_text(policy)
        (folder / "state/ca-key.pem").write_text("a key")
        shutil.copy(PROGRAM, folder / "escapes.py")
        for path in folder.rglob("*"):
            os.chown(path, uid, uid)
        services = Outside(folder)
        stack.callback(services.close)
        services.start()
        key = 0x6F000000 + os.getpid()
        segment = ctypes.CDLL(None).shmget(key, 4096, 0o1666)
        stack.callback(ctypes.CDLL(None).shmctl, segment, 0, None)
        env = environment() | {"HOME": str(folder / "home")}

        def start(*command: str | Path, **more: object) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [*become, *command],
                env=env,
                cwd=folder / "work",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                **more,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        agent = (PYTHON, folder / "escapes.py")
        victim = start("sleep", "600")
        jail = start(OUTWARD, "run", "--jail", "--no-token", "--config", folder / "outward.yaml", "--", *agent)
        inside = Agent(jail)
        inherited = _ask(inside, "inherited")
        services.bind(str(folder / "late.sock"))
        outside = Agent(start("env", "RACING=30", *agent))  # where the race can be won, it ends then
        yield Captive(folder, outside, inside, services, jail, victim.pid, key, policy, inherited)


# What is tried, by what it is called in `docs/guides/bypasses.md`, and how. `{folder}` and the like are filled in.
SOCKETS = {
    "a socket file, bound by its whole path": ("stream", "{folder}/absolute.sock"),
    "bound by a relative path": ("stream", "{folder}/relative.sock"),
    "bound, then linked": ("stream", "{folder}/linked.sock"),
    "bound, then renamed": ("stream", "{folder}/renamed.sock"),
    "bound through a descriptor of its folder": ("stream", "{folder}/descriptor.sock"),
    "bound in another network namespace": ("stream", "{folder}/elsewhere.sock"),
    "bound after the jail began": ("stream", "{folder}/late.sock"),
    "in /run, as the message bus, systemd and docker": ("stream", "/run/outward-test-{pid}.sock"),
    "in /tmp, as X11": ("stream", "/tmp/.X11-unix-outward-test{pid}"),
    "of sequenced packets": ("packets", "{folder}/packets.sock"),
    "through a symbolic link and /proc/self/cwd": ("under_links", "{folder}/absolute.sock"),
    "an abstract name": ("stream", "@outward-test-{pid}"),
    "a datagram": ("datagram", "{folder}/datagram.sock"),
    "a datagram over a raw socket": ("raw_datagram", "{folder}/datagram.sock"),
    "a datagram over one half of a pair": ("half_of_a_pair", "{folder}/datagram.sock"),
    "from a user namespace of one's own": ("in_a_nest", "stream", "{folder}/absolute.sock"),
    "the socket changed during the call": ("swapped_descriptor", "{folder}/absolute.sock"),
}
KERNEL = {
    "io_uring": ("ring",),
    "32-bit system calls": ("old_calls",),
    "x32 system calls": ("many_numbers",),
    "virtual-machine sockets (AF_VSOCK)": ("family", 40, 1, 0),
    "raw packets (AF_PACKET)": ("family", 17, 3, 0),
    "the kernel's ciphers (AF_ALG)": ("family", 38, 5, 0),
    "netlink beyond routes: generic": ("family", 16, 3, 16),
    "netlink beyond routes: device events": ("family", 16, 3, 15),
    "netlink beyond routes: other sockets": ("family", 16, 3, 4),
    "other families: TIPC": ("family", 30, 5, 0),
    "other families: Bluetooth": ("family", 31, 3, 1),
    "keyrings": ("key",),
    "a key that a program outside is asked for": ("wanted_key",),
    "userfaultfd": ("page_faults",),
    "bpf": ("kernel_program",),
    "performance events": ("performance",),
    "a file by its handle": ("by_handle",),
    "a filter of one's own that answers in the supervisor's place": ("own_supervisor",),
    "System V shared memory": ("shared_segment", "{segment}"),
    "a signal to a process outside": ("signalled", "{victim}"),
    "tracing a process outside": ("traced", "{victim}"),
    "/proc/PID/root of a process outside": ("looked_into", "{victim}"),
    "mounting 9p": ("in_a_nest", "mounted", "9p", "x", "/mnt", "trans=fd,rfdno=0,wfdno=0"),
    "mounting NFS": ("in_a_nest", "mounted", "nfs", "203.0.113.1:/", "/mnt", "addr=203.0.113.1"),
}
FILES = {
    "/proc/sys/kernel/core_pattern, for writing": ("opened", "/proc/sys/kernel/core_pattern", "w"),
    "/proc/sysrq-trigger, for writing": ("opened", "/proc/sysrq-trigger", "w"),
    "/sys, for writing": ("opened", "/sys/kernel/mm/transparent_hugepage/enabled", "w"),
    "/dev/kvm": ("opened", "/dev/kvm", "w"),
    "/dev/kmsg": ("opened", "/dev/kmsg", "w"),
    "/dev/net/tun": ("opened", "/dev/net/tun", "w"),
    "/dev/fuse": ("opened", "/dev/fuse", "w"),
    "/dev/vsock": ("opened", "/dev/vsock"),
    "/dev/mem": ("opened", "/dev/mem"),
    "a disk": ("opened", "/dev/vda"),
    "other terminals": ("terminals",),
    "the state of the policy's proxy": ("listed", "{folder}/state"),
    "the state of this run": ("listed", "{folder}/home/.local/state/outward/run"),
    "the key of its authority": ("content", "{folder}/home/.local/state/outward/run/ca-key.pem"),
}
ATTEMPTS = SOCKETS | KERNEL | FILES
# Outside these work for anybody, whatever the machine: where they do not, the test is wrong, not the machine.
ALWAYS = set(SOCKETS) - {"from a user namespace of one's own"} | {
    "netlink beyond routes: generic",
    "a signal to a process outside",
}


@pytest.mark.parametrize("title", ATTEMPTS)
def test_an_attempt_comes_to_nothing_that_works_outside(captive: Captive, title: str) -> None:
    """Whoever made the jail."""
    what = [captive.filled_in(each) for each in ATTEMPTS[title]]
    outside = _ask(captive.outside, *what)
    if title in ALWAYS:
        assert outside.startswith("got"), outside
    inside = _ask(captive.inside, *what)
    if not outside.startswith("got") and inside.startswith("none"):
        pytest.skip(f"not to be had outside either, for this user on this machine: {outside}")
    if title == "the state of this run":
        seen = set(inside.removeprefix("got ").strip("[]").replace("'", "").split(", "))
        assert {"ca-bundle.pem", "ca.pem"} <= seen <= {"ca-bundle.pem", "ca.pem", "ca-bundle.p12", "ca-bundle.d"}
    else:
        assert inside.startswith("none"), inside


@pytest.mark.parametrize("act", ["swapped_address", "swapped_file"])
def test_a_race_with_the_supervisor_is_not_won(captive: Captive, act: str) -> None:
    """Only sockets of the jail answer, however fast an address, or what it names, changes."""
    path = str(captive.folder / "absolute.sock")
    assert _ask(captive.outside, act, path) == "got outside"
    assert _ask(captive.inside, act, path) in {"none: ['got own']", "none: []"}


def test_descriptors_and_the_supervisor_are_out_of_reach(captive: Captive) -> None:
    """Nothing is inherited, and the process that can do more cannot be looked into."""
    assert captive.inherited == "none: none"
    assert _ask(captive.inside, "first_memory").startswith("none")
    assert _ask(captive.inside, "first_descriptors").startswith("none")
    assert _ask(captive.inside, "looked_into", 1).startswith("none")
    assert _ask(captive.inside, "traced", 1).startswith("none")
    assert _ask(captive.inside, "pair_by_address", str(captive.folder / "datagram.sock")).startswith("none")


def test_a_program_from_memory_is_in_the_jail_too(captive: Captive) -> None:
    """As any program that is not on the disk."""
    assert "reset by peer" in _ask(captive.inside, "from_memory", netns.CANARY, 443)


def test_what_is_outwards_own_is_not_changed(captive: Captive) -> None:
    """Not by writing, not by putting something in its place, not by moving the folder above."""
    folder = captive.folder
    policy = str(folder / "outward.yaml")
    for act, *more in (("written", "x"), ("replaced", "x")):
        assert _ask(captive.inside, act, policy, *more).startswith("none"), act
    assert Path(policy).read_text() == captive.policy
    for own, above in (
        (folder / "state", folder / "state"),
        (folder / "home/.cache/outward", folder / "home/.cache"),
        (folder / "home/.config/outward", folder / "home/.config"),
        (folder / "home/.local/state/outward", folder / "home/.local"),
        (folder / "home/.cache/outward", folder / "home"),
    ):
        assert _ask(captive.inside, "written", f"{own}/mine", "x").startswith("none")
        assert _ask(captive.inside, "another_folder", str(own), str(above)).startswith("none"), above
        assert not (own / "mine").exists()
    for each in ("state", "home/.cache/outward"):
        assert not _ask(captive.inside, "in_a_nest", "uncovered", str(folder / each)).startswith("got ['audit")
        bound = _ask(captive.inside, "in_a_nest", "bound_elsewhere", str(folder), str(folder / "work/elsewhere"))
        assert bound.startswith("none"), bound


def test_outwards_own_programs_are_not_changed(captive: Captive) -> None:
    """They run outside: what the proxy has still to import, and all of it the next time."""
    package = Path(outward.__file__).parent
    for path in (package / "service.py", Path(sys.prefix) / "bin/outward"):
        assert _ask(captive.inside, "opened", str(path), "w").startswith("none")
    assert _ask(captive.inside, "written", f"{package}/new.txt", "x").startswith("none")
    assert not (package / "new.txt").exists()


# How a command could have another policy hold the next time; a file of the user's that it begins with, and a script.
REPLACEMENTS = {
    "the folder above": ("work/conf/policy.yaml", "mv conf old; mkdir conf; cp wide.yaml conf/policy.yaml"),
    "the working folder": ("work/policy.yaml", "cd ..; mv work old; mkdir work; cp old/wide.yaml work/policy.yaml"),
    "a link to the file": ("work/link.yaml", "rm -f link.yaml; cp wide.yaml link.yaml"),
    "a link to the folder": ("work/linked/policy.yaml", "rm -f linked; mkdir linked; cp wide.yaml linked/policy.yaml"),
    "a file that a pattern finds": ("work/conf/policy.yaml", "cp wide.yaml conf/parts/wide.yaml"),
    "a folder that a pattern would find": ("work/conf/policy.yaml", "mkdir conf/more; cp wide.yaml conf/more/"),
    "the user's own, behind a link": (None, 'cd ../home/.config; rm -f outward; cp -r "$OLDPWD/conf" outward'),
}


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "nobody"])
@pytest.mark.parametrize("way", REPLACEMENTS)
def test_a_policy_that_is_trusted_by_name_is_not_replaced(way: str, uid: int) -> None:
    """Neither its file, nor what leads to it, nor what its patterns find."""
    named, script = REPLACEMENTS[way]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work, own = folder / "work", folder / "home/dotfiles"
        for each in (work / "conf/parts", own, folder / "home/.config"):
            each.mkdir(parents=True)
        (folder / "home/.config/outward").symlink_to("../dotfiles")
        (work / "wide.yaml").write_text("groups: {wide: {allow: ['*']}}\n")
        policy = POLICY.format(folder=folder)
        for each in (work, own):
            (each / ("outward.yaml" if each == own else "policy.yaml")).write_text(policy)
        (work / "conf/policy.yaml").write_text(f"{policy}include: ['parts/*.yaml', 'more/*.yaml']\n")
        (work / "link.yaml").symlink_to("policy.yaml")
        (work / "linked").symlink_to("conf")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
        file = folder / (named or "home/.config/outward/outward.yaml")
        before = {path: path.read_text() for path in file.parent.rglob("*.yaml")}
        line = [
            OUTWARD,
            "run",
            "--jail",
            *(["--config", file] if named else []),
            "--",
            "sh",
            "-c",
            f"{script}; echo done",
        ]
        done = subprocess.run(
            [*(as_user(uid) if uid else ()), *map(str, line)],
            env=environment() | {"HOME": f"{folder}/home"},
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout == "done\n", done.stderr
        assert {path: path.read_text() for path in file.parent.rglob("*.yaml")} == before


def test_a_folder_where_a_pattern_looks_is_no_place_to_work_in(config: Path) -> None:
    """What the command wrote there would be policy the next time, and it cannot be made read-only."""
    config.write_text(config.read_text() + "include: ['more*.yaml']\n")
    done = run("echo", "it ran", config=config, capture_output=True, cwd=config.parent)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "include files by their names" in done.stderr


def own_state(config: Path) -> dict[str, str]:
    """The environment, with records that are this test's alone."""
    return environment() | {"XDG_STATE_HOME": str(config.parent)}


def run(*command: object, config: Path, **more: object) -> "subprocess.CompletedProcess[str]":
    """Run a jailed command as root."""
    line = [OUTWARD, "run", "--jail", "--no-token", "--config", config, "--", *map(str, command)]
    return subprocess.run(line, env=own_state(config), text=True, check=False, timeout=60, **more)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of this test's own."""
    (tmp_path / "outward.yaml").write_text(POLICY.format(folder=tmp_path))
    return tmp_path / "outward.yaml"


def test_the_last_denial_is_recorded_whatever_the_command_kills(config: Path) -> None:
    """It can kill neither its parent nor its group: the proxy lives on, and the records are complete."""
    script = "curl -s -o /dev/null http://denied.test/; kill -9 $PPID; kill -9 0; kill -9 -1; echo not reached"
    done = run("sh", "-c", script, config=config, capture_output=True)
    assert done.returncode == 128 + 9
    assert "denied.test" in done.stderr
    said = subprocess.run(
        [OUTWARD, "blocked", "--all"],
        env=own_state(config),
        cwd=config.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "denied.test" in said.stdout, said.stderr


@pytest.mark.parametrize("end", ["by itself", "killed"])
def test_nothing_outlives_the_jail(config: Path, end: str) -> None:
    """A process that left its session and its parent ends with the command, and with the proxy."""
    mark = f"600.{os.getpid()}{len(end)}"
    script = f"setsid sh -c 'sleep {mark} & sleep {mark}' & while [ $(pgrep -fc '^sleep {mark}') -lt 2 ]; do :; done; echo there"
    if end == "by itself":
        assert run("sh", "-c", script, config=config, stdout=subprocess.PIPE).stdout == "there\n"
    else:
        line = [OUTWARD, "run", "--jail", "--no-token", "--config", config, "--", "sh", "-c", script + "; sleep 600"]
        process = subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        assert len(processes_of("sleep", mark)) == 2
        process.kill()
        process.communicate()
    wait_for(lambda: not processes_of("sleep", mark))


def test_standard_streams_that_lead_out_are_refused(config: Path) -> None:
    """A socket of the machine's network could be connected elsewhere; Python itself refuses folders."""
    number = os.open("/", os.O_RDONLY)
    try:
        done = run("echo", "it ran", config=config, stdin=number, capture_output=True)
    finally:
        os.close(number)
    assert done.returncode != 0
    assert done.stdout == ""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as stream:
            done = run("true", config=config, stdin=stream.fileno(), capture_output=True)
        assert "standard input is a socket" in done.stderr
        assert "The command was not run" in done.stderr
