"""Networks of a test's own, out of namespaces: an internet with a canary, a node, and pods behind it. Needs root.

`internet` answers on every address of `ADDRESSES` and counts what arrives; neighbour discovery aside, and what belongs to a
connection that was counted, as its end some seconds later, a packet that it has not counted did not get out.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.process import environment
from harness.waiting import PATIENCE

HERE = Path(__file__).parent
CANARY, OTHER, METADATA, CANARY6 = "203.0.113.1", "203.0.113.2", "169.254.169.254", "2001:db8:1::1"
ADDRESSES = (CANARY, OTHER, METADATA, CANARY6)
PROXY_UID, AGENT_UID = 10001, 10002
NODE = "10.42.0.1"

_NUMBERS = itertools.count()

_COUNTER = """
table inet witness {
  counter arrived { }
  chain input {
    type filter hook input priority filter;
    iifname "lo" accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, mld2-listener-report } accept
    ct state established accept
    counter name "arrived"
  }
}
"""

needs_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft", "setpriv"))),
    reason="network namespaces need root, and the programs ip, nft and setpriv",
)


def run(*command: str | Path, stdin: str | None = None) -> str:
    """Run a command that has to succeed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Network:
    """A node, what lies behind it, and the processes in it; all end with `close`."""

    def __init__(self) -> None:
        self._tag = f"ow{os.getpid()}-{next(_NUMBERS)}"
        self._pods = 0
        self.spaces: list[str] = []
        self._running: list[subprocess.Popen[str]] = []
        self.node = self.internet = ""

    def build(self) -> None:
        """Make the node and the internet, and what answers there."""
        self.node = self._space("node")
        self.internet = self._space("internet")
        for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.at(self.node, "sysctl", "-qw", f"{setting}=1")
        self._link(self.internet, "internet", "10.42.255", "fd42:ff")
        for address in ADDRESSES:
            self.at(self.internet, "ip", "address", "add", address, "dev", "lo")
            via = "fd42:ff::2" if ":" in address else "10.42.255.2"
            self.at(self.node, "ip", "route", "add", address, "via", via)
        self.at(self.internet, "nft", "-f", "-", stdin=_COUNTER)
        self.answer(self.internet, *ADDRESSES)
        # The node has a service of its own, as kubelets do.
        self.at(self.node, "ip", "address", "add", NODE, "dev", "lo")
        self.answer(self.node, NODE)

    def pod(self, name: str) -> str:
        """Add a pod's namespace and return its name; its address is `10.42.<n>.2`, n counting from 1."""
        self._pods += 1
        space = self._space(name)
        self._link(space, name, f"10.42.{self._pods}", f"fd42:{self._pods}")
        self.at(space, "sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        return space

    def at(self, space: str, *command: str | Path, stdin: str | None = None) -> str:
        """Run a command in a namespace, as root."""
        return run("ip", "netns", "exec", space, *command, stdin=stdin)

    def start(self, space: str, *command: str | Path, stderr: Path | None = None) -> "subprocess.Popen[str]":
        """Start a process in a namespace, as root; what it says of itself goes to a file where one is given."""
        with (stderr or Path(os.devnull)).open("w") as said:
            process = subprocess.Popen(
                ["ip", "netns", "exec", space, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said if stderr else None,
                text=True,
                env=environment(),
            )
        self._running.append(process)
        return process

    @property
    def arrived(self) -> int:
        """Packets that have reached the internet."""
        listing = self.at(self.internet, "nft", "list", "counter", "inet", "witness", "arrived")
        found = re.search(r"packets (\d+)", listing)
        assert found
        return int(found[1])

    def close(self) -> None:
        """End the processes and remove the namespaces."""
        for process in self._running:
            process.kill()
            process.communicate()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)

    def answer(self, space: str, *addresses: str) -> None:
        """Start a canary, and wait until it listens."""
        canary = self.start(space, sys.executable, HERE / "canary.py", *addresses)
        assert canary.stdout is not None
        assert canary.stdout.readline() == "ready\n"

    def _space(self, name: str) -> str:
        space = f"{self._tag}-{name}"
        run("ip", "netns", "add", space)
        self.spaces.append(space)
        run("ip", "-n", space, "link", "set", "lo", "up")
        # Addresses serve at once: nobody else in these networks could have them (RFC 4862 5.4).
        for scope in ("all", "default"):
            self.at(space, "sysctl", "-qw", f"net.ipv6.conf.{scope}.accept_dad=0")
        return space

    def _link(self, space: str, name: str, four: str, six: str) -> None:
        """Join a namespace to the node: `.1` is the node's side, `.2` the other."""
        run("ip", "-n", self.node, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", space)
        for where, device, last in ((self.node, f"to-{name}", 1), (space, "eth0", 2)):
            run("ip", "-n", where, "address", "add", f"{four}.{last}/24", "dev", device)
            run("ip", "-n", where, "address", "add", f"{six}::{last}/64", "dev", device)
            run("ip", "-n", where, "link", "set", device, "up")
        run("ip", "-n", space, "route", "add", "default", "via", f"{four}.1")
        run("ip", "-n", space, "route", "add", "default", "via", f"{six}::1")


class Agent:
    """A process of the agent's user that tries what it is told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def attempt(self, act: str, host: str, port: int) -> str:
        """Try something; what starts with `none` has failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([act, host, port]) + "\n")
        self.process.stdin.flush()
        answer: str = json.loads(self.process.stdout.readline())
        return answer

    def succeed(self, act: str, host: str, port: int) -> str:
        """Try something that is answered, however busy the machine is."""
        self.attempt("patience", "", PATIENCE)
        answer = self.attempt(act, host, port)
        self.attempt("patience", "", 0)
        return answer


def agent_command(uid: int | None = None) -> Sequence[str | Path]:
    """Return the agent's command line; the interpreter is the system's, which every user can run."""
    system = Path("/usr/bin/python3")
    return (system if system.exists() else sys.executable, HERE / "agent.py", *([str(uid)] if uid is not None else []))


def as_proxy_user() -> Sequence[str]:
    """Return the prefix that makes a command the proxy's user's, without any power over the network."""
    return as_user(PROXY_UID)


def as_user(number: int) -> Sequence[str]:
    """Return the prefix that makes a command an ordinary user's.

    Reading is left to it, because this interpreter may lie where only root reads.
    """
    uid = str(number)
    read = (
        "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=-all,+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    )
    return "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", *read


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Build a network, and take it down."""
    made = Network()
    try:
        made.build()
        yield made
    finally:
        made.close()
