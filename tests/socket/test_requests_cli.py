"""From blocked to allowed and back, as people and agents do it: real proxy, real command line, a real tunnel."""

import json
import re
import subprocess
import time

import pytest

from harness.admin import TOKEN
from harness.documents import blocks
from harness.ports import free_port
from harness.process import OUTWARD, Echo, Served, environment, outward
from harness.raw import client_hello
from harness.waiting import PATIENCE, wait_for

POLICY = """
version: 1
server: {{listen: "127.0.0.1:0", ops: "127.0.0.1:0", state: "{state}"}}
upstream:
  internal: [127.0.0.0/8]
  dns: {{servers: ["127.0.0.1:9"], hosts: {{new.example: ["127.0.0.1"], spoken.example: ["127.0.0.1"]}}}}
groups:
  acme: {{grants: allowed, allow: [docs.example]}}
  acme/chat: {{}}
  duo: {{}}
clients:
  - {{group: acme, anyone: true}}
"""


@pytest.fixture(scope="module", params=["a proxy"])
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    """One for many: each test asks for a host of its own, and a client may ask ten times in a row."""
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    (folder / "outward.yaml").write_text(POLICY.format(state=folder / "state"))
    running = Served(folder / "outward.yaml", OUTWARD_ADMIN_TOKEN=TOKEN)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def origin():
    running = Echo()
    try:
        yield running
    finally:
        running.close()


def proxy_of(served: Served) -> dict[str, str]:
    return {"HTTPS_PROXY": "http://{}:{}".format(*served.proxy)}


def listed(served: Served, request: str) -> dict[str, object]:
    """Return a request as the command line lists it."""
    (row,) = [
        row
        for row in json.loads(outward("requests", "list", "--json", "-c", served.config).stdout)
        if row["id"] == request
    ]
    return row


def test_from_blocked_to_open_and_closed_again(served: Served, origin: Echo) -> None:
    target = f"https://new.example:{origin.port}/a?token=secret"
    assert " 403 " in served.answer("new.example", origin.port)
    asked = outward("request", target, "--why", "to build <b>it</b>", "--json", **proxy_of(served))
    assert asked.returncode == 0, asked.stderr
    made = json.loads(asked.stdout)
    assert (made["state"], made["host"], made["port"]) == ("open", "new.example", origin.port)
    text = outward("request", target, "--why", "again", **proxy_of(served)).stdout
    assert made["id"] in text
    assert "Do not wait" in text
    row = listed(served, made["id"])
    assert (row["count"], row["whys"]) == (2, ["to build <b>it</b>", "again"])
    assert "new.example" in outward("requests", "list", "-g", "acme", "-c", served.config).stdout
    began = time.monotonic()
    done = outward("requests", "approve", made["id"], "--until", "1h", "--note", "fine", "-c", served.config)
    assert done.returncode == 0, done.stderr
    patch = [line for line in done.stdout.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert any(f'"new.example:{origin.port}"' in line for line in patch), done.stdout
    explained = outward("explain", target, "-c", served.config)
    assert (explained.returncode, "grant " in explained.stdout) == (0, True), explained.stdout
    wait_for(lambda: " 200 " in served.answer("new.example", origin.port))
    print(f"approved to open, the command's own start included: {time.monotonic() - began:.2f} s")
    (grant,) = json.loads(outward("requests", "grants", "--json", "-c", served.config).stdout)
    assert grant["id"] in outward("requests", "grants", "-c", served.config).stdout
    tunnel, _ = served.connect("new.example", origin.port)
    with tunnel:
        tunnel.sendall(client_hello("new.example"))
        assert tunnel.recv(100)
        assert outward("requests", "revoke", grant["id"], "-c", served.config).returncode == 0
        tunnel.settimeout(PATIENCE)
        while tunnel.recv(65536):  # what the origin had echoed
            pass
    assert " 403 " in served.answer("new.example", origin.port)
    assert outward("requests", "revoke", grant["id"], "-c", served.config).returncode == 1
    wait_for(lambda: any((event.get("detail") or "").startswith("the grant that") for event in served.events))
    assert "secret" not in json.dumps(served.events) + served.log


def test_a_refusal_reaches_who_asked(served: Served) -> None:
    made = json.loads(outward("request", "refused.example", "--why", "x", "--json", **proxy_of(served)).stdout)
    assert outward("requests", "deny", made["id"], "--note", "use docs.example", "-c", served.config).returncode == 0
    again = outward("request", "refused.example", "--why", "x", **proxy_of(served))
    assert "denied" in again.stdout
    assert "use docs.example" in again.stdout


@pytest.mark.parametrize("verb", ["approve", "deny", "revoke"])
def test_nothing_is_decided_behind_run(served: Served, verb: str) -> None:
    made = json.loads(outward("request", f"{verb}.example", "--why", "x", "--json", **proxy_of(served)).stdout)
    done = outward("requests", verb, made["id"], "-c", served.config, OUTWARD_INSIDE="1")
    assert (done.returncode, "outside `outward run`" in done.stderr) == (1, True)
    assert listed(served, made["id"])["state"] == "open"


@pytest.mark.parametrize(
    ("url", "status", "told"),
    [
        ("docs.example", 4, "allowed already"),
        ("https://*.example/", 4, "not a host name"),
        ("https://api.openai.com/", 4, "model vendors"),
        ("https://192.0.2.1/", 4, "Addresses"),
        ("https://u:p@new.example/", 4, "leave user name"),
    ],
)
@pytest.mark.parametrize("served", ["another proxy"], indirect=True)
def test_what_cannot_be_asked_for_is_said(served: Served, url: str, status: int, told: str) -> None:
    done = outward("request", url, "--why", "x", **proxy_of(served))
    assert (done.returncode, told in done.stderr) == (status, True), done.stderr


@pytest.mark.parametrize("served", ["another proxy"], indirect=True)
def test_the_guides_ask_as_they_say(served: Served) -> None:
    """Their blocks for a shell behind the proxy, and for one beside it, as they stand there."""
    proxy, api = proxy_of(served), "http://{}:{}".format(*served.ops)
    named = {**environment(), **proxy, "ADMIN": TOKEN, "OUTWARD_TOKEN": TOKEN, "ID": "chat-1"}
    named["PATH"] = f"{OUTWARD.parent}:{named['PATH']}"
    found = [each for each in blocks() if each.info in ('sh title="behind the proxy"', 'sh title="beside the proxy"')]
    assert len(found) > 3
    for block in found:
        text = re.sub(r"http://(?:outward|127\.0\.0\.1):9090", api, block.text)
        done = subprocess.run(
            ["bash", "-ec", text], env=named, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, (block.where, done.stderr)
        assert re.search(r'"opted_in": ?true|packages\.example\.com', done.stdout), (block.where, done.stdout)


def test_no_proxy_or_another_one(served: Served) -> None:
    assert "no proxy is named" in outward("request", "new.example", "--why", "x").stderr
    port = free_port()
    done = outward("request", "new.example", "--why", "x", HTTPS_PROXY=f"http://127.0.0.1:{port}")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


def test_a_decision_that_cannot_be(served: Served) -> None:
    made = json.loads(outward("request", "kept.example", "--why", "x", "--json", **proxy_of(served)).stdout)
    for arguments, status in (
        (("approve", "0" * 32), 1),
        (("approve", made["id"], "--until", "31d"), 1),
        (("approve", made["id"], "--until", "soon"), 2),
    ):
        assert outward("requests", *arguments, "-c", served.config).returncode == status
    grants = json.loads(outward("requests", "grants", "--json", "-c", served.config).stdout)
    assert "kept.example" not in {grant["host"] for grant in grants}
