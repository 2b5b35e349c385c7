"""Plain requests through a parent proxy: in absolute form, with its credentials, and what it says of itself."""

import asyncio
import base64
import os
import pwd
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.dialing import Origin, origin
from harness.gates import request, status
from harness.inspection import World, inspecting
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.reasons import Reason
from outward.proxy.parent import Parent

POLICY = policy(group(rule("www.example.test"), rule("old.example.test", ports={8080})))
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
http_access deny {denied}
http_access allow local
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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(shutil.which("squid") is None, reason="needs squid (Debian: apt install squid)")
@pytest.mark.parametrize("denied", [False, True])
@on_loop
async def test_a_real_squid_that_takes_connect_to_443_alone(tmp_path: Path, denied: bool) -> None:
    """What companies run: `http://` must not be asked for by CONNECT there."""
    port = free_port()
    conf = tmp_path / "squid.conf"
    user = pwd.getpwuid(os.getuid()).pw_name if os.getuid() else "nobody"
    conf.write_text(SQUID.format(port=port, denied="local" if denied else "!local", user=user))
    squid = await asyncio.create_subprocess_exec(
        "squid", "-n", f"t{port}", "-N", "-f", str(conf), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: listening(port))
        async with (
            origin("127.0.0.1") as site,
            inspecting(policy(group(rule("127.0.0.1", ports={site.port}))), tmp_path) as world,
        ):
            site.answer, site.closes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True
            world.gate.resources.dialer.parent = Parent.parse(f"http://127.0.0.1:{port}")
            async with raw(world.address) as client:
                line = f"GET http://127.0.0.1:{site.port}/ HTTP/1.1"
                answer = await client.ask(request(line, f"Host: 127.0.0.1:{site.port}", "Connection: close"))
            assert status(answer) == (502 if denied else 200), answer
            assert (b"parent_refused" in answer) is denied
    finally:
        squid.terminate()
        await squid.wait()
