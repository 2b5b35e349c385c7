"""No audit, no search: while audit events cannot be kept, a hosted search reaches no vendor."""

from pathlib import Path
from typing import Any

import pytest

from harness import vendors
from harness.late import anthropic
from harness.loops import on_loop, until
from harness.records import Counts, act, recording
from harness.searching import governed
from outward.core.model import OptIn, Stage, Verdict, WebSearch
from outward.core.reasons import Reason

HOST = "api.anthropic.com"
ON = WebSearch(enabled=True, opt_in=OptIn.ASSUMED)
ASK: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}
SEARCH = [{"type": "web_search_20250305", "name": "web_search"}]


@on_loop
async def test_a_search_is_denied_while_the_audit_chain_takes_nothing_and_passes_once_it_does(tmp_path: Path) -> None:
    key = tmp_path / "audit.key"
    with recording(tmp_path, Counts()) as recorder:
        recorder.audit(act())
        await until(key.exists)
    whole = key.read_bytes()
    key.write_bytes(b"damaged")
    with recording(tmp_path, Counts()) as recorder:
        async with governed(HOST, tmp_path, ON, vendors.anthropic, recorder) as desk, desk.http() as http:
            client = anthropic.AsyncAnthropic(api_key="k", base_url=desk.url, http_client=http, max_retries=0)
            with pytest.raises(anthropic.InternalServerError, match="nothing is searched") as refused:
                await client.messages.create(**ASK, tools=SEARCH)
            assert refused.value.status_code == 503
            assert desk.vendor.seen == []
            await client.messages.create(**ASK)  # what searches nothing goes on
            assert len(desk.vendor.seen) == 1
            key.write_bytes(whole)
            await until(lambda: not recorder.unaudited)
            await client.messages.create(**ASK, tools=SEARCH)
            assert "tools" in desk.body()
        (denial,) = (event for event in desk.world.events if event.verdict is Verdict.DENY)
        assert (denial.reason, denial.stage) == (Reason.OVERLOADED, Stage.SEARCH)
        assert "audit" in (denial.detail or "")


@on_loop
async def test_a_search_is_not_tried_again_without_audit(tmp_path: Path) -> None:
    """A vendor refused a domain, and in the meantime the audit went away: the client gets the vendor's refusal."""

    async def refusing(seen: vendors.Seen, reader: Any, writer: Any) -> None:
        desk.told.unaudited = True
        await vendors.reply(writer, 400, {"error": {"message": "not accessible to our user agent: ['example.org']"}})

    async with governed(HOST, tmp_path, ON, refusing) as desk, desk.http() as http:
        answer = await http.post(f"{desk.url}/v1/messages", json={**ASK, "tools": SEARCH})
        assert answer.status_code == 400
        assert len(desk.vendor.seen) == 1
