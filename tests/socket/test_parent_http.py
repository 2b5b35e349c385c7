"""Plain requests through a parent proxy: in absolute form, with its credentials, and what it says of itself."""

import asyncio
import base64
import os
import pwd
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from harness.dialing import Origin, origin
from harness.gates import LIMITS, connect, request, status
from harness.inspection import World, get, inspecting
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.ports import free_port
from harness.raw import raw
from outward.config.settings import Limits
from outward.core.model import Rule, Stage, Verdict
from outward.core.reasons import Reason
from outward.proxy.parent import Parent
from outward.proxy.tunnel import ESTABLISHED
from outward.tls.alert import Alert

POLICY = policy(group(rule("www.example.test"), rule("old.example.test", ports={8080})))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CREDENTIALS = base64.b64encode(b"out:s@cret")
GET = request("GET http://www.example.test/a?b=1 HTTP/1.1", "Host: www.example.test", "Connection: close")


@asynccontextmanager
async def behind(tmp_path: Path, answer: bytes, *, closes: bool = True) -> AsyncIterator[tuple[World, Origin]]:
    async with origin() as parent, inspecting(POLICY, tmp_path) as world:
        parent.answer, parent.closes = answer, closes
        world.gate.resources.dialer.parent = Parent.parse(f"http://out:s%40cret@127.0.0.1:{parent.port}")
        yield world, parent


@on_loop
async def test_it_goes_to_the_parent_in_absolute_form_with_the_parents_credentials(tmp_path: Path) -> None:
    """Stock Squid refuses a CONNECT to port 80."""
    async with behind(tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as (world, parent):
        async with raw(world.address) as client:
            answer = await client.ask(GET)
        assert status(answer) == 200
        assert answer.endswith(b"ok")
        [head] = parent.heard
        lines = head.split(b"\r\n")
        assert lines[0] == b"GET http://www.example.test/a?b=1 HTTP/1.1"
        assert lines[1] == b"Host: www.example.test"
        assert lines.count(b"Proxy-Authorization: Basic " + CREDENTIALS) == 1
        assert b"Via: 1.1 " + world.gate.resources.dialer.pseudonym.encode() in lines
        assert [event.reason for event in world.events] == [Reason.RULE]


@on_loop
async def test_another_port_stands_in_the_target(tmp_path: Path) -> None:
    async with behind(tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (world, parent):
        async with raw(world.address) as client:
            line = "GET http://old.example.test:8080 HTTP/1.1"
            assert status(await client.ask(request(line, "Host: old.example.test:8080", "Connection: close"))) == 200
        assert parent.heard[0].startswith(
            b"GET http://old.example.test:8080/ HTTP/1.1\r\nHost: old.example.test:8080\r\n"
        )


@pytest.mark.parametrize(
    ("answer", "reason", "told"),
    [
        (
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            Reason.PARENT_REFUSED,
            "answered 407",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 0\r\n\r\n",
            Reason.PARENT_REFUSED,
            "answered 403 (ERR_ACCESS_DENIED)",
        ),
        (
            b"HTTP/1.1 503 Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\nContent-Length: 0\r\n\r\n",
            Reason.PARENT_FAILED,
            "answered 503 (ERR_DNS_FAIL)",
        ),
        (b"", Reason.PARENT_FAILED, "or what it asked"),
    ],
)
@on_loop
async def test_what_the_parent_says_of_itself_has_a_reason_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: bytes, reason: Reason, told: str
) -> None:
    async with behind(tmp_path, answer) as (world, parent):
        async with raw(world.address) as client:
            got = await client.ask(GET)
        assert status(got) == 502
        assert reason.value.encode() in got
        assert b"Proxy-Authenticate" not in got, "a client would answer it with its own credentials"
        await until(lambda: len(world.events) == 1)
        assert world.events[0].reason is reason
        assert f"the parent proxy 127.0.0.1:{parent.port}" in world.events[0].detail
        assert told in world.events[0].detail
        assert b"s@cret" not in got
        assert "s@cret" not in caplog.text
        assert CREDENTIALS.decode() not in caplog.text


@on_loop
async def test_the_destinations_own_refusal_passes(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    async with behind(tmp_path, answer) as (world, _), raw(world.address) as client:
        assert (await client.ask(GET)).endswith(b"no")


SQUID = """http_port 127.0.0.1:{port}
acl SSL_ports port 443
acl local dst 127.0.0.0/8
http_access deny CONNECT !SSL_ports
http_access {access}
http_access deny all
cache deny all
access_log none
cache_log /dev/null
pid_filename none
shutdown_lifetime 0 seconds
logfile_rotate 0
visible_hostname squid.test
cache_effective_user {user}
"""


def listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def running_squid(tmp_path: Path, port: int, access: str, *lines: str) -> AsyncIterator[None]:
    conf = tmp_path / "squid.conf"
    user = pwd.getpwuid(os.getuid()).pw_name if os.getuid() else "nobody"
    conf.write_text("".join(f"{line}\n" for line in (SQUID.format(port=port, access=access, user=user), *lines)))
    name = f"outward{port}"  # of its shared memory: two of one name cannot run at once
    command = ("squid", "-N", "-n", name, "-f", str(conf))
    squid = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        await until(lambda: listening(port) or squid.returncode is not None)
        assert squid.returncode is None, "squid does not start"
        yield
    finally:
        with suppress(ProcessLookupError):
            squid.terminate()
        await squid.wait()


NEEDS_SQUID = pytest.mark.skipif(shutil.which("squid") is None, reason="needs squid (Debian: apt install squid)")


@NEEDS_SQUID
@pytest.mark.parametrize("denied", [False, True])
@on_loop
async def test_a_real_squid_that_takes_connect_to_443_alone(tmp_path: Path, denied: bool) -> None:
    """What companies run: `http://` must not be asked for by CONNECT there."""
    port = free_port()
    async with (
        running_squid(tmp_path, port, "deny local" if denied else "allow local"),
        origin("127.0.0.1") as site,
        inspecting(policy(group(rule("127.0.0.1", ports={site.port}))), tmp_path) as world,
    ):
        site.answer, site.closes = OK, True
        world.gate.resources.dialer.parent = Parent.parse(f"http://127.0.0.1:{port}")
        async with raw(world.address) as client:
            line = f"GET http://127.0.0.1:{site.port}/ HTTP/1.1"
            answer = await client.ask(request(line, f"Host: 127.0.0.1:{site.port}", "Connection: close"))
        assert status(answer) == (502 if denied else 200), answer
        assert (b"parent_refused" in answer) is denied


@asynccontextmanager
async def behind_squid(tmp_path: Path, ours: Rule, limits: Limits = LIMITS) -> AsyncIterator[tuple[World, Origin]]:
    """A site on port 80 behind a Squid that opens no tunnel to it; Squid itself reaches it on another port."""
    port = free_port()
    async with origin("127.0.0.1") as site:
        peer = f"cache_peer 127.0.0.1 parent {site.port} 0 no-query originserver"
        async with (
            running_squid(tmp_path, port, "allow all", peer, "never_direct allow all"),
            inspecting(policy(group(ours)), tmp_path, limits) as world,
        ):
            site.answer, site.closes = OK, True
            world.gate.resources.dialer.parent = Parent.parse(f"http://127.0.0.1:{port}")
            yield world, site


HTTP = {80, 8080}
TUNNELLED = [
    pytest.param(rule("www.example.test", ports=HTTP), id="tls"),
    pytest.param(rule("www.example.test", ports=HTTP, tls=False), id="tls: false"),
]


@NEEDS_SQUID
@pytest.mark.parametrize("ours", TUNNELLED)
@pytest.mark.parametrize("at_once", [False, True])
@on_loop
async def test_plain_http_in_a_tunnel_that_squid_does_not_open_arrives(
    tmp_path: Path, ours: Rule, at_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Node's `fetch("http://…")` asks for a tunnel to port 80."""
    async with behind_squid(tmp_path, ours) as (world, site), raw(world.address) as client:
        asked = get("/a", "www.example.test")
        await client.send(connect("www.example.test", 80) + (asked if at_once else b""))
        assert await client.head() == ESTABLISHED
        answer = await client.ask(b"" if at_once else asked)
        assert answer.endswith(b"ok"), answer
        assert site.heard[0].startswith(b"GET /a HTTP/1.1\r\n")
        await until(lambda: world.events)
        assert [(event.reason, event.path, event.status) for event in world.events] == [(Reason.RULE, "/a", 200)]
        assert not dict(world.judge.metrics.families["upstream"].items()), "nothing failed"
        assert not caplog.text


@NEEDS_SQUID
@pytest.mark.parametrize("ours", TUNNELLED)
@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x\r\n", b"GE", b""])
@pytest.mark.parametrize("leaves", [False, True])
@on_loop
async def test_what_else_comes_has_the_parents_refusal(tmp_path: Path, ours: Rule, said: bytes, leaves: bool) -> None:
    limits = replace(LIMITS, handshake_timeout=0.3)
    async with behind_squid(tmp_path, ours, limits) as (world, site):
        async with raw(world.address) as client:
            await client.send(connect("www.example.test", 80) + said)
            assert await client.head() == ESTABLISHED
            if not leaves:
                assert await client.rest() == (Alert.ACCESS_DENIED.wire if said[:1] == b"\x16" else b"")
        await until(lambda: world.events and not world.gate.connections)
        [event] = world.events
        assert (event.verdict, event.reason, event.stage) == (Verdict.DENY, Reason.PARENT_REFUSED, Stage.ADDRESS)
        assert "answered 403" in event.detail
        assert not site.heard


@NEEDS_SQUID
@on_loop
async def test_a_tunnel_to_another_port_is_refused_before_it_is_answered(tmp_path: Path) -> None:
    async with behind_squid(tmp_path, rule("www.example.test", ports=HTTP)) as (world, _), raw(world.address) as client:
        answer = await client.ask(connect("www.example.test", 8080))
        assert status(answer) == 502
        assert b"parent_refused" in answer
