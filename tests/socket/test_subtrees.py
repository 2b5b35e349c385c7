"""A team's broken file, seen from outside: its neighbours notice nothing, the operator is told, the last good stays."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import Echo, Served, outward
from harness.waiting import PATIENCE, wait_for

ALLOWED, REFUSED = "HTTP/1.1 200", "HTTP/1.1 403"


@pytest.fixture
def echo() -> Iterator[Echo]:
    """An origin."""
    origin = Echo()
    yield origin
    origin.close()


@pytest.fixture
def main(tmp_path: Path, echo: Echo) -> Path:
    """A company whose teams are told apart by the address that they come from."""
    path = tmp_path / "outward.yaml"
    path.write_text(
        "version: 1\n"
        f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{tmp_path}/state'}}\n"
        "include: [{files: 'teams/{namespace}.yaml', under: 'acme/{namespace}', may: ['lane: tunnel']}]\n"
        "upstream: {internal: [127.0.0.1/32], dns: {hosts: {a.test: [127.0.0.1], b.test: [127.0.0.1]}}}\n"
        f"groups: {{acme: {{ceiling: [{{host: '*.test', ports: [{echo.port}], public_suffix: true}}]}}}}\n"
        "clients: [{group: acme/ads, source: 127.0.0.2/32}, {group: acme/pay, source: 127.0.0.3/32}]\n"
    )
    (tmp_path / "teams").mkdir()
    return path


def test_a_teams_mistake_holds_up_that_team_alone(main: Path, echo: Echo) -> None:
    """At start, when it is mended, and when it is broken again beside somebody else's change."""

    def write(team: str, host: str, more: str = "") -> None:
        rule = f"{{host: {host}, ports: [{echo.port}], tls: false}}"
        (main.parent / f"teams/{team}.yaml").write_text(f"groups: {{acme/{team}: {{allow: [{rule}]{more}}}}}\n")

    def asks(source: str, host: str) -> str:
        with socket.create_connection(served.proxy, PATIENCE, (source, 0)) as sock:
            sock.sendall(f"CONNECT {host}:{echo.port} HTTP/1.1\r\nHost: {host}:{echo.port}\r\n\r\n".encode())
            return sock.recv(4096).decode()[:12]

    def kept_back() -> float | None:
        return served.metric("outward_policy_subtrees_kept_back")

    write("ads", "a.test")
    write("pay", "a.test", ", alow: []")
    served = Served(main)
    try:
        note = served.readiness()["checks"]["subtrees"]
        assert note.startswith("acme/pay: ")
        assert "teams/pay.yaml:1: unknown key `alow`; " in note
        assert (kept_back(), served.metric("outward_policy_subtrees")) == (1.0, 2.0)
        assert "kept back: acme/pay: " in served.log
        assert (asks("127.0.0.2", "a.test"), asks("127.0.0.3", "a.test")) == (ALLOWED, REFUSED)
        write("pay", "a.test")
        wait_for(lambda: asks("127.0.0.3", "a.test") == ALLOWED)
        wait_for(lambda: kept_back() == 0.0)
        write("pay", "b.test", ", mode: report")
        write("ads", "b.test")
        wait_for(lambda: asks("127.0.0.2", "b.test") == ALLOWED)
        wait_for(lambda: kept_back() == 1.0)
        assert (asks("127.0.0.3", "a.test"), asks("127.0.0.3", "b.test")) == (ALLOWED, REFUSED)
        assert served.readiness()["ready"]

        def audited() -> list[str]:
            done = outward("audit", "--json", "--config", main)
            rows = json.loads(done.stdout) if done.returncode == 0 else []
            return [told for row in rows for told in row["details"].get("kept_back", [])]

        assert "its last good content stays in force" in wait_for(audited)[0]
    finally:
        served.end()
