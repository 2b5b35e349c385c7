"""Wrong proxy tokens: answered later and later from one source, while the right one is answered at once."""

import asyncio
import contextlib
import hashlib
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest

from harness.gates import connect, gate_for, status
from harness.inspection import inspecting, response, web_origin
from harness.loops import on_loop, until
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import Raw, raw
from outward.config.settings import Limits
from outward.core.model import ClientEntry, Credential, LaneChoice, Place
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.proxy import deadlines, guesses

TOKEN = "the right one, of sixteen characters"
ENTRY = ClientEntry(
    Credential.TOKEN, Place("policy.yaml", 9), group="dev", token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest()
)


def guarded(lane: LaneChoice = LaneChoice.AUTO) -> Policy:
    return policy(group(rule("allowed.test", tls=False), lane=lane), clients=(ENTRY,))


def bearer(token: str) -> str:
    return f"Proxy-Authorization: Bearer {token}"


async def guess(client: Raw, token: str) -> None:
    await client.send(connect("allowed.test", 443, bearer(token)))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is slowed down wait for ever."""
    monkeypatch.setattr(deadlines, "SLOWED", 3600.0)


@pytest.mark.usefixtures("held")
@on_loop
async def test_after_a_handful_of_wrong_tokens_the_answers_wait_and_the_right_token_does_not() -> None:
    async with gate_for(guarded()) as world, origin() as server, contextlib.AsyncExitStack() as stack:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        for number in range(guesses.FREE):
            async with raw(world.address) as client:
                await guess(client, f"wrong {number}")
                assert status(await client.head()) == 407
        late = await stack.enter_async_context(raw(world.address))
        await guess(late, "wrong once more")
        await until(lambda: len(world.events) == guesses.FREE + 1)  # recorded at once, whatever the client is told
        async with raw(world.address) as client:
            await client.send(connect("allowed.test", server.address[1], bearer(TOKEN)))
            assert status(await client.head()) == 200
        with pytest.raises(TimeoutError):
            await late.head(0.1)
        assert {event.reason for event in world.events[: guesses.FREE + 1]} == {Reason.BAD_CREDENTIALS}


@on_loop
async def test_a_wrong_token_is_answered_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SLOWED", 0.05)
    async with gate_for(guarded()) as world:
        for number in range(guesses.FREE + 3):
            async with raw(world.address) as client:
                await guess(client, f"wrong {number}")
                assert status(await client.rest()) == 407
        await until(lambda: not world.gate.connections)


@pytest.mark.usefixtures("held")
@on_loop
async def test_what_waits_for_an_answer_makes_room_for_a_right_token() -> None:
    async with gate_for(guarded(), Limits(connections_per_client=4)) as world, origin() as server:
        world.dns.add("allowed.test", "A", "127.0.0.1")
        async with contextlib.AsyncExitStack() as stack:
            for number in range(guesses.FREE + 20):
                client = await stack.enter_async_context(raw(world.address))
                await guess(client, f"wrong {number}")
                await until(lambda number=number: len(world.events) > number)
            async with raw(world.address) as client:
                await client.send(connect("allowed.test", server.address[1], bearer(TOKEN)))
                assert status(await client.head()) == 200
        assert Reason.OVERLOADED not in {event.reason for event in world.events}


@pytest.mark.usefixtures("held")
@on_loop
async def test_who_leaves_while_the_answer_waits_is_not_kept() -> None:
    async with gate_for(guarded()) as world:
        for number in range(guesses.FREE + 3):
            async with raw(world.address) as client:
                await guess(client, f"wrong {number}")
                await until(lambda number=number: len(world.events) > number)
        await until(lambda: not world.gate.connections)


@pytest.mark.usefixtures("held")
@on_loop
async def test_another_source_is_not_slowed_down() -> None:
    async with gate_for(guarded()) as world, contextlib.AsyncExitStack() as stack:
        for number in range(guesses.FREE + 3):
            client = await stack.enter_async_context(raw(world.address))
            await guess(client, f"wrong {number}")
            await until(lambda number=number: len(world.events) > number)
        reader, writer = await asyncio.open_connection(*world.address, local_addr=("127.0.0.9", 0))
        writer.write(connect("allowed.test", 443, bearer("wrong")))
        assert status(await reader.readuntil(b"\r\n\r\n")) == 407
        writer.transport.abort()


@on_loop
async def test_guesses_behind_a_right_token_on_one_connection_wait_too(tmp_path: Path) -> None:
    """Each request over plain HTTP has credentials of its own."""
    async with (
        inspecting(guarded(LaneChoice.INSPECT), tmp_path) as world,
        web_origin(world, "allowed.test", tls=False) as server,
    ):
        host = f"allowed.test:{server.port}"

        def asked(token: str) -> bytes:
            return f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{bearer(token)}\r\n\r\n".encode()

        for number in range(guesses.FREE + 1):
            async with raw(world.address) as client:
                await client.send(asked(TOKEN))
                assert status(await response(client, 20.0)) == 200
                await client.send(asked(f"wrong {number}"))
                if number < guesses.FREE:
                    assert status(await client.head()) == 407
                else:
                    with pytest.raises(TimeoutError):
                        await client.head(0.1)
        await until(lambda: not world.gate.connections)
        wrong = [event for event in world.events if event.reason is Reason.BAD_CREDENTIALS]
        assert len(wrong) == guesses.FREE + 1  # the one that left before its answer is recorded like the others


def test_what_is_remembered_of_sources_is_bounded_and_ends() -> None:
    subject = guesses.Guesses()
    first = ip_address("192.0.2.1")
    assert [subject.wrong(first, 0.0) for _ in range(guesses.FREE + 1)] == [False] * guesses.FREE + [True]
    for number in range(guesses.SOURCES * 2):
        subject.wrong(ip_address(number), 1.0)
    assert len(subject) <= guesses.SOURCES
    assert subject.wrong(ip_address("203.0.113.1"), 1.0)  # no room to count it: it waits
    assert not subject.wrong(first, guesses.QUIET + 2.0)
    assert len(subject) == 1


def test_a_network_of_ipv6_is_one_source() -> None:
    subject = guesses.Guesses()
    network = int(IPv6Address("2001:db8::"))
    found = [subject.wrong(IPv6Address(network + number), 0.0) for number in range(guesses.FREE + 1)]
    assert found[-1]
    assert not subject.wrong(IPv6Address("2001:db8:0:1::"), 0.0)
