"""`outward run --jail`: the command has no other way out than the proxy, and is otherwise a command like any."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import netns
from harness.bypasses import BYPASSES, Bypass
from harness.jails import needs_jail
from harness.netns import CANARY, PROXY_UID, Agent, Network, agent_command, as_proxy_user, needs_root
from harness.process import OUTWARD, environment, processes_of
from harness.waiting import PATIENCE, wait_for
from outward.cli.jail import Jail, JailError
from outward.jail.capture import Capture
from outward.jail.supervisor import Supervisor

LOOPBACK = "127.0.0.53"  # not 127.0.0.1: there, in the jail, the proxy listens
NAMES = f"metadata.test: [{netns.METADATA}], node.test: [{netns.NODE}], loopback.test: [{LOOPBACK}]"
POLICY = (
    "version: 1\nserver: {{state: '{folder}/state'}}\n"
    f"upstream: {{{{dns: {{{{servers: ['{CANARY}:53'], hosts: {{{{{NAMES}}}}}}}}}}}}}\n"
    "groups: {{agents: {{denial: connect, allow: [{{host: allowed.test, ports: [443], tls: false}}, metadata.test, node.test, loopback.test]}}}}\n"
    "clients: [{{group: agents, anyone: true}}]\n"
)


pytestmark = [
    needs_jail,
    pytest.mark.slow,
]


@pytest.fixture
def config() -> Iterator[Path]:
    """A configuration, in a folder that other users reach too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "outward.yaml").write_text(POLICY.format(folder=folder))
        (folder / "state").mkdir()
        yield folder / "outward.yaml"


def jailed(config: Path, *command: str | Path) -> list[str | Path]:
    """Return the command line of a jailed command."""
    return [OUTWARD, "run", "--jail", "--no-token", "--config", config, "--", *command]


def run(config: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a jailed command."""
    return subprocess.run(
        jailed(config, *command), env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE
    )


@pytest.fixture(scope="module")
def open_network() -> Iterator[tuple[Network, Agent]]:
    """A jailed agent on a machine whose own way to the internet is open, with a service on its loopback, as ops ports are."""
    with tempfile.TemporaryDirectory() as name, netns.network() as network:
        config = Path(name) / "outward.yaml"
        config.write_text(POLICY.format(folder=name))
        machine = network.pod("machine")
        network.answer(machine, LOOPBACK)
        yield network, Agent(network.start(machine, *jailed(config, *agent_command())))


@needs_root
@pytest.mark.parametrize("bypass", [each for each in BYPASSES if each.act != "dns"], ids=lambda bypass: bypass.title)
def test_a_way_around_leads_nowhere(open_network: tuple[Network, Agent], bypass: Bypass) -> None:
    """The attempt fails although the machine is not fenced, and the internet has not seen one packet of it."""
    network, agent = open_network
    before = network.arrived
    answer = agent.attempt(bypass.act, bypass.host, bypass.port)
    assert answer.startswith("none"), answer
    assert network.arrived == before


@needs_root
@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        (netns.METADATA, 80, "no_rule"),
        (netns.NODE, 10250, "no_rule"),
        (LOOPBACK, 443, "no_rule"),
        (LOOPBACK, 9090, "no_rule"),
        ("metadata.test", 443, "address_not_public"),
        ("node.test", 443, "address_not_public"),
        ("loopback.test", 443, "address_not_public"),
    ],
)
def test_the_inside_of_the_machine_is_not_reached_either_way(
    open_network: tuple[Network, Agent], host: str, port: int, reason: str
) -> None:
    """Metadata, node, and what listens on the machine's loopback: neither directly nor through the proxy, named or not."""
    network, agent = open_network
    before = network.arrived
    assert agent.attempt("connect", host, port) == f'403 "{reason}"'
    assert agent.attempt("tcp", host, port).startswith("none")
    assert network.arrived == before


@needs_root
def test_the_service_on_the_loopback_is_there_for_others(open_network: tuple[Network, Agent]) -> None:
    """The attempts above are real: outside the jail the same machine's loopback answers."""
    network, _ = open_network
    machine = next(space for space in network.spaces if space.endswith("machine"))
    outside = Agent(network.start(machine, *agent_command()))
    assert outside.succeed("tcp", LOOPBACK, 443) == f"got reached {LOOPBACK}"


@needs_root
def test_names_are_not_resolved_inside(open_network: tuple[Network, Agent]) -> None:
    """Whatever name server is asked, the jail answers by itself, with an address that stands for the name."""
    network, agent = open_network
    before = network.arrived
    assert agent.attempt("name", "allowed.test", 443).startswith("got 198.18.0.")
    assert agent.succeed("dns", CANARY, 53).startswith("got")
    assert network.arrived == before


@needs_root
def test_what_is_allowed_works_through_the_proxy(open_network: tuple[Network, Agent]) -> None:
    """And what is not is denied."""
    _, agent = open_network
    assert agent.attempt("connect", "allowed.test", 443) == f"200 reached {CANARY}"
    assert agent.attempt("connect", "denied.test", 443) == '403 "no_rule"'


@needs_root
def test_what_knows_no_proxy_is_led_to_it(open_network: tuple[Network, Agent]) -> None:
    """It is judged by the name that it resolved; nobody listens where the jail's own loopback is dialled."""
    network, agent = open_network
    assert agent.succeed("tcp", "allowed.test", 443) == f"got reached {CANARY}"
    before = network.arrived
    assert "reset by peer" in agent.succeed("tcp", "denied.test", 443)
    assert "reset by peer" in agent.succeed("tcp", "denied.test", 8443)
    assert "refused" in agent.succeed("tcp", "denied.test", 25)
    assert "refused" in agent.succeed("tcp", "127.0.0.1", 443)
    assert network.arrived == before


@needs_root
def test_a_dead_proxy_leaves_nothing(config: Path) -> None:
    """The command ends with the proxy, even when the proxy had no time to end it."""
    mark = f"60.{os.getpid()}"
    process = subprocess.Popen(
        jailed(config, "sh", "-c", f"echo ready; exec sleep {mark}"), env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    wait_for(lambda: len(processes_of("sleep", mark)) == 1)
    process.kill()
    process.communicate()
    wait_for(lambda: not processes_of("sleep", mark))


@needs_root
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs an interpreter that every user can run")
def test_ordinary_users_have_it_too(config: Path) -> None:
    """Without any privilege, and as themselves: files that the command makes are theirs."""
    for path in (config.parent, config, config.parent / "state"):
        os.chown(path, PROXY_UID, PROXY_UID)
    inside = f"import os, socket; print(os.getuid()); s = socket.create_connection(('{CANARY}', 443), {PATIENCE}); s.send(b'hello'); s.recv(9)"
    command = [*as_proxy_user(), *jailed(config, "/usr/bin/python3", "-c", inside)]
    done = subprocess.run(
        command,
        env=environment() | {"HOME": str(config.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stdout == f"{PROXY_UID}\n", done.stderr
    assert "Connection reset by peer" in done.stderr
    assert "outward: 1 connection that did not use the proxy was led to it: `python3" in done.stderr


def test_run_holds_nothing_of_the_machines(config: Path) -> None:
    """Links apart, and the folder of `XDG_RUNTIME_DIR`, which programs ask for."""
    assert run(config, "sh", "-c", "find /run ! -type l ! -type d").stdout == ""


def test_the_exit_status_is_the_commands(config: Path) -> None:
    """As with any command, started or not."""
    assert run(config, "sh", "-c", "exit 7").returncode == 7
    assert run(config, "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM
    missing = run(config, "no-such-command")
    assert (missing.returncode, missing.stderr) == (127, "outward: no-such-command: command not found\n")
    assert run(config, "/").returncode == 126


def test_signals_reach_the_command(config: Path) -> None:
    """What is sent to `outward` is the command's to answer."""
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    process = subprocess.Popen(jailed(config, "sh", "-c", script), env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(PATIENCE) == 5
    process.stdout.close()


def test_where_the_kernel_refuses_nothing_is_run(config: Path) -> None:
    """A jail that cannot be made is an error that says which switch to turn; the command never starts."""
    shut = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", shut, "sh", *jailed(config, "echo", "it ran")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    assert "sysctl user.max_user_namespaces" in done.stderr
    assert "The command was not run" in done.stderr


def test_other_systems_say_that_they_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is promised where there are no namespaces."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(JailError, match="needs Linux"):
        Jail()


def test_without_anybody_to_answer_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor without a thread is an error; the command's connections would wait for ever."""

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(OSError, match="cannot start a thread"):
        Supervisor(-1, Capture(*socket.socketpair())).start()
