"""`http://outward.internal/` over real sockets: who is answered, with what, and that the name leads nowhere."""

import asyncio
import hashlib
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from harness.gates import connect, request, status
from harness.inspection import inspecting
from harness.loops import on_loop, until
from harness.origins import origin
from harness.policies import group, policy, rule
from harness.raw import client_hello, raw
from outward.core.grants import Grant
from outward.core.model import ClientEntry, Credential, Grants, LaneChoice, Mode, Place, Verdict
from outward.core.paths import PathGlob
from outward.core.policy import Policy
from outward.proxy import transparent
from outward.proxy.desk import Desk
from outward.records.database import StoreAwayError
from outward.records.events.values import as_record
from outward.records.state.requests import TooManyRequestsError


class Kept:
    """A keeper in memory.

    Attributes:
        asked: requests, in their order.
    """

    asking = True

    def __init__(self):
        self.asked, self.decisions, self.failure = [], {}, None

    def ask(self, asked, _address):
        if self.failure:
            raise self.failure
        for each in self.asked:
            if (each.group, each.host, each.port, each.path) == (asked.group, asked.host, asked.port, asked.path):
                return each
        self.asked.append(asked)
        return asked

    def decision(self, ident):
        return self.decisions.get(ident)

    def request(self, ident):
        return next((each for each in self.asked if each.id == ident), None)

    def close(self):
        pass


def token(name: str, path: str) -> ClientEntry:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ClientEntry(Credential.TOKEN, Place("policy.yaml", 9), group=path, token_sha256=digest, name=f"agent {name}")


SUBJECT = policy(
    group(
        rule("a.test", ports=frozenset({443}), owner="ada@example.com", note="secret plan"),
        rule("seen.test", ports=frozenset({443}), methods=frozenset({"GET"}), paths=(PathGlob("/v1/**"),)),
        rule("gone.test", until="2020-01-01"),
        rule("taken.test"),
        deny=(rule("taken.test"), rule("forbidden.test")),
        grants=Grants.ALLOWED,
    ),
    group(rule("other-only.test"), path="other"),
    clients=(token("one", "dev"), token("two", "dev"), token("three", "other")),
)


@asynccontextmanager
async def desk(tmp_path, subject: Policy = SUBJECT):
    async with inspecting(subject, tmp_path) as world:
        world.kept = Kept()
        world.judge.desk = Desk(world.judge, world.kept)
        try:
            yield world
        finally:
            world.judge.desk.close()


def asks(method: str, path: str, *fields: str, body: bytes = b"", who: str | None = "one", host="outward.internal"):
    lines = [f"{method} http://{host}{path} HTTP/1.1", f"Host: {host}", *fields]
    if who is not None:
        lines.append(f"Proxy-Authorization: Bearer {who}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return request(*lines) + body


def post(url: str, why: str = "to build", *fields: str, who: str = "one", **more) -> bytes:
    body = json.dumps({"url": url, "why": why} | more).encode()
    return asks("POST", "/requests", "Content-Type: application/json", *fields, body=body, who=who)


async def told(world, data: bytes) -> tuple[int, dict]:
    """Ask on a connection of its own; nothing is looked up for it, whatever comes."""
    async with raw(world.address) as client:
        reply = await client.ask(data)
    assert world.dns.queries == []
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"nosniff" in head
    assert b"no-store" in head
    return status(reply), json.loads(body)


@on_loop
async def test_a_client_sees_itself_and_what_its_group_may_reach(tmp_path):
    async with desk(tmp_path) as world:
        code, me = await told(world, asks("GET", "/me"))
        assert (code, me["group"], me["client"], me["client_name"]) == (200, "dev", "127.0.0.1", "agent one")
        code, found = await told(world, asks("GET", "/allowed"))
        assert [each["host"] for each in found["allowed"]] == ["a.test", "seen.test"]
        assert found["allowed"][1] == {"host": "seen.test", "ports": [443], "methods": ["GET"], "paths": ["/v1/**"]}
        shown = json.dumps([me, found, await told(world, asks("GET", "/"))])
        for hidden in ("ada", "secret", "forbidden", "taken", "gone", "other", "policy.yaml"):
            assert hidden not in shown
        assert world.events == []


@on_loop
@pytest.mark.parametrize(("count", "more"), [(500, False), (501, True)])
async def test_a_long_list_is_cut_and_says_so(tmp_path, count, more):
    rules = [rule(f"h{number}.test") for number in range(count)]
    async with desk(tmp_path, policy(group(*rules), clients=(token("one", "dev"),))) as world:
        _, found = await told(world, asks("GET", "/allowed"))
        assert (len(found["allowed"]), found["more"]) == (500, more)


@on_loop
async def test_a_grant_is_shown_among_what_is_allowed_without_its_id(tmp_path):
    async with desk(tmp_path) as world:
        world.judge.grants = (Grant("gid", "dev", "new.test", 443, None, None, 0, 2**50, "ada"),)
        assert "new.test" not in str(await told(world, asks("GET", "/allowed")))  # longer than a grant may be
        now = round(time.time() * 1000)
        world.judge.grants = (Grant("gid", "dev", "new.test", 443, None, None, now, now + 60_000, "ada"),)
        code, found = await told(world, asks("GET", "/allowed"))
        assert (code, found["allowed"][-1]["host"]) == (200, "new.test")
        assert "gid" not in str(found)
        assert "new.test" not in str(await told(world, asks("GET", "/allowed", who="three")))


@on_loop
async def test_unknown_clients_are_refused_as_everywhere(tmp_path):
    async with desk(tmp_path) as world:
        for who, code in ((None, 407), ("wrong", 407)):
            for data in (asks("GET", "/me", who=who), asks("POST", "/requests", who=who, body=b"{}")):
                async with raw(world.address) as client:
                    reply = await client.ask(data)
                assert status(reply) == code
        assert world.kept.asked == []
        await until(lambda: len(world.events) == 4)


@on_loop
async def test_a_request_is_kept_and_shown_to_its_group_alone(tmp_path):
    async with desk(tmp_path) as world:
        code, made = await told(world, post("https://new.test/a?token=secret", "we <b>need</b> it", who="one"))
        assert (code, made["state"], made["host"], made["path"]) == (201, "open", "new.test", None)
        assert made["suggestion"] == "- new.test"
        assert "person decides" in made["next"]
        (kept,) = world.kept.asked
        assert (kept.group, kept.client, kept.whys) == ("dev", "agent one", ("we <b>need</b> it",))
        assert "secret" not in repr(kept)
        code, again = await told(world, post("https://new.test/b", who="two"))
        assert (code, again["id"]) == (200, made["id"])
        address = made["url"].removeprefix("http://outward.internal")
        for who, code in (("one", 200), ("two", 200), ("three", 404)):
            found = await told(world, asks("GET", address, who=who))
            assert found[0] == code
            assert "need" not in str(found)
        world.kept.asked[0] = replace(kept, state="denied", note="use the mirror", decided_by="ada")
        code, found = await told(world, asks("GET", address))
        assert (found["state"], found["note"]) == ("denied", "use the mirror")
        assert "ada" not in str(found)


@on_loop
async def test_one_request_of_a_host_that_is_judged_by_request(tmp_path):
    async with desk(tmp_path) as world:
        _, made = await told(world, post("https://seen.test/v1/a?q=secret", method="PUT"))
        assert (made["method"], made["path"]) == ("PUT", "/v1/a")


@on_loop
async def test_decisions_are_shown_to_whose_they_are(tmp_path):
    async with desk(tmp_path) as world:
        async with raw(world.address) as client:
            await client.ask(connect("new.test", 443, "Proxy-Authorization: Bearer one"))
        await until(lambda: world.events)
        (event,) = world.events
        world.kept.decisions = {event.id: as_record(event)}
        code, found = await told(world, asks("GET", f"/decisions/{event.id}"))
        assert (code, found["reason"], found["suggestion"]) == (200, "no_rule", "- new.test")
        assert set(found) == {
            "id", "time", "verdict", "stage", "method", "host", "port", "count", "last_seen", "reason", "title",
            "detail", "suggestion",
        }  # fmt: skip
        for other in ("two", "three"):  # behind the same address, in the same group or another
            assert (await told(world, asks("GET", f"/decisions/{event.id}", who=other)))[0] == 404
        world.kept.decisions[event.id]["client"] = "10.9.9.9"
        assert (await told(world, asks("GET", f"/decisions/{event.id}")))[0] == 404


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (post("https://new.test/", "x", "Origin: http://evil.test"), 403),
        (post("https://new.test/", "x", "Origin: http://outward.internal"), 403),
        (post("https://new.test/", "x", "Origin: null"), 403),
        (post("https://new.test/", "x", "Sec-Fetch-Site: cross-site"), 403),
        (asks("GET", "/me", "Origin: http://evil.test"), 403),
        (asks("GET", "/me", "Sec-Fetch-Site: cross-site"), 403),
        (asks("GET", "/me?x=1"), 400),
        (asks("GET", "/requests/1?"), 400),
        (asks("POST", "/requests", body=b'{"url": "https://new.test/", "why": "x"}'), 415),
        (asks("POST", "/requests", "Content-Type: text/plain", body=b'{"url": "https://new.test/", "why": "x"}'), 415),
        (asks("POST", "/requests", "Content-Type: application/json", body=b'{"url": "https://a.x", "url": "b", "why": "x"}'), 400),
        (asks("POST", "/requests", "Content-Type: application/json", body=b"[]"), 400),
        (asks("POST", "/requests", "Content-Type: application/json", body=b"{" * 9000), 400),
        (asks("POST", "/requests", "Content-Type: application/json"), 400),
        (post("https://new.test/", ""), 400),
        (post("https://new.test/", "x", until="2099"), 400),
        (post("https://new.test/", "x", group="other"), 400),
        (post("https://new.test/", "x", method=7), 400),
        (post("https://new.test/" + "x" * 5000, "x"), 400),
        (post("https://*.new.test/", "x"), 409),
        (post("https://192.0.2.1/", "x"), 409),
        (post("https://forbidden.test/", "x"), 409),
        (post("https://a.test/", "x"), 409),
        (post("https://user:pw@new.test/", "x"), 409),
        (asks("PUT", "/requests/" + "0" * 32, "Content-Type: application/json", body=b'{"decision": "approve"}'), 405),
        (asks("DELETE", "/requests/" + "0" * 32), 405),
        (asks("GET", "/requests"), 405),
        (asks("GET", "/api/v1/requests"), 404),
        (asks("GET", "/decisions/" + "0" * 32), 404),
        (asks("GET", "/decisions/%27%20OR%201=1"), 404),
        (asks("GET", "/../etc/passwd"), 404),
        (asks("OPTIONS", "/requests"), 405),
    ],
)  # fmt: skip
@on_loop
async def test_what_is_not_answered(tmp_path, data, code):
    """No page's request, no query, no form, nothing but the documented members; and never a decision."""
    async with desk(tmp_path) as world:
        found, body = await told(world, data)
        assert found == code
        assert body["status"] == code
        assert world.kept.asked == []
        assert world.errors() == {}


@pytest.mark.parametrize("lane", LaneChoice)
@pytest.mark.parametrize("mode", Mode)
@on_loop
async def test_the_name_leads_nowhere(tmp_path, lane, mode):
    """Neither through a tunnel, nor to another port, nor behind a CONNECT, whatever the policy says."""
    wide = policy(group(rule("*"), rule("outward.internal"), rule("front.test"), lane=lane, mode=mode))
    async with desk(tmp_path, wide) as world, origin() as server:
        world.dns.add("outward.internal", "A", "127.0.0.1")
        for data in (
            connect("outward.internal", 443),
            connect("outward.internal", 80),
            connect("OUTWARD.internal.", server.address[1]),
            request("GET https://outward.internal/me HTTP/1.1", "Host: outward.internal"),
            request("GET http://outward.internal:8080/me HTTP/1.1", "Host: outward.internal:8080"),
            request(
                "GET http://outward.internal/me HTTP/1.1", "Host: outward.internal", "Upgrade: websocket",
                "Connection: upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x",
            ),
            request("GET /me HTTP/1.1", "Host: outward.internal"),
        ):  # fmt: skip
            async with raw(world.address) as client:
                reply = await client.ask(data)
            assert status(reply) == 400, data
            assert b"client_name" not in reply
        assert server.accepts == 0
        assert world.dns.queries == []
        assert b"plain HTTP, on port 80" in await _refusal(world)


async def _refusal(world) -> bytes:
    async with raw(world.address) as client:
        return await client.ask(connect("outward.internal", 443))


@on_loop
async def test_a_host_header_in_a_tunnel_reaches_no_desk(tmp_path):
    """Inside a CONNECT to an allowed host, and as plain HTTP behind one."""
    wide = policy(group(rule("front.test", ports=None), lane=LaneChoice.INSPECT))
    async with desk(tmp_path, wide) as world, origin(world.server_tls("front.test")) as server:
        world.dns.add("front.test", "A", "127.0.0.1")
        async with world.tunnel("front.test", server.address[1]) as client:
            reply = await client.ask(request("GET /me HTTP/1.1", "Host: outward.internal"))
            assert status(reply) in (400, 403)
            assert b"client_name" not in reply
        async with raw(world.address) as client:
            await client.send(connect("front.test", server.address[1]))
            await client.head()
            reply = await client.ask(request("GET http://outward.internal/me HTTP/1.1", "Host: outward.internal"))
            assert status(reply) == 400
            assert b"client_name" not in reply


@on_loop
async def test_kept_alive_connections_are_answered_too(tmp_path):
    """Clients send plain requests for every host through one connection to their proxy."""
    subject = policy(group(rule("a.test", ports=None), grants=Grants.ALLOWED))
    async with desk(tmp_path, subject) as world, origin() as server, raw(world.address) as client:
        port = server.address[1]
        server.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        world.dns.add("a.test", "A", "127.0.0.1")
        await client.send(request(f"GET http://a.test:{port}/ HTTP/1.1", f"Host: a.test:{port}"))
        assert b" 200 " in await client.head()
        assert await client.exactly(2) == b"ok"
        body = b'{"url": "https://new.test/", "why": "x"}'
        head = asks("POST", "/requests", "Content-Type: application/json", f"Content-Length: {len(body)}", who=None)
        await client.send(head)
        reply = await client.ask(body)
        assert status(reply) == 201
        assert b"Connection: close" in reply
        assert len(world.kept.asked) == 1
        assert server.accepts == 1


@on_loop
async def test_a_body_is_bounded_and_a_refusal_recorded_once(tmp_path):
    async with desk(tmp_path) as world:
        for fields in (("Content-Length: 16385",), ("Transfer-Encoding: chunked",)):
            async with raw(world.address) as client:
                assert status(await client.ask(asks("POST", "/requests", *fields))) == 413
        async with raw(world.address) as client:
            await client.send(asks("POST", "/requests", "Content-Length: 10"))
        await asyncio.sleep(0)
        assert [str(event.reason) for event in world.events] == ["too_large", "too_large"]


@on_loop
async def test_a_denial_says_where_to_ask(tmp_path):
    async with desk(tmp_path) as world:
        for data, asked in (
            (connect("new.test", 443, "Proxy-Authorization: Bearer one"), True),
            (connect("forbidden.test", 443, "Proxy-Authorization: Bearer one"), False),
            (connect("192.0.2.1", 443, "Proxy-Authorization: Bearer one"), False),
            (asks("GET", "/x", "Accept: text/html", host="new.test"), True),
            (asks("GET", "/x", "Accept: text/plain", host="new.test"), True),
            (connect("new.test", 443), False),
        ):
            async with raw(world.address) as client:
                reply = await client.ask(data)
            assert (b"http://outward.internal/requests" in reply) is asked, data
        world.kept.asking = False
        async with raw(world.address) as client:
            assert b"outward.internal" not in await client.ask(
                connect("n.test", 443, "Proxy-Authorization: Bearer one")
            )
        code, body = await told(world, post("https://new.test/"))
        assert (code, "not kept here" in body["detail"]) == (503, True)


@on_loop
async def test_a_flood_and_a_store_that_is_away_are_said(tmp_path):
    async with desk(tmp_path) as world:
        world.kept.failure = StoreAwayError("PostgreSQL: secret host")
        code, body = await told(world, post("https://new.test/"))
        assert (code, "secret" in str(body)) == (503, False)
        world.kept.failure = TooManyRequestsError("20 requests of this client wait for an answer already")
        assert (await told(world, post("https://new.test/")))[0] == 429
        codes = [(await told(world, post(f"https://h{number}.test/")))[0] for number in range(12)]
        assert codes[-1] == 429
        world.kept.failure = None
        assert (await told(world, post("https://new.test/", who="two")))[0] == 201


@on_loop
async def test_a_desk_that_fails_denies(tmp_path):
    async with desk(tmp_path) as world:
        world.kept.failure = RuntimeError("broken")
        async with raw(world.address) as client:
            assert status(await client.ask(post("https://new.test/"))) == 500
        await until(lambda: world.events)
        assert str(world.events[0].reason) == "internal_error"


@pytest.mark.parametrize("size", [1, None])
@on_loop
async def test_redirected_clients_reach_no_desk(tmp_path, monkeypatch, size):
    """A firewall led them here: by Host on port 80, kept alive too, and by server name; nothing is asked or dialled."""
    wide = policy(group(rule("*"), rule("outward.internal")))
    async with desk(tmp_path, wide) as world:
        for port, data in (
            (80, request("GET /me HTTP/1.1", "Host: outward.internal")),
            (80, request("GET http://outward.internal/me HTTP/1.1", "Host: outward.internal")),
            (443, client_hello("outward.internal")),
        ):
            monkeypatch.setattr(transparent, "destination", lambda _sock, port=port: (ip_address("192.0.2.1"), port))
            if len(world.gate.addresses) == 1:
                await world.gate.start_transparent("127.0.0.1", 0)
            async with raw(world.gate.addresses[1]) as client:
                reply = await client.ask(data, size)
            assert b"client_name" not in reply
            assert b" 200 " not in reply
        assert world.dns.queries == []
        assert [event.verdict for event in world.events] == [Verdict.DENY] * 3


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("GET http://outward.internal/me HTTP/1.1", "Host: outward.internal"), 200),
        (("GET http://OUTWARD.Internal./me HTTP/1.1", "Host: outward.internal"), 200),
        (("GET http://outward.internal:80/me HTTP/1.1", "Host: outward.internal"), 200),
        (("GET http://OUTWARD.Internal./me?x=1 HTTP/1.1", "Host: outward.internal"), 400),
        (("HEAD http://outward.internal/me HTTP/1.1", "Host: outward.internal"), 200),
        (("GET http://outward.internal/me HTTP/1.1", "Host: a.test"), 403),
        (("GET http://a.test/me HTTP/1.1", "Host: outward.internal"), 403),
        (("GET http://x.outward.internal/me HTTP/1.1", "Host: x.outward.internal"), 403),
        (("GET http://outward.internal%2e/me HTTP/1.1", "Host: outward.internal"), 400),
        (("GET http://a.test@outward.internal/me HTTP/1.1", "Host: outward.internal"), 400),
        (("GET http://outward.internal/me HTTP/1.1", "Host: outward.internal", "Host: a.test"), 400),
        (("GET http://outward.internal/me HTTP/1.1", "Host: outward.internal", "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (("GET http://outward.internal/me HTTP/1.1", "Host: outward.internal", "Content-Length: 1", "Content-Length: 2"), 400),
        (("GET http://outward.internal/me HTTP/1.1", "Host: outward.internal", "Upgrade: h2c, x"), 403),
        (("GET http://outward.internal/me#x HTTP/1.1", "Host: outward.internal"), 400),
        (("GET  http://outward.internal/me HTTP/1.1", "Host: outward.internal"), 400),
        (("GET http://outward.internal/%6de HTTP/1.1", "Host: outward.internal"), 404),
        (("GET http://outward.internal//me HTTP/1.1", "Host: outward.internal"), 404),
    ],
)  # fmt: skip
@on_loop
async def test_spellings_of_the_name_and_of_its_requests(tmp_path, lines, code):
    """What the strict reader refuses is refused here too; what it reads as the name is the name."""
    subject = policy(group(rule("a.test", ports=frozenset({443}))))
    async with desk(tmp_path, subject) as world, raw(world.address) as client:
        reply = await client.ask(request(*lines))
        assert status(reply) == code
        assert (b"client_name" in reply) is (code == 200 and lines[0].startswith("GET"))
        assert world.dns.queries == []


@on_loop
async def test_what_is_pipelined_behind_a_request_is_no_request(tmp_path):
    """One answer, and the end of the connection: nobody's second request passes for the first one's."""
    async with desk(tmp_path) as world:
        async with raw(world.address) as client:
            reply = await client.ask(asks("GET", "/me") + post("https://new.test/", "smuggled", who="three"))
        assert reply.count(b"HTTP/1.1 ") == 1
        assert world.kept.asked == []
        async with raw(world.address) as client:
            hidden = asks("GET", "/me", "Content-Length: 100") + post("https://new.test/", "smuggled")
            reply = await client.ask(hidden)
        assert reply.count(b"HTTP/1.1 ") == 1
        assert world.kept.asked == []


@on_loop
async def test_one_host_in_many_spellings_is_one_request(tmp_path):
    async with desk(tmp_path) as world:
        ids = {
            (await told(world, post(url)))[1]["id"]
            for url in ("https://new.test/", "https://NEW.test./x", "new.test:443", "https://new.test:443/?a=b")
        }
        assert len(ids) == 1
        assert len(world.kept.asked) == 1
