"""No output holds a secret's value: everything that the proxy and its verbs say is searched for canaries.

One proxy with two secrets, one from a variable and one from a file, is used, attacked, broken and killed. A canary is
the value, and what it is easily told from: its Base64 alone and in Basic credentials, in capitals, and its hashes.
"""

import base64
import hashlib
import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.misplacing import ATTACKS, Origin, curl
from harness.process import Served, outward
from harness.sink import Sink
from harness.waiting import wait_for

VALUE = "ghp_C4nary-of-a-variable-01"  # as long as a key
FILED = "C4nary+of/a=file-0123456789"
TOKEN = "admin-token-0123456789abcdef"


def canaries() -> set[str]:
    """Return what is looked for."""
    found: set[str] = set()
    for value in (VALUE, FILED):
        encoded = value.encode()
        pairs = (encoded, b"me:" + encoded, b"x-access-token:" + encoded)
        found |= {value, value.upper(), *(base64.b64encode(each).decode().rstrip("=") for each in pairs)}
        found |= {hashlib.new(name, encoded).hexdigest() for name in ("md5", "sha1", "sha256")}
    return found


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    running = Origin(tmp_path)
    yield running
    running.close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    running = Sink()
    yield running
    running.release.set()
    running.stop()


@pytest.fixture
def served(tmp_path: Path, origin: Origin, sink: Sink) -> Iterator[Served]:
    (tmp_path / "key").write_text(FILED)
    path = tmp_path / "outward.yaml"
    path.write_text(
        "version: 1\n"
        f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{tmp_path}/state'}}\n"
        "secrets:\n  github: {env: SECRET, hosts: [api.test]}\n"
        f"  filed: {{file: '{tmp_path}/key', hosts: [api.test]}}\n"
        f"webhooks: [{{url: '{sink.url}', events: [secret_new_use, new_host]}}]\n"
        f"upstream: {{trust: ['{origin.ca}'], internal: [127.0.0.1/32], dns: {{hosts: {{api.test: [127.0.0.1], "
        "other.test: [127.0.0.1], down.test: [127.0.0.1]}}}\n"
        "groups:\n  dev:\n    lane: inspect\n    allow:\n"
        f"      - {{host: api.test, port: {origin.port}, paths: ['/v1/**'], "
        'inject: {header: Authorization, value: "Bearer {github}"}}\n'
        f"      - {{host: api.test, port: {origin.port}, paths: ['/basic/**'], inject: {{basic: 'me:{{filed}}'}}}}\n"
        '      - {host: api.test, port: 1, inject: {header: Authorization, value: "Bearer {github}"}}\n'
        f"      - {{host: api.test, port: {origin.port}, paths: ['/public/**']}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    running = Served(path, SECRET=VALUE, OUTWARD_ADMIN_TOKEN=TOKEN, PYTHONFAULTHANDLER="1", PYTHONASYNCIODEBUG="1")
    resource.setrlimit(resource.RLIMIT_CORE, before)
    yield running
    running.end()


def used(served: Served, origin: Origin) -> str:
    """Use the proxy in every way that meets a secret, and return what its clients were told."""
    api = f"https://api.test:{origin.port}"
    told = [curl(served, f"{api}/v1/x"), curl(served, f"{api}/basic/x"), curl(served, "-d", VALUE, f"{api}/v1/x")]
    assert all("200 " in each.stdout for each in told), told
    assert f"Bearer {VALUE}" in origin.heads[0]
    assert base64.b64encode(f"me:{FILED}".encode()).decode() in origin.heads[1]
    told += [curl(served, *words, f"{api}{path}") for words, path in ATTACKS.values()]
    told += [curl(served, "-H", f"Authorization: Bearer {VALUE}", f"{api}/v1/{path}") for path in ("x", "%zz")]
    told += [
        curl(
            served, "-H", f"Authorization: Basic {base64.b64encode(f'me:{FILED}'.encode()).decode()}", f"{api}/basic/x"
        )
    ]
    told += [curl(served, "https://api.test:1/"), curl(served, "-H", f"X: {VALUE}", "https://unlisted.test/")]
    return "".join(each.stdout + each.stderr for each in told)


def kept(served: Served) -> bool:
    """Tell whether the store has all of it: it takes what happens later than the log does."""
    asked = (served.get(f"/api/v1/{path}", TOKEN)[1] for path in ("secrets", "secrets/uses"))
    secrets, uses = (json.loads(each)["items"] for each in asked)
    misdirected = {each["name"]: each["misdirected"] for each in secrets}
    return misdirected["github"] > 10 and {each["secret"] for each in uses} == {"github", "filed"}


def said(served: Served) -> dict[str, str]:
    """Return what the proxy and its verbs say, by its name."""
    found = {
        path: served.get(path, TOKEN)[1] for path in ("/metrics", "/readyz", "/healthz", "/", "/login", "/secrets")
    }
    api = (
        "blocked",
        "blocked/summary",
        "groups",
        "groups/dev",
        "audit",
        "conversations",
        "requests",
        "grants",
        "secrets",
        "secrets/uses",
    )
    found |= {name: served.get(f"/api/v1/{name}", TOKEN)[1] for name in api}
    held = {each["name"]: each for each in json.loads(found["secrets"])["items"]}
    counted = {name: f'outward_secret_misdirected_total{{secret="{name}"}}' in found["/metrics"] for name in held}
    assert (
        {name: each["misdirected"] > 10 for name, each in held.items()} == counted == {"github": True, "filed": False}
    )
    assert {each["secret"] for each in json.loads(found["secrets/uses"])["items"]} == {"github", "filed"}
    rows = json.loads(found["blocked"])["items"]
    assert rows
    found["decision"] = served.get(f"/api/v1/decisions/{rows[0]['id']}", TOKEN)[1]
    config = ("--config", str(served.config))
    for verb in (
        ("secrets", *config), ("secrets", "--json", *config), ("audit", "--json", *config), ("blocked", "--json", *config),
        ("explain", "https://api.test/v1/x", *config), ("explain", "--json", "https://api.test/v1/x", *config),
        ("check", "--json", str(served.config)), ("suggest", *config), ("audit", "export", *config), ("replay", *config),
    ):  # fmt: skip
        done = outward(*verb, SECRET=VALUE)
        assert "Traceback" not in done.stderr, done.stderr
        found[" ".join(verb)] = done.stdout + done.stderr
    return found


def test_no_output_holds_a_value(served: Served, origin: Origin, sink: Sink) -> None:
    clients = used(served, origin)
    wait_for(lambda: len([body for body in sink.taken if body["event"] == "secret_new_use"]) == 2)
    wait_for(lambda: kept(served))
    found = said(served) | {"clients": clients, "webhooks": json.dumps(sink.taken)}
    served.signal(signal.SIGABRT)  # dies with a traceback of every thread
    ended = os.waitid(os.P_PID, served.process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_code == os.CLD_KILLED  # and not CLD_DUMPED
    served.wait()
    wait_for(lambda: "Fatal Python error" in served.log)
    found |= {"log": served.log, "events": json.dumps(served.events)}
    state = served.config.parent / "state"
    found |= {str(path): path.read_bytes().decode("latin-1") for path in state.rglob("*") if path.is_file()}
    assert len(found["webhooks"]) > 100
    shown = {(name, canary) for name, text in found.items() for canary in canaries() if canary in text}
    assert shown == set()


def test_the_search_would_find_a_value(served: Served, origin: Origin) -> None:
    """A body may echo what a destination likes: there a canary is seen."""
    echoed = curl(served, f"https://api.test:{origin.port}/v1/x", "-d", "x").stdout
    assert VALUE not in echoed
    assert any(canary in "\n".join(origin.heads) for canary in canaries())
