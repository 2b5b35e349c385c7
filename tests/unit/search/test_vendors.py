"""What becomes of each vendor's requests and responses, by tables: one file of cases per vendor."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.governing import Desk, cases
from outward.core.model import OnViolation, RecordDetail, Unfilterable
from outward.core.reasons import Reason
from outward.search.receipts import receipt_of
from outward.search.registry import vendor_of
from outward.search.vendors import NAMES, load
from outward.search.vendors.mcp import rpc_error

CASES = cases(Path(__file__).parent / "cases")
_ENUMS: dict[str, Any] = {"unfilterable": Unfilterable, "on_violation": OnViolation}


def _settings(case: dict[str, Any]) -> dict[str, Any]:
    return {key: _ENUMS.get(key, lambda value: value)(value) for key, value in case.get("settings", {}).items()}


@pytest.mark.parametrize(("table", "case"), [(t, c) for _, t, c in CASES], ids=[name for name, _, _ in CASES])
def test_each_case_comes_out_as_its_table_says(table: dict[str, Any], case: dict[str, Any]) -> None:
    """The outcome, the body that goes upstream, the findings, and the receipt of the response are those of the case."""
    desk = Desk()
    host, body = case.get("host", table["host"]), case.get("request")
    outcome = desk.ask(
        host,
        case.get("path", table["path"]),
        body,
        method=case.get("method", "POST"),
        opted_in=case.get("opted_in", True),
        headers=case.get("headers"),
        settings=_settings(case),
        query=case.get("query", ""),
        raw=case["raw"].encode() if "raw" in case else None,
    )
    assert outcome.deny == case.get("deny"), outcome.detail
    if "found" in case:
        assert [[f.tool, str(f.action), None if f.reason is None else str(f.reason)] for f in outcome.findings] == case[
            "found"
        ]
    if outcome.deny is not None:
        return
    sent = case.get("sent", "unchanged")
    assert (None if outcome.body is None else json.loads(outcome.body)) == (None if sent == "unchanged" else sent)
    if "fields" in case:
        assert dict(outcome.headers) == case["fields"]
    if "response" in case:
        _check_response(desk, outcome, case)


def _check_response(desk: Desk, outcome: Any, case: dict[str, Any]) -> None:
    response = case["response"]
    if "events" in response:
        kind = "text/event-stream"
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in response["events"]).encode()
    elif "lines" in response:
        kind, body = "application/x-jsonl", "\n".join(map(json.dumps, response["lines"])).encode()
    else:
        kind, body = "application/json", json.dumps(response["json"]).encode()
    observation, passed = desk.read(outcome, body, kind)
    if "passed" in case:
        assert json.loads(passed) == case["passed"]
    elif "passed_text" not in case:
        assert passed == body
    receipt = receipt_of("c", "acme", observation.seen, RecordDetail.FULL).as_json()
    for key, value in case["receipt"].items():
        found = receipt[key]
        if key in ("sources", "citations"):
            assert isinstance(found, list)
            found = [[each["url"], each["permitted"], each["reason"]] for each in found]
        assert found == value, key


def test_every_adapter_has_a_table() -> None:
    """A vendor without cases is a vendor without a test."""
    tables = {path.stem for path in (Path(__file__).parent / "cases").glob("*.yaml")}
    assert tables == set(NAMES)


@pytest.mark.parametrize(
    ("host", "vendor"),
    [
        ("api.anthropic.com", "anthropic"),
        ("api.openai.com", "openai"),
        ("res.openai.azure.com", "openai"),
        ("res.services.ai.azure.com", "foundry"),
        ("generativelanguage.googleapis.com", "gemini"),
        ("europe-west1-aiplatform.googleapis.com", "vertex"),
        ("aiplatform.googleapis.com", "vertex"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "bedrock"),
        ("aws-external-anthropic.us-east-1.api.aws", "anthropic"),
        ("claude.googleapis.com", "anthropic"),
        ("cloud.gitlab.com", "gitlab"),
        ("api.tavily.com", "tavily"),
        ("mcp.exa.ai", "mcp"),
        ("example.com", None),
        ("api.anthropic.com.evil.example", None),
        ("evil-api.openai.com.example", None),
        ("notaiplatform.googleapis.com", None),
    ],
)
def test_a_host_belongs_to_its_vendor(host: str, vendor: str | None) -> None:
    """Names, suffixes and patterns; nothing that only looks alike."""
    assert vendor_of(host) == vendor


@pytest.mark.parametrize(
    ("vendor", "body"),
    [
        ("tavily", {"detail": {"error": "why"}}),
        ("exa", {"error": "why", "tag": "WEB_SEARCH_DISABLED"}),
        ("firecrawl", {"success": False, "error": "why", "code": "web_search_disabled"}),
        (
            "openrouter",
            {
                "error": {
                    "code": 403,
                    "message": "why",
                    "type": "permission_error",
                    "metadata": {"reason": "web_search_disabled"},
                }
            },
        ),
    ],
)
def test_a_denial_has_the_shape_that_the_vendor_s_clients_read(vendor: str, body: dict[str, Any]) -> None:
    """In any other they show no message, or complain of its shape instead."""
    assert load(vendor).error("why", Reason.WEB_SEARCH_DISABLED) == body


def test_a_denial_of_cohere_has_its_message_at_the_top() -> None:
    assert load("cohere").error("why", Reason.NO_RULE)["message"] == "why"


def test_a_client_that_reads_results_only_gets_a_refused_call_as_a_failed_result() -> None:
    """Of an error, opencode says `Missing key`."""
    assert rpc_error(1, "why")["error"] == {"code": -32001, "message": "why"}
    failed = rpc_error(1, "why", "opencode/1.18.33")
    assert failed == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"content": [{"type": "text", "text": "why"}], "isError": True},
    }


@pytest.mark.parametrize("vendor", ["anthropic", "openrouter", "xai", "fireworks"])
def test_claude_code_is_not_told_that_its_login_has_failed(vendor: str) -> None:
    """Whoever serves it: it takes a 403 for that."""
    adapter = load(vendor)
    assert adapter.status(Reason.NO_RULE, "claude-cli/2.1.332 (external, cli)") == 400
    assert adapter.status(Reason.NO_RULE, "OpenAI/Python 3.57.0") is None
