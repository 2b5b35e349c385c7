"""The demo as users start it, and a whole service with opt-ins through the admin API in front of streaming vendors."""

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.loops import on_loop
from harness.process import Served, outward
from harness.waiting import PATIENCE
from outward.demo.chat import Chat
from outward.demo.small_web import PAGES, QUESTION
from outward.demo.stage import GROUP, DemoStage, stage

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CLOCK = {"name": "clock", "input_schema": {"type": "object"}}
PERMITTED = [page.url for page in PAGES[:3]]
OUTSIDE = PAGES[3].url


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return outward("demo", *arguments)


def test_the_story_is_told_without_keys_or_internet() -> None:
    """One command plays every scene: memory, search, another vendor, a flagged source, a blocked host."""
    done = _demo("--once")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    text = done.stdout
    assert text.count("Searched the web (1 search)") == 3
    assert text.count("was sent: allowed_domains: github.com, nvd.nist.gov, urllib3.readthedocs.io") == 3
    assert text.count("was sent: no search tool") == 1
    assert [line.split()[-1] for line in text.splitlines() if OUTSIDE in line] == ["source_outside_allowlist"]
    assert "403 no_rule: No rule allows this host; to allow it: - paste.example.net" in text
    assert "web_search_not_opted_in" in text.partition("Blocked log")[2].partition("Audit log")[0]


def test_a_port_that_cannot_be_opened_is_named_with_the_way_out() -> None:
    """Neither a traceback nor, for one that is none, some other port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = _demo("--port", str(taken.getsockname()[1]))
    assert (told.returncode, told.stdout) == (1, "")
    assert "choose another one with --port" in told.stderr
    assert _demo("--port", "65536").returncode == 2


def test_the_logs_of_the_story_can_be_read_by_scripts() -> None:
    """Receipt, blocked log and audit log agree with what was shown."""
    held = json.loads(_demo("--once", "--json").stdout)
    assert held["receipt"]["searches"] == 3
    assert {source["url"]: source["permitted"] for source in held["receipt"]["sources"]} == {
        **dict.fromkeys(PERMITTED, True),
        OUTSIDE: False,
    }
    assert [row["reason"] for row in held["blocked"]] == ["no_rule", "web_search_not_opted_in"]
    names = [row["details"]["event_name"] for row in reversed(held["audit"])]
    opt, bound, invoked = "conversation_opt_in_changed", "conversation_opt_in_bound", "web_search_invoked"
    assert sorted(names[2:]) == sorted(
        [opt, bound, invoked, invoked, invoked, opt]
    )  # the binding is told as it is stored
    assert (names[0], names[1], names[2], names[-1]) == ("admin_token_created", "web_search_blocked", opt, opt)


@dataclass
class Talk:
    """One kept-alive connection of a chat backend through the proxy."""

    stage: DemoStage
    chat: Chat
    http: httpx.AsyncClient
    dials: list[str]

    async def ask(self, tools: list[dict[str, Any]], **more: Any) -> str:
        """Send one turn and return the text of the stream."""
        vendor = self.stage.vendors["anthropic"]
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": QUESTION}], "stream": True}
        answer = await self.http.post(
            f"https://api.anthropic.com:{vendor.port}/v1/messages",
            json={**body, "tools": tools, **more},
            extensions={"trace": self._trace},
        )
        assert answer.status_code == 200, answer.text
        return answer.text

    async def api(self, path: str, **headers: str) -> httpx.Response:
        """Ask the admin API."""
        async with httpx.AsyncClient(
            headers={"authorization": f"Bearer {self.stage.admin}", **headers}, timeout=PATIENCE
        ) as http:
            return await http.get("http://{}:{}{}".format(*self.stage.ops, path))

    async def _trace(self, name: str, _info: object) -> None:
        if name == "connection.connect_tcp.started":
            self.dials.append(name)


def through(proxy: tuple[str, int], token: str, tls: ssl.SSLContext) -> httpx.AsyncClient:
    """A client behind the proxy, in the conversation `talk`."""
    auth = ("talk", token)
    return httpx.AsyncClient(proxy=httpx.Proxy("http://{}:{}".format(*proxy), auth=auth), verify=tls, timeout=PATIENCE)


@contextlib.asynccontextmanager
async def talking(folder: Path) -> AsyncIterator[Talk]:
    async with stage(folder, pace=0) as found, through(found.proxy, found.token, found.tls) as http:
        yield Talk(found, Chat(found, "talk"), http, [])


@on_loop
async def test_an_opt_in_counts_from_the_next_request_of_a_kept_alive_connection_until_it_is_withdrawn(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path) as talk:
        searched = []
        for active in (False, True, False, True):
            await talk.chat.opt_in(active=active)
            text = await talk.ask([SEARCH])
            searched.append("web_search_tool_result" in text)
        assert searched == [False, True, False, True]
        assert len(talk.dials) == 1


@on_loop
async def test_without_an_opt_in_the_turn_survives_and_its_other_tools_too(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        text = await talk.ask([SEARCH, CLOCK], tool_choice={"type": "tool", "name": "web_search"})
        assert "message_stop" in text
        assert "web_search_tool_result" not in text
        body = talk.stage.vendors["anthropic"].body
        assert (body["tools"], body["tool_choice"]) == ([CLOCK], {"type": "auto"})

        async def noted() -> list[dict[str, Any]]:
            return [row for row in await talk.chat.blocked() if row["stage"] == "search"]

        (row,) = await _until(noted)
        assert (row["reason"], row["group"], row["conversation"]) == ("web_search_not_opted_in", GROUP, "talk")
        assert (await talk.api("/api/v1/conversations/talk/receipt")).status_code == 404


@on_loop
async def test_the_receipt_is_json_and_markdown_with_links(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.chat.opt_in(active=True)
        await talk.ask([SEARCH])
        await _until(talk.chat.receipt)
        receipt = (await talk.api("/api/v1/conversations/talk/receipt")).json()
        assert [source["url"] for source in receipt["sources"]] == PERMITTED
        markdown = await talk.api("/api/v1/conversations/talk/receipt", accept="text/markdown")
        assert markdown.headers["content-type"].startswith("text/markdown")
        assert markdown.text.startswith("**Searched the web once**")
        assert all(f"](<{url}>)" in markdown.text for url in PERMITTED)


@on_loop
async def test_another_credential_cannot_borrow_an_opt_in(tmp_path: Path) -> None:
    """An opt-in belongs to the conversation's name and the credential together; a wrong one gets no connection."""
    async with talking(tmp_path) as talk:
        await talk.chat.opt_in(active=True)
        async with through(talk.stage.proxy, "not-the-token", talk.stage.tls) as http:
            with pytest.raises(httpx.ProxyError, match="407"):
                await http.get("https://api.anthropic.com:{}/".format(talk.stage.vendors["anthropic"].port))


@on_loop
async def test_another_valid_client_of_the_group_cannot_borrow_an_opt_in(tmp_path: Path) -> None:
    """The first credential that searches with it is the one that it is bound to; the other's turn goes on without."""
    tokens = ("first-client", "second-client")
    async with stage(tmp_path, pace=0) as found:
        text = found.policy.replace(str(tmp_path / "state"), str(tmp_path / "own"))
        for token in tokens:
            digest = hashlib.sha256(token.encode()).hexdigest()
            text += f"  - {{group: {GROUP}, token_sha256: {digest}}}\n"
        (tmp_path / "own.yaml").write_text(text)
        served = await asyncio.to_thread(Served, tmp_path / "own.yaml", OUTWARD_ADMIN_TOKEN="owt_all-0123456789")
        try:
            opt_in = f"http://{served.ops[0]}:{served.ops[1]}/api/v1/conversations/talk/opt-in"
            async with httpx.AsyncClient(
                headers={"authorization": "Bearer owt_all-0123456789"}, timeout=PATIENCE
            ) as admin:
                assert (await admin.put(opt_in, json={"group": GROUP})).status_code == 200
            pem = ssl.create_default_context(cafile=tmp_path / "own" / "ca.pem")
            searched = []
            for token in (*tokens, *tokens):
                async with through(served.proxy, token, pem) as http:
                    talk = Talk(found, Chat(found, "talk"), http, [])
                    searched.append("web_search_tool_result" in await talk.ask([SEARCH]))
            assert searched == [True, False, True, False]
        finally:
            await asyncio.to_thread(served.end)


@on_loop
async def test_a_request_with_many_searches_leaves_few_and_short_rows(tmp_path: Path) -> None:
    """One row for each kind of refusal in the blocked and audit logs, whatever the client packs into one request."""
    domains = [f"d{number}.example" for number in range(2000)]
    async with talking(tmp_path) as talk:
        await talk.ask([{**SEARCH, "allowed_domains": domains}] * 8 + [CLOCK])
        await talk.chat.opt_in(active=True)
        await talk.ask([{**SEARCH, "allowed_domains": domains}, SEARCH])

        async def audited() -> list[dict[str, Any]]:
            rows = [row["details"] for row in await talk.chat.audit()]
            return rows if len(rows) >= 6 else []

        rows = [row for row in await _until(audited) if row["event_name"].startswith("web_search")]
        assert sorted((row["event_name"], row["reason"]) for row in rows) == [
            ("web_search_blocked", "web_search_no_permitted_source"),
            ("web_search_blocked", "web_search_not_opted_in"),
            ("web_search_invoked", None),
        ]
        assert all(len(row["request_domains"] or ()) <= 500 for row in rows)

        async def blocked() -> list[str]:
            found = [row["reason"] for row in await talk.chat.blocked() if row["stage"] == "search"]
            return found if len(found) >= 2 else []

        noted = await _until(blocked)
        assert sorted(noted) == ["web_search_no_permitted_source", "web_search_not_opted_in"]


@on_loop
async def test_the_audit_chain_of_a_service_verifies_once_it_has_stopped(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.chat.opt_in(active=True)
        await talk.ask([SEARCH])
        await _until(talk.chat.receipt)
    done = await asyncio.to_thread(outward, "audit", "verify", "--config", tmp_path / "outward.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


async def _until(ask: Any) -> Any:
    """Ask until there is an answer."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not (found := await ask()):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
    return found


_AGENT = """
import json, ssl, sys, os, urllib.request
body = json.dumps({"model": "m", "max_tokens": 9, "messages": [], "stream": True,
                   "tools": [{"type": "web_search_20250305", "name": "web_search"}]}).encode()
url = f"https://api.anthropic.com:{sys.argv[1]}/v1/messages"
request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
print("searched" if b"web_search_tool_result" in urllib.request.urlopen(request).read() else "from memory")
"""


@on_loop
async def test_a_run_searches_with_the_flag_and_not_without(tmp_path: Path) -> None:
    """`outward run --web-search` speaks for the person who starts it: it turns search on and opts in."""
    async with stage(tmp_path, pace=0) as found:
        port = found.vendors["anthropic"].port
        config = tmp_path / "run.yaml"
        text = found.policy.replace(str(tmp_path / "state"), str(tmp_path / "own"))
        config.write_text(text.replace("web_search: {enabled: true}", "web_search: {enabled: false}"))
        for flag, expected in (((), "from memory"), (("--web-search",), "searched")):
            run = ("run", "--config", config, "--group", GROUP, *flag, "--", sys.executable, "-c", _AGENT, port)
            done = await asyncio.to_thread(outward, *run)
            assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
            assert ("web_search_disabled" in done.stderr) == (not flag), done.stderr
