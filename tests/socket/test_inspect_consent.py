"""Consent to search through the inspect lane: whose traffic it counts for, however a client names the conversation."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from harness.inspection import inspecting, post, response, web_origin
from harness.loops import on_loop
from harness.policies import group, policy, rule
from outward.core.model import ClientEntry, Credential, Place, WebSearch
from outward.core.reasons import Reason
from outward.proxy.governance import SearchGovernor
from outward.records.audit.chain import Chain
from outward.records.database import migrate, open_database
from outward.records.state.live import State
from outward.records.state.runtime_settings import OptInChange
from outward.search.registry import registry_of

SEARCH = {"tools": [{"type": "web_search_20250305", "name": "web_search"}], "messages": []}
DEV = policy(
    group(rule("allowed.test"), rule("docs.example.com"), web_search=WebSearch(enabled=True)),
    group(rule("allowed.test"), rule("docs.example.com"), path="ops", web_search=WebSearch(enabled=True)),
    clients=tuple(
        ClientEntry(Credential.TOKEN, Place("p", 1), group=path, token_sha256=hashlib.sha256(token).hexdigest())
        for token, path in ((b"ann", "dev"), (b"ben", "dev"), (b"eve", "ops"))
    ),
    vendor_of={"allowed.test": "anthropic"}.get,
)


class Sinks:
    """Takes what a search leaves behind."""

    unaudited = False

    def audit(self, _event: object) -> None: ...

    def receipt(self, _receipt: object) -> None: ...


def shown(token: str, conversation: str = "") -> str:
    return "Proxy-Authorization: Basic " + base64.b64encode(f"{conversation}:{token}".encode()).decode()


@pytest.fixture
def state(tmp_path: Path):
    database = open_database("sqlite", tmp_path)
    migrate(database)
    database.close()
    subject = State(DEV, lambda: open_database("sqlite", tmp_path), lambda: Chain(tmp_path))
    subject.set_opt_in(OptInChange("chat", "dev", True, None, "backend", 5.0))
    yield subject
    subject.close()


@pytest.mark.parametrize(
    ("on_connect", "on_request", "searches"),
    [
        ([shown("ann", "chat")], [], True),
        ([shown("ann"), "Outward-Conversation: chat"], [], True),
        ([shown("ann", "other")], ["Outward-Conversation: chat"], True),
        ([shown("ann")], [], False),
        ([shown("ann", "Chat")], [], False),
        ([shown("ben", "chat")], [], False),  # of the same group
        ([shown("ben"), "Outward-Conversation: chat"], [], False),
        ([shown("ben")], ["Outward-Conversation: chat"], False),
        ([shown("ben")], ["Outward-Conversation: chat", shown("ann", "chat")], False),  # inside TLS nobody is asked
        ([shown("eve", "chat")], [], False),
    ],
)
@on_loop
async def test_nobody_borrows_a_conversation_that_another_client_has_used(
    on_connect: list[str], on_request: list[str], searches: bool, state: State, tmp_path: Path
) -> None:
    """Names of conversations are no secrets."""
    async with inspecting(DEV, tmp_path) as world, web_origin(world, "allowed.test") as server:
        registry = registry_of({"allowed.test": "anthropic"}, ["allowed.test"], ())
        world.engine.parts.governor = SearchGovernor(world.judge, registry, state, Sinks(), 1 << 20)
        host = f"allowed.test:{server.port}"
        for fields, more in (([shown("ann", "chat")], []), (on_connect, on_request)):
            async with world.tunnel("allowed.test", server.port, *fields) as client:
                sent = json.dumps(SEARCH).encode()
                await client.send(post(sent, host, "Content-Type: application/json", *more, path="/v1/messages"))
                await response(client)
        first, second = (json.loads(seen.body) for seen in server.seen)
        assert "tools" in first
        assert ("tools" in second) is searches
        refused = [event.reason for event in world.events if event.reason is Reason.WEB_SEARCH_NOT_OPTED_IN]
        assert len(refused) == (not searches)
        told = {name for seen in server.seen for name, _ in seen.fields}
        assert not {name for name in told if name.lower().startswith(("outward-", "proxy-"))}
