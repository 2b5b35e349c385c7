"""`outward serve` as a process: start, readiness, reload, drain, stop."""

import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.full_disk import fill, free, small_disk
from harness.process import Echo, Served, outward
from harness.waiting import PATIENCE, wait_for

REFUSED = "HTTP/1.1 403 Blocked by egress policy"
OPENED = "HTTP/1.1 200 Connection established"

Start = Callable[..., Served]


def configuration(folder: Path, *allow: str, server: str = "", upstream: str = "") -> str:
    """A policy for anyone, with names that resolve to loopback."""
    rules = "".join(f"      - {entry}\n" for entry in allow) or "      []\n"
    return (
        "version: 1\n"
        f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{folder}/state'{server}}}\n"
        "upstream:\n"
        "  internal: [127.0.0.1/32]\n"
        f"  dns: {{hosts: {{origin.test: [127.0.0.1]}}}}\n{upstream}"
        f"groups:\n  dev:\n    allow:\n{rules}"
        "clients:\n  - {group: dev, anyone: true}\n"
    )


def raw(port: int) -> str:
    """A rule for the origin that carries anything, so that tests need no TLS."""
    return f"{{host: origin.test, ports: [{port}], tls: false}}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a proxy with a configuration; ended with the test."""
    running: list[Served] = []

    def begin(text: str, path: Path | None = None) -> Served:
        config = path or tmp_path / "outward.yaml"
        if path is None:
            config.write_text(text)
        running.append(Served(config))
        return running[-1]

    yield begin
    for each in running:
        each.end()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """An origin that echoes."""
    origin = Echo()
    yield origin
    origin.close()


@pytest.mark.parametrize("state", ["/dev/null/state", "/sys"])
def test_a_state_directory_that_cannot_be_written_is_named_with_its_cure(tmp_path: Path, state: str) -> None:
    """Whatever makes it so, and before anything is opened."""
    config = tmp_path / "outward.yaml"
    config.write_text(configuration(tmp_path).replace(f"{tmp_path}/state", state))
    done = outward("serve", "--config", config)
    assert done.returncode == 1
    last = done.stderr.splitlines(keepends=True)[-1]
    assert last.startswith(f"Error: the state directory {state} cannot be written: ")
    assert last.endswith("set `server.state`, or OUTWARD_STATE, to a folder that this user may write\n")


def test_a_start_on_a_full_disk_names_the_file_and_the_cure_and_leaves_nothing_half_made(
    start: Start, tmp_path: Path
) -> None:
    """With room again it starts."""
    config = tmp_path / "outward.yaml"
    config.write_text(configuration(tmp_path))
    with small_disk(tmp_path / "state") as state:
        fill(state)
        done = outward("serve", "--config", config)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith(
            f"Error: {state}/ca-key.pem cannot be used: No space left on device; make room there, or"
        )
        free(state)
        start(configuration(tmp_path)).end()


def test_it_gets_ready_and_writes_one_event_for_a_denial(start: Start, tmp_path: Path) -> None:
    """The id that the client was given is the one on standard output."""
    served = start(configuration(tmp_path))
    print(f"ready after {served.seconds:.2f} s")
    sock, head = served.connect("blocked.test")
    sock.close()
    assert head.startswith(REFUSED)
    wait_for(lambda: served.events)
    (event,) = served.events
    assert (event["verdict"], event["reason"], event["host"]) == ("deny", "no_rule", "blocked.test")
    assert f"Outward-Decision: {event['id']}".lower() in head.lower()
    well = dict.fromkeys(
        (
            "policy",
            "ca",
            "listener",
            "recorder",
            "draining",
            "reload",
            "store",
            "records",
            "clock",
            "rotation",
            "jwks",
            "webhooks",
            "subtrees",
            "audit_anchor",
        ),
        "ok",
    )
    wait_for(lambda: served.readiness()["checks"] == well)


def test_term_drains_and_exits_cleanly(start: Start, tmp_path: Path, echo: Echo) -> None:
    """New connections are refused, an open tunnel finishes, and the exit status is 0."""
    served = start(configuration(tmp_path, raw(echo.port)))
    sock, head = served.connect("origin.test", echo.port)
    assert head.startswith(OPENED)
    served.signal(signal.SIGTERM)
    wait_for(lambda: served.get("/readyz")[0] == 503)
    assert served.readiness()["checks"]["draining"] != "ok"
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the system likes
        socket.create_connection(served.proxy, timeout=PATIENCE).close()
    sock.sendall(b"still here")
    assert sock.recv(100) == b"still here"
    sock.close()
    assert served.wait() == 0


def test_what_does_not_finish_within_the_grace_period_is_cut(start: Start, tmp_path: Path, echo: Echo) -> None:
    """A tunnel that stays open does not keep the process alive; its event is not lost."""
    served = start(configuration(tmp_path, raw(echo.port), server=", grace: 1s"))
    sock, _ = served.connect("origin.test", echo.port)
    served.signal(signal.SIGTERM)
    assert served.wait() == 0
    assert sock.recv(1) == b""
    assert [event["host"] for event in served.events] == ["origin.test"]


def test_a_second_term_stops_at_once(start: Start, tmp_path: Path, echo: Echo) -> None:
    """Also when the grace period is long."""
    served = start(configuration(tmp_path, raw(echo.port), server=", grace: 10m"))
    sock, _ = served.connect("origin.test", echo.port)
    served.signal(signal.SIGTERM)
    wait_for(lambda: "draining" in served.log)
    served.signal(signal.SIGTERM)
    assert served.wait() == 0
    sock.close()


def test_who_asks_later_finds_each_policy_that_was_in_force(start: Start, tmp_path: Path) -> None:
    """Reloads are audited, those that failed as well, with the generation in force and what was wrong."""
    good = configuration(tmp_path)
    served = start(good)

    def rows() -> list[dict[str, Any]]:
        done = outward("audit", "--json", "--config", served.config)
        return json.loads(done.stdout) if done.returncode == 0 else []

    served.config.write_text(good + "\nsets: {odd: ['https://odd.test/']}\n")
    (failed,) = wait_for(rows)
    served.config.write_text(good + "\n# another\n")
    wait_for(lambda: len(rows()) == 2)
    reloaded = rows()[0]
    assert (failed["event_type"], reloaded["event_type"]) == ("policy_reload_failed", "policy_reloaded")
    for told in ("problem", "custom_message"):
        assert "a URL where a host should be" in failed["details"][told]
    assert failed["target_details"] == reloaded["details"]["from"]
    assert reloaded["target_details"] == reloaded["details"]["to"] != reloaded["details"]["from"]
    assert {len(row) for row in (failed, reloaded)} == {13}
    assert not reloaded["details"]["asked"]
    served.signal(signal.SIGHUP)
    wait_for(lambda: len(rows()) == 3)
    assert rows()[0]["details"]["asked"]
    assert outward("audit", "verify", "--config", served.config).returncode == 0


def test_hup_reloads(start: Start, tmp_path: Path, echo: Echo) -> None:
    """A tunnel that is open stays open, and new questions meet the new policy."""
    served = start(configuration(tmp_path, raw(echo.port)))
    assert re.search(rf"the configuration is {re.escape(str(served.config))}, generation [0-9a-f]{{12}}", served.log)
    sock, _ = served.connect("origin.test", echo.port)
    quiet = configuration(tmp_path, server=", log_level: error")
    served.config.write_text(quiet)
    served.signal(signal.SIGHUP)
    wait_for(lambda: served.answer("origin.test", echo.port) == REFUSED)
    assert "reloaded: generation" not in served.log, "the level of the log follows too"
    sock.sendall(b"still here")
    assert sock.recv(100) == b"still here"
    sock.close()


def test_a_swapped_symlink_is_noticed(start: Start, tmp_path: Path, echo: Echo) -> None:
    """Kubernetes replaces `..data`; the file's own path does not change."""
    for version, rules in (("one", ()), ("two", (raw(echo.port),))):
        (tmp_path / version).mkdir()
        (tmp_path / version / "outward.yaml").write_text(configuration(tmp_path, *rules))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "outward.yaml").symlink_to("..data/outward.yaml")
    served = start("", tmp_path / "outward.yaml")
    assert served.answer("origin.test", echo.port) == REFUSED
    (tmp_path / "..next").symlink_to("two")
    (tmp_path / "..next").replace(tmp_path / "..data")
    wait_for(lambda: served.answer("origin.test", echo.port) == OPENED)


def test_a_bad_file_keeps_the_last_good_policy_and_says_so(start: Start, tmp_path: Path, echo: Echo) -> None:
    """In the log, the metric and the readiness detail; a mended file clears all three."""
    good = configuration(tmp_path, raw(echo.port))
    served = start(good)
    assert served.metric("outward_config_last_reload_successful") == 1
    served.config.write_text(good.replace("allow:", "alow:"))
    wait_for(lambda: served.readiness()["checks"]["reload"] != "ok")
    assert "alow" in served.readiness()["checks"]["reload"]
    assert served.get("/readyz")[0] == 200
    wait_for(lambda: "reload failed" in served.log)
    assert served.metric("outward_config_last_reload_successful") == 0
    assert served.answer("origin.test", echo.port) == OPENED
    served.config.write_text(good + "# mended\n")
    wait_for(lambda: served.readiness()["checks"]["reload"] == "ok")
    assert served.metric("outward_config_last_reload_successful") == 1


def test_a_broken_table_of_vendors_leaves_all_in_force_and_says_so(start: Start, tmp_path: Path, echo: Echo) -> None:
    """A reload is whole: the policy beside the table is not taken up either."""
    table = tmp_path / "tables/openai.yaml"
    table.parent.mkdir()
    good = "adapter: openai\nsource: mine\ndate: 2027-01-01\n---\nendpoints: {POST /newcomer: usual}\n"
    table.write_text(good)
    tables = "vendor_tables: [tables]\n"
    served = start(configuration(tmp_path, raw(echo.port)) + tables)
    table.write_text(good.replace("usual", "sometimes"))
    served.config.write_text(configuration(tmp_path) + tables)
    wait_for(lambda: served.readiness()["checks"]["reload"] != "ok")
    assert "'sometimes' is" in served.readiness()["checks"]["reload"]
    wait_for(lambda: "reload failed" in served.log)
    assert served.answer("origin.test", echo.port) == OPENED
    table.write_text(good)
    served.signal(signal.SIGHUP)
    wait_for(lambda: served.readiness()["checks"]["reload"] == "ok")
    assert served.answer("origin.test", echo.port) == REFUSED


def test_a_file_that_vanishes_keeps_the_last_good_policy(start: Start, tmp_path: Path, echo: Echo) -> None:
    """Nothing to read is not a policy that allows or denies everything."""
    served = start(configuration(tmp_path, raw(echo.port)))
    served.config.unlink()
    wait_for(lambda: "reload failed" in served.log)
    assert served.answer("origin.test", echo.port) == OPENED
    assert served.answer("blocked.test") == REFUSED


def test_settings_that_need_a_restart_are_named(start: Start, tmp_path: Path) -> None:
    """The policy is in force; the port is not, and the log says so."""
    served = start(configuration(tmp_path))
    served.config.write_text(
        configuration(tmp_path, server=", grace: 7s").replace("listen: '127.0.0.1:0'", "listen: '127.0.0.1:1'")
    )
    wait_for(lambda: "next start: listen" in served.log)


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    """Exit status 1, and the message names the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "outward.yaml"
        config.write_text(configuration(tmp_path).replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        done = outward("serve", "--config", config)
    assert done.returncode == 1
    assert f"the proxy port cannot be opened on 127.0.0.1 port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_with_errors_does_not_start(tmp_path: Path) -> None:
    """Exit status 3, with the place and the cure."""
    config = tmp_path / "outward.yaml"
    config.write_text(configuration(tmp_path).replace("groups:", "gruops:"))
    done = outward("serve", "--config", config)
    assert done.returncode == 3
    assert "gruops" in done.stderr
    assert "outward.yaml:" in done.stderr


def test_health_tells_ready_from_not(start: Start, tmp_path: Path, echo: Echo) -> None:
    """For container health checks: 0 while ready, 1 while draining, whatever has become of the file meanwhile."""
    served = start(configuration(tmp_path, raw(echo.port)))
    text = served.config.read_text().replace("ops: '127.0.0.1:0'", f"ops: '127.0.0.1:{served.ops[1]}'")
    other = tmp_path / "same-ops.yaml"
    other.write_text(text)
    health = partial(outward, "health", "--config", other)
    assert health().returncode == 0
    other.write_text(text.replace("allow:", "alow:"))  # the proxy goes on with its last good policy
    assert health().returncode == 0
    other.write_text("version: [")
    for asked in ({"OUTWARD_OPS": f"0.0.0.0:{served.ops[1]}"}, {"OUTWARD_OPS": f"localhost:{served.ops[1]}"}):
        told = health(**asked)
        assert (told.returncode, told.stderr) == (0, "")
    other.write_text(text)
    sock, _ = served.connect("origin.test", echo.port)
    served.signal(signal.SIGTERM)
    wait_for(lambda: served.get("/readyz")[0] == 503)
    assert health().returncode == 1
    sock.close()


def test_every_answer_under_reload_belongs_to_a_whole_policy(start: Start, tmp_path: Path, echo: Echo) -> None:
    """Two policies that allow nothing in common: no event shows a rule of one with the generation of the other."""
    first = configuration(tmp_path, raw(echo.port), '"a.test:1"')
    second = configuration(tmp_path, '"b.test:1"')
    served = start(first)
    deadline, turn = time.monotonic() + 4, 0
    while time.monotonic() < deadline:
        turn += 1
        served.config.write_text((first, second)[turn % 2])
        served.signal(signal.SIGHUP)
        for _ in range(20):
            served.answer("origin.test", echo.port)
    wait_for(lambda: len({event["generation"] for event in served.events}) == 2)
    allowed = {event["generation"] for event in served.events if event["verdict"] == "allow"}
    denied = {event["generation"] for event in served.events if event["reason"] == "no_rule"}
    assert allowed
    assert denied
    assert not allowed & denied
