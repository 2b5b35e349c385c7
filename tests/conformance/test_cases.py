"""The project's own attack corpus, played over real sockets against a real gate and the real engine."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.gates import decision_id, status
from harness.inspection import WebOrigin, World, inspecting, replying, web_origin
from harness.loops import on_loop, until
from harness.policies import group, policy, rule
from harness.raw import raw
from outward.core.model import ClientEntry, Credential, LaneChoice, Place
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.core.reasons import MEANINGS

CASES = Path(__file__).parent / "cases"
TOKEN = "s3cret"
NEEDS_A_QUERY = {"address_not_public", "loop", "resolve_failed", "upstream_failed", "timeout"}
KEYS = {
    "why",
    "host",
    "send",
    "inside",
    "reply",
    "policy",
    "expect",
    "seen",
    "lanes",
    "arrives",
    "absent",
    "reply_absent",
}


def policy_of(name: str, lane: LaneChoice) -> Policy:
    """Return one of the policies that cases name."""
    if name == "star":
        return policy(group(rule("*"), lane=lane))
    reads = rule("api.test", methods=frozenset({"GET", "HEAD"}), paths=(PathGlob("/v1/**"),))
    rules = group(rule("allowed.test"), rule("*.wild.test"), rule("xn--bcher-kva.test"), reads, lane=lane)
    if name == "token":
        entry = ClientEntry(
            Credential.TOKEN,
            Place("policy.yaml", 9),
            group="dev",
            token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(),
        )
        return policy(rules, clients=(entry,))
    return policy(rules)


def load(path: Path) -> list[dict[str, Any]]:
    cases = yaml.safe_load(path.read_text(encoding="utf-8"))
    for number, case in enumerate(cases, 1):
        case["id"] = f"{path.stem}-{number:02}"
        assert set(case) <= KEYS | {"id"}, f"{case['id']}: unknown keys"
        case["expect"] = [case["expect"]] if isinstance(case["expect"], str) else case["expect"]
        assert all(reason in (*MEANINGS, "closed") for reason in case["expect"]), case["id"]
    return cases


def exchanges(case: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the layer and the segments of each exchange of a case."""
    if "host" in case:
        host = case["host"]
        yield "proxy", [f"CONNECT {host}:{{port}} HTTP/1.1\r\nHost: {host}:{{port}}\r\n\r\n"]
        yield "proxy", [f"GET http://{host}:{{port}}/ HTTP/1.1\r\nHost: {host}:{{port}}\r\nConnection: close\r\n\r\n"]
    elif "reply" in case:
        yield "inside", ["GET / HTTP/1.1\r\nHost: allowed.test:{port}\r\nConnection: close\r\n\r\n"]
    else:
        yield ("inside", listed(case["inside"])) if "inside" in case else ("proxy", listed(case["send"]))


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def encoded(text: str, port: int) -> bytes:
    """Fill in the port and resolve escapes; text beyond Latin-1 is sent as UTF-8."""
    text = text.replace("{port}", str(port))
    if "\\" in text:
        text = text.encode("utf-8").decode("unicode_escape")
    try:
        return text.encode("latin-1") if "\\" in text or all(ord(c) < 256 for c in text) else text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8")


class Player:
    """Plays cases of one policy and lane in one world."""

    def __init__(self, world: World, plain: WebOrigin, secure: WebOrigin) -> None:
        self.world, self.plain, self.secure = world, plain, secure

    async def play(self, case: dict[str, Any]) -> None:
        for layer, segments in exchanges(case):
            self.reset()
            server = self.secure if layer == "inside" else self.plain
            server.answer = replying(encoded(case["reply"], server.port), close=True) if "reply" in case else None
            reply = await (self.inside(segments) if layer == "inside" else self.outside(segments))
            await self.judge(case, reply, layer)

    def reset(self) -> None:
        self.world.events.clear()
        self.world.dns.queries.clear()
        for server in (self.plain, self.secure):
            server.seen.clear()
            server.accepts = 0

    async def outside(self, segments: list[str]) -> bytes:
        async with raw(self.world.address) as client:
            return await self.say(client, segments, self.plain.port)

    async def inside(self, segments: list[str]) -> bytes:
        async with self.world.tunnel("allowed.test", self.secure.port) as client:
            return await self.say(client, segments, self.secure.port)

    async def say(self, client: Any, segments: list[str], port: int) -> bytes:
        for segment in segments:
            with contextlib.suppress(ConnectionError):
                await client.send(encoded(segment, port))
        got = bytearray()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(4):
                while data := await client.reader.read(65536):
                    got += data
                    if got.startswith(b"HTTP/1.1 200 Connection established\r\n") or self.settled():
                        break
        return bytes(got)

    def settled(self) -> bool:
        return bool(self.world.events) and self.world.events[-1].verdict == 1

    async def judge(self, case: dict[str, Any], reply: bytes, layer: str) -> None:
        expected = case["expect"]
        passes = "rule" in expected
        if not (reply.startswith(b"HTTP/1.1 200 ") and passes):
            await until(lambda: bool(self.world.events) or "closed" in expected)
        events = list(self.world.events)
        denials = [event for event in events if not event.verdict]
        if denials:
            assert str(denials[0].reason) in expected, f"{denials[0].reason}: {reply[:200]!r}"
            assert len(denials) == 1, f"recorded {len(denials)} times"
            if status(reply) >= 400:
                assert decision_id(reply) == denials[0].id
        else:
            assert passes or "closed" in expected, f"it passed: {reply[:200]!r}"
        self.judge_traffic(case, denials, passes and not denials, layer)
        for text in case.get("reply_absent", []):
            assert encoded(text, 0).lower() not in reply.lower(), f"{text} reached the client"

    def judge_traffic(self, case: dict[str, Any], denials: list[Any], passed: bool, layer: str) -> None:
        server = self.secure if layer == "inside" else self.plain
        most = case.get("seen", 1 if passed else 0)
        assert len(server.seen) <= most, f"{len(server.seen)} requests reached the origin: {server.seen}"
        if denials and most == 0 and str(denials[0].reason) not in NEEDS_A_QUERY:
            assert self.world.dns.queries == []
            assert (self.plain.accepts, self.secure.accepts) == (0, 0)
        everything = "\n".join([f"{s.line}\n{s.fields}\n{s.body!r}" for s in server.seen])
        for text in case.get("absent", []):
            assert text.lower() not in everything.lower(), f"{text} arrived upstream"
        for text in case.get("arrives", []) if passed else []:
            assert text in everything, f"{text} did not arrive upstream"


def lanes_of(case: dict[str, Any]) -> list[str]:
    return case.get("lanes", ["inspect", "tunnel"] if "host" in case else ["inspect"])


@pytest.mark.timeout(240)
@pytest.mark.parametrize("lane", [LaneChoice.INSPECT, LaneChoice.TUNNEL])
@pytest.mark.parametrize("file", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_case_ends_as_it_must(file: Path, lane: LaneChoice, subtests: pytest.Subtests, tmp_path: Path) -> None:
    cases = [case for case in load(file) if lane in lanes_of(case)]
    for name in sorted({case.get("policy", "base") for case in cases}):
        play(policy_of(name, lane), [case for case in cases if case.get("policy", "base") == name], subtests, tmp_path)


@on_loop
async def play(subject: Policy, cases: list[dict[str, Any]], subtests: pytest.Subtests, state: Path) -> None:
    names = ("allowed.test", "xn--bcher-kva.test", "api.test", "a.wild.test", "public.example")
    async with (
        inspecting(subject, state) as world,
        web_origin(world, *names, tls=False) as plain,
        web_origin(world, "allowed.test") as secure,
    ):
        player = Player(world, plain, secure)
        for case in cases:
            with subtests.test(msg=case["id"], why=case["why"]):
                await player.play(case)
