"""Machines at vendors: the network that a group gave one holds for its next turns, on every proxy, for no other group."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import vendors
from harness.governing import Desk
from harness.late import openai
from harness.loops import on_loop, until
from harness.postgres import Server
from harness.searching import governed
from outward.core.model import OptIn, Unfilterable, WebSearch
from outward.records.database import Database, StoreAwayError, migrate, open_database
from outward.records.state.machines import StoredMachines
from outward.search.machines import Machine, Machines
from outward.search.sandbox import made

HOST = "api.openai.com"
ON = WebSearch(enabled=True, opt_in=OptIn.ASSUMED)
AUTO: dict[str, Any] = {
    "type": "code_interpreter",
    "container": {
        "type": "auto",
        "network_policy": {"type": "allowlist", "allowed_domains": ["docs.example.com", "evil.com"]},
    },
}
NEXT = {"type": "code_interpreter", "container": "cntr_1"}
CALL = {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "container_id": "cntr_1", "code": "1"}
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [CALL],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
}  # fmt: skip


async def answering(_seen: Any, _reader: Any, writer: Any) -> None:
    """Answers as the vendor does: with the container that the code ran in."""
    await vendors.reply(writer, 200, RESPONSE)


def connecting(url: str, state: Path) -> Callable[[], Database]:
    def connect() -> Database:
        database = open_database(url, state)
        migrate(database)
        return database

    return connect


def ask(http: Any, url: str, tool: dict[str, Any], **more: Any) -> Any:
    return http.post(f"{url}/v1/responses", json={"model": "m", "input": "hi", "tools": [tool], **more})


@on_loop
async def test_a_container_is_known_on_the_next_turn_of_its_group(tmp_path: Path) -> None:
    async with governed(HOST, tmp_path, ON, answering) as desk, desk.http() as http:
        refused = await ask(http, desk.url, NEXT)
        assert refused.status_code == 403
        assert "unless this group made it" in refused.json()["error"]["message"]
        assert (await ask(http, desk.url, AUTO)).status_code == 200
        sent = desk.body()["tools"][0]["container"]["network_policy"]
        assert sent == {"type": "allowlist", "allowed_domains": ["docs.example.com"]}
        assert (await ask(http, desk.url, NEXT)).status_code == 200
        assert desk.body()["tools"] == [NEXT]
        reference = {"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}}
        assert (await ask(http, desk.url, reference)).status_code == 200
        machines = [each for each in desk.told.audits if each.event_type == "vendor_sandbox_limited"]
        assert [each.details["effective_domains"] for each in machines] == [["docs.example.com"]] * 3
        assert not desk.told.receipts


@on_loop
async def test_a_stream_tells_its_container_before_it_ends(tmp_path: Path) -> None:
    used = asyncio.Event()

    async def streaming(seen: Any, reader: Any, writer: Any) -> None:
        if not json.loads(seen.body).get("stream"):
            used.set()
            return await answering(seen, reader, writer)
        done = {"type": "response.output_item.done", "item": CALL, "output_index": 0, "sequence_number": 1}
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        writer.write(f"event: response.output_item.done\ndata: {json.dumps(done)}\n\n".encode())
        await writer.drain()
        await used.wait()  # the stream goes on while the container is used
        end = {"type": "response.completed", "response": RESPONSE, "sequence_number": 2}
        writer.write(f"event: response.completed\ndata: {json.dumps(end)}\n\n".encode())
        return writer.close()

    async with governed(HOST, tmp_path, ON, streaming) as desk, desk.http() as http:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"{desk.url}/v1", http_client=http, max_retries=0)
        ask_for: dict[str, Any] = {"model": "m", "input": "hi", "tools": [AUTO], "stream": True}
        async for event in await client.responses.create(**ask_for):
            if event.type == "response.output_item.done":
                await client.responses.create(**{**ask_for, "tools": [NEXT], "stream": False})
        assert len(desk.vendor.seen) == 2


@on_loop
async def test_what_one_proxy_made_the_other_knows(server: Server, tmp_path: Path) -> None:
    stores = [StoredMachines(connecting(server.url, tmp_path)) for _ in range(2)]
    for each in stores:
        each.start()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        governed(HOST, tmp_path / "one", ON, answering, machines=stores[0]) as first,
        governed(HOST, tmp_path / "two", ON, answering, machines=stores[1]) as second,
        first.http() as http_one,
        second.http() as http_two,
    ):
        assert (await ask(http_two, second.url, NEXT)).status_code == 403
        assert (await ask(http_one, first.url, AUTO)).status_code == 200
        await until(lambda: stores[0].find(("dev", HOST, "cntr_1")) is not None)
        assert (await ask(http_two, second.url, NEXT)).status_code == 200
        assert (await ask(http_two, second.url, {**NEXT, "container": "cntr_2"})).status_code == 403
    for each in stores:
        each.close(5)


@on_loop
async def test_while_the_database_is_away_an_unknown_container_is_refused(tmp_path: Path) -> None:
    def away() -> Database:
        raise StoreAwayError("down")

    store = StoredMachines(away)
    async with governed(HOST, tmp_path, ON, answering, machines=store) as desk, desk.http() as http:
        assert (await ask(http, desk.url, NEXT)).status_code == 403
        assert (await ask(http, desk.url, AUTO)).status_code == 200
        assert (await ask(http, desk.url, NEXT)).status_code == 200  # this process knows


TWO = """
version: 1
groups:
  a: {allow: [docs.example.com, old.example.com]}
  b: {allow: [docs.example.com, old.example.com]}
  c: {allow: [docs.example.com]}
clients: [{group: a, anyone: true}]
"""


@pytest.mark.parametrize(
    ("group", "host", "ident", "network", "passes"),
    [
        ("a", HOST, "cntr_1", ["docs.example.com"], True),
        ("a", HOST, "cntr_1", [], True),
        ("b", HOST, "cntr_1", ["docs.example.com"], False),  # another group's
        ("a", "eu.api.openai.com", "cntr_1", ["docs.example.com"], False),  # another host's
        ("a", HOST, "cntr_2", ["docs.example.com"], False),
        ("c", HOST, "cntr_1", ["docs.example.com", "old.example.com"], False),  # more than its group may by now
    ],
)
def test_whose_machine_it_is_and_what_it_may_reach(
    group: str, host: str, ident: str, network: list[str], passes: bool
) -> None:
    desk = Desk(TWO)
    owner = "c" if group == "c" else "a"
    desk.governance.machines.add(Machine(owner, HOST, "cntr_1"), network)
    body = {"input": "hi", "tools": [{**NEXT, "container": ident}]}
    outcome = desk.ask(host, "/v1/responses", body, group=group)
    assert (outcome.deny is None) is passes, outcome.detail


@pytest.mark.parametrize(
    ("host", "method", "path", "made", "key", "ident", "next_method", "next_path", "body"),
    [
        (HOST, "POST", "/v1/containers", {"name": "c"}, "id", "cntr_9", "POST", "/v1/responses",
         {"input": "hi", "tools": [{"type": "code_interpreter", "container": "cntr_9"}]}),
        ("generativelanguage.googleapis.com", "POST", "/v1beta/environments", {}, "id", "env-9",
         "POST", "/v1beta/interactions", {"model": "m", "input": "hi", "environment": "env-9"}),
        ("generativelanguage.googleapis.com", "POST", "/v1beta/interactions",
         {"model": "m", "input": "hi", "environment": {"type": "remote"}}, "environment_id", "env-8",
         "POST", "/v1beta/interactions", {"model": "m", "input": "hi", "environment": "environments/env-8"}),
        ("bedrock-agentcore.us-east-1.amazonaws.com", "PUT", "/code-interpreters",
         {"name": "i", "networkConfiguration": {"networkMode": "SANDBOX"}}, "codeInterpreterId", "ci-9",
         "PUT", "/code-interpreters/ci-9/sessions/start", {}),
    ],
)  # fmt: skip
def test_each_vendors_machine_is_known_once_it_is_made(
    host: str, method: str, path: str, made: Any, key: str, ident: str, next_method: str, next_path: str, body: Any
) -> None:
    desk = Desk()
    assert desk.ask(host, next_path, body, method=next_method).deny is not None
    outcome = desk.ask(host, path, made, method=method)
    assert outcome.deny is None, outcome.detail
    assert outcome.read
    observation, _ = desk.read(
        outcome, json.dumps({key: ident, "metadata": {"container_id": "x"}}).encode(), "application/json"
    )
    assert observation.seen.machines == {ident}
    desk.governance.machines.add(Machine("acme", host, ident), ())
    outcome = desk.ask(host, next_path, body, method=next_method)
    assert outcome.deny is None, outcome.detail


CLAUDE = "api.anthropic.com"
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def say(http: Any, url: str, thread: dict[str, Any], **more: Any) -> Any:
    turn = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "thread": thread}
    return http.post(f"{url}/v1/messages", json={**turn, **more})


def going_on(ident: str) -> dict[str, Any]:
    return {"type": "continue", "previous_message_id": ident}


@on_loop
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_conversation_that_the_vendor_keeps_goes_on_for_the_group_that_began_it(
    tmp_path: Path, stream: bool
) -> None:
    async def claude(seen: Any, _reader: Any, writer: Any) -> None:
        message = {"id": f"msg_{len(desk.vendor.seen)}", "type": "message", "role": "assistant", "content": []}
        if json.loads(seen.body).get("stream"):
            events = [
                ("message_start", {"type": "message_start", "message": message}),
                ("end", {"type": "message_stop"}),
            ]
            return await vendors.events(writer, iter(events))
        return await vendors.reply(writer, 200, message)

    async with governed(CLAUDE, tmp_path, ON, claude) as desk, desk.http() as http:
        refused = await say(http, desk.url, going_on("msg_1"))
        assert refused.status_code == 403
        assert "unless this group made it" in refused.json()["error"]["message"]
        assert (await say(http, desk.url, {"type": "create"}, stream=stream)).status_code == 200
        assert (await say(http, desk.url, going_on("msg_1"), stream=stream)).status_code == 200
        assert (await say(http, desk.url, going_on("msg_2"), stream=stream)).status_code == 200
        assert (await say(http, desk.url, going_on("msg_9"))).status_code == 403


@pytest.mark.parametrize(
    ("sources", "settings", "passes"),
    [
        ((), {"enabled": False}, True),  # it does not search
        (("docs.example.com",), {}, True),
        (("docs.example.com",), {"enabled": False}, False),
        (("evil.example",), {}, False),  # no source by now
        (("docs.example.com", "evil.example"), {}, False),
    ],
)
def test_a_conversation_that_searches_goes_on_as_long_as_its_sources_are_permitted(
    sources: tuple[str, ...], settings: dict[str, Any], passes: bool
) -> None:
    desk = Desk()
    desk.governance.machines.add(Machine("acme", CLAUDE, "thread m1"), sources)
    body = {"messages": [], "thread": going_on("m1")}
    outcome = desk.ask(CLAUDE, "/v1/messages", body, settings=settings)
    assert (outcome.deny is None) is passes, outcome.detail
    assert outcome.watched is (passes and bool(sources))


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, {"thread m1": ()}),
        ({"tools": [SEARCH]}, {"thread m1": ("docs.example.com", "example.org")}),
        ({"mcp_servers": [{"type": "url", "name": "x", "url": "https://mcp.example.net/sse"}]}, {}),
    ],
    ids=["plain", "searching", "a server of somebody's"],
)
def test_what_is_remembered_of_a_conversation(more: dict[str, Any], kept: dict[str, Any]) -> None:
    desk = Desk()
    outcome = desk.ask(CLAUDE, "/v1/messages", {"messages": [], "thread": {"type": "create"}, **more})
    assert outcome.deny is None, outcome.detail
    if not kept:
        assert not outcome.read
        return
    answer = json.dumps({"type": "message", "id": "m1", "content": []}).encode()
    observation, _ = desk.read(outcome, answer, "application/json")
    assert made(observation.turn, observation.seen) == kept


def test_a_conversation_of_mistral_s_goes_on_unless_it_searches() -> None:
    host, desk = "api.mistral.ai", Desk()
    went_on = {"inputs": "hi"}
    for begun, answer, kept in (
        ({"inputs": "hi"}, {"object": "conversation.response", "conversation_id": "c1"}, ["thread c1"]),
        ({"inputs": "hi"}, {"type": "conversation.response.started", "conversation_id": "c2"}, ["thread c2"]),
        (
            {"inputs": "hi", "tools": [{"type": "web_search"}]},
            {"object": "conversation.response", "conversation_id": "c3"},
            [],
        ),
    ):
        outcome = desk.ask(host, "/v1/conversations", begun, settings={"unfilterable": Unfilterable.VERIFY})
        assert outcome.deny is None, outcome.detail
        observation, _ = desk.read(outcome, json.dumps(answer).encode(), "application/json")
        assert list(made(observation.turn, observation.seen)) == kept
        for ident in kept:
            desk.governance.machines.add(Machine("acme", host, ident), ())
    assert desk.ask(host, "/v1/conversations/c1", went_on).deny is None
    assert desk.ask(host, "/v1/conversations/c2/restart", went_on).deny is None
    assert desk.ask(host, "/v1/conversations/c3", went_on).deny is not None
    assert desk.ask(host, "/v1/conversations/c1", {**went_on, "agent_version": 1, "agent_id": "a"}).deny is not None


def test_what_a_client_writes_itself_names_no_machine() -> None:
    """The vendor repeats metadata, tools and input; an id in them is the client's word."""
    desk = Desk()
    outcome = desk.ask(HOST, "/v1/responses", {"input": "hi", "tools": [AUTO]})
    echo = {
        **RESPONSE,
        "output": [
            {"type": "message", "container_id": "cntr_x", "content": [{"type": "output_text", "text": "cntr_x"}]},
            {"type": "function_call", "container_id": "cntr_x", "arguments": '{"container_id": "cntr_x"}'},
        ],
        "metadata": {"container_id": "cntr_x"},
        "tools": [{"type": "code_interpreter", "container": "cntr_x", "container_id": "cntr_x"}],
    }
    observation, _ = desk.read(outcome, json.dumps(echo).encode(), "application/json")
    assert observation.seen.machines == set()


def test_the_oldest_machine_is_forgotten() -> None:
    known = Machines(2)
    three = [Machine("a", HOST, str(each)) for each in range(3)]
    assert [known.add(each, ()) for each in three] == [True, True, True]
    assert [known.network(each) for each in three] == [None, (), ()]
    assert not known.add(three[2], ())
    assert not known.add(Machine("a", HOST, "x" * 256), ())
