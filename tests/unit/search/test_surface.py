"""What no table names does not pass, the line that opens it, and the two nets for addresses."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.gates import LIMITS, Recorder, request
from harness.governing import POLICY, Desk, policy_of
from harness.searching import Memory
from outward.builders.errors import StartError
from outward.builders.judging import check_tables
from outward.config.load import load_text
from outward.core.addresses import Own
from outward.core.model import WebSearch
from outward.core.reasons import Reason
from outward.http1.head import parse_head
from outward.ops.metrics import Metrics
from outward.proxy.governance import SearchGovernor
from outward.proxy.judge import Judge
from outward.proxy.search_settings import FileConsent
from outward.search.jsonbody import JsonBodyError
from outward.search.opening import endpoint_line
from outward.search.registry import Registry, registry_of, valve_of
from outward.search.request import GovernedRequest, VendorCall
from outward.search.results import filter_events
from outward.search.scope import Scope
from outward.search.surface import Endpoint, EndpointKind, Routes
from outward.search.tables import SHIPPED, TableError, names, overlaid, surface
from outward.search.tools import UngovernableError
from outward.search.ungoverned import known
from outward.search.vendors import load

OPENAI = "api.openai.com"
NEW = "/v1/newcomer/x7f3a9/run"
EVIL = "https://evil.example/x"


def _opened(**options: Any) -> Desk:
    valve = valve_of(
        options.get("endpoints", ()),
        options.get("tools", ()),
        options.get("fields", ()),
        report=options.get("report", False),
    )
    return Desk(registry=registry_of({OPENAI: "openai"}, (), (), {OPENAI: valve}))


@pytest.mark.parametrize("name", names())
def test_every_table_can_be_read_and_says_where_it_is_from(name: str) -> None:
    found = surface(name)
    assert found.date
    assert found.source


@pytest.mark.parametrize("name", names())
def test_every_schema_of_a_table_is_one_that_its_adapter_has(name: str) -> None:
    """A schema that nobody reads would be an error inside, not an answer."""
    for schema in _schemas(name):
        found = surface(schema.partition(".")[0]) if "." in schema else surface(name)
        word = schema.rpartition(".")[2]
        call = VendorCall(found.adapter, "vendor.example", "POST", "/a/b/c/d", headers={}, body=b"{}", schema=word)
        turn = GovernedRequest(call, Scope(policy_of(), policy_of().groups["acme"], WebSearch()), WebSearch(), found)
        with contextlib.suppress(UngovernableError, JsonBodyError):
            load(found.adapter).govern(turn)


def _schemas(name: str) -> set[str]:
    lines = list(yaml.safe_load_all((SHIPPED / f"{name}.yaml").read_text()))[1].get("endpoints") or {}
    return {value["governed"] for value in lines.values() if isinstance(value, dict) and "governed" in value}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "OPTIONS"])
def test_an_endpoint_that_no_table_names_does_not_pass_the_empty_body_neither(method: str) -> None:
    for body in (None, {"input": "hi"}):
        found = Desk().ask(OPENAI, NEW, body, method=method)
        assert found.deny is Reason.WEB_SEARCH_UNKNOWN_ENDPOINT
        assert found.line == (
            f'vendors: {{{OPENAI}: {{adapter: openai, allow_endpoints: ["{method} /v1/newcomer/{{}}/run"]}}}}'
        )


def test_a_plain_read_passes_unless_it_names_an_address() -> None:
    assert Desk().ask(OPENAI, NEW, method="GET").deny is None
    asked = Desk().ask(OPENAI, NEW, method="GET", query="u=https%3A%2F%2Fevil.example%2F")
    assert asked.deny is Reason.WEB_SEARCH_UNKNOWN_ENDPOINT
    assert Desk().ask("api.tavily.com", NEW, method="GET").deny is Reason.WEB_SEARCH_UNKNOWN_ENDPOINT


def test_the_line_opens_the_endpoint_and_nothing_else() -> None:
    desk = _opened(endpoints=["POST /v1/newcomer/{}/run"])
    assert desk.ask(OPENAI, NEW, {"input": "hi"}).deny is None
    assert desk.ask(OPENAI, NEW, {"source_url": EVIL}).deny is Reason.WEB_SEARCH_UNKNOWN_FIELD
    assert desk.ask(OPENAI, NEW, {"image_url": EVIL}).deny is Reason.NO_RULE
    assert desk.ask(OPENAI, NEW, {"tools": []}).deny is Reason.WEB_SEARCH_UNINSPECTABLE
    assert desk.ask(OPENAI, NEW + "/other", {}).deny is Reason.WEB_SEARCH_UNKNOWN_ENDPOINT


def test_the_valve_is_never_over_a_listed_denial() -> None:
    desk = _opened(endpoints=["POST /v1/batches"])
    assert desk.ask(OPENAI, "/v1/batches", {"input_file_id": "f"}).deny is Reason.WEB_SEARCH_UNINSPECTABLE


def test_what_is_watched_passes_and_is_told() -> None:
    desk = _opened(report=True)
    found = desk.ask(OPENAI, NEW, {"input": "hi"})
    assert (found.deny, [each.reason for each in found.unknowns]) == (None, [Reason.WEB_SEARCH_UNKNOWN_ENDPOINT])
    body = {"input": "hi", "tools": [{"type": "newcomer"}], "new_key": EVIL}
    found = desk.ask(OPENAI, "/v1/responses", body)
    assert found.deny is None
    reasons = {each.reason for each in found.unknowns}
    assert reasons == {Reason.WEB_SEARCH_UNKNOWN_TOOL, Reason.WEB_SEARCH_UNKNOWN_FIELD}
    assert desk.ask(OPENAI, "/v1/responses", {"input": [{"image_url": EVIL}]}).deny is Reason.NO_RULE


def test_a_tool_and_a_field_are_opened_by_name() -> None:
    desk = _opened(tools=["newcomer"], fields=["new_key"])
    assert (
        desk.ask(OPENAI, "/v1/responses", {"input": "hi", "tools": [{"type": "newcomer"}], "new_key": EVIL}).deny
        is None
    )
    assert desk.ask(OPENAI, "/v1/responses", {"input": "hi", "other_key": EVIL}).deny is Reason.WEB_SEARCH_UNKNOWN_FIELD


def test_words_schemas_arguments_results_and_metadata_are_no_addresses() -> None:
    """What an agent really sends: nothing in it is fetched by the vendor."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"url": {"default": EVIL}}}
    claude = {
        "system": [{"type": "text", "text": EVIL}],
        "metadata": {"user_id": EVIL},
        "tools": [{"name": "WebFetch", "description": EVIL, "input_schema": schema}],
        "messages": [
            {"role": "user", "content": EVIL},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "WebFetch", "input": {"url": EVIL}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": EVIL}]}],
            },
        ],
    }
    assert Desk().ask("api.anthropic.com", "/v1/messages", claude).deny is None
    codex = {
        "instructions": EVIL,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": EVIL}]},
            {"type": "function_call", "call_id": "c", "name": "shell", "arguments": EVIL},
            {"type": "function_call_output", "call_id": "c", "output": EVIL},
            {"type": "web_search_call", "id": "ws", "action": {"type": "open_page", "url": EVIL}},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": schema}],
    }
    for host in ("chatgpt.com", "gov.chatgpt.com"):  # a workspace may have a backend of its own
        assert Desk().ask(host, "/backend-api/codex/responses", codex).deny is None
    gemini = {
        "contents": [
            {"role": "user", "parts": [{"text": EVIL}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"url": EVIL}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"url": EVIL}}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}],
    }
    assert Desk().ask("generativelanguage.googleapis.com", "/v1beta/models/m:generateContent", gemini).deny is None


@pytest.mark.parametrize(
    "spelling", ["HTTPS://evil.example/", " https://evil.example/", "https:\\\\evil.example", "evil.example/x"]
)
def test_an_address_is_judged_in_whatever_spelling(spelling: str) -> None:
    found = Desk().ask(OPENAI, "/v1/responses", {"input": [{"type": "input_image", "image_url": spelling}]})
    assert found.deny is not None


def test_an_address_in_a_form_is_judged() -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttps://evil.example/a.mp3\r\n--x--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=x"}
    path = "/openai/v1/audio/transcriptions"
    assert Desk().ask("api.groq.com", path, raw=form, headers=kind).deny is Reason.NO_RULE
    encoded = {"content-type": "application/x-www-form-urlencoded"}
    assert (
        Desk().ask("api.groq.com", path, raw=b"url=https%3A%2F%2Fevil.example", headers=encoded).deny is Reason.NO_RULE
    )
    assert Desk().ask("api.groq.com", path, raw=b"--y", headers=kind).deny is Reason.MALFORMED_REQUEST


def test_the_line_that_says_most_decides() -> None:
    usual, denied = Endpoint(EndpointKind.USUAL, "v"), Endpoint(EndpointKind.DENIED, "v", why="agents")
    routes = Routes({"POST /v1/{}/x": usual, "ANY /v1/agents/**": denied, "POST /v1/agents/{}/cancel": usual})
    assert routes.find("POST", "/v1/files/x") == usual
    assert routes.find("POST", "/V1/Agents/x") == denied
    assert routes.find("POST", "/v1/agents") == denied
    assert routes.find("POST", "/v1/agents/a1/cancel/") == usual
    assert routes.find("GET", "/v1/files/x") is None


def test_a_name_of_somebodys_own_stands_in_no_line() -> None:
    assert endpoint_line("POST", "/v1/threads/thread_8aF3/runs:cancel") == "POST /v1/threads/{}/runs:cancel"


def test_a_newer_table_is_laid_over_the_shipped_one(tmp_path: Path) -> None:
    head = "adapter: openai\nsource: mine\ndate: 2027-01-01\n---\n"
    (tmp_path / "openai.yaml").write_text(head + "endpoints:\n  POST /newcomer/{}/run: usual\n")
    desk = Desk(registry=registry_of({}, (), (), None, (tmp_path,)))
    assert desk.ask(OPENAI, NEW, {}).deny is None
    assert desk.ask(OPENAI, "/v1/batches", {}).deny is Reason.WEB_SEARCH_UNINSPECTABLE
    (tmp_path / "openai.yaml").write_text(head + "endpoints:\n  POST /newcomer: {denied: whatever}\n")
    with pytest.raises(TableError, match="whatever"):
        overlaid((tmp_path,))
    assert desk.ask(OPENAI, NEW, {}).deny is None, "what was read stays"


def test_what_a_reload_puts_in_force_was_read_before(tmp_path: Path) -> None:
    """It is put in force on the loop, where no file is read; nor is one read later, when a request asks."""
    table = tmp_path / "openai.yaml"
    table.write_text(
        "adapter: openai\nsource: mine\ndate: 2027-01-01\n---\nendpoints: {POST /newcomer: {governed: chat}}\n"
    )
    settings = load_text(f"{POLICY}vendor_tables: [{tmp_path}]\n", str(tmp_path / "policy.yaml")).settings
    assert settings is not None
    judge = Judge(policy_of(), Recorder(), Metrics(), Own())
    governor = SearchGovernor(judge, Registry(), FileConsent(policy_of), Memory(), 1 << 20)
    head = parse_head(request("POST http://api.openai.com/newcomer HTTP/1.1", "Host: api.openai.com"), LIMITS)
    assert not governor.request_needs_body("openai", head), "no shipped table names it"
    governor.prepare(settings)
    table.write_text("broken")
    governor.use(settings)
    assert governor.request_needs_body("openai", head)
    with pytest.raises(TableError):
        governor.prepare(settings)
    assert governor.request_needs_body("openai", head)
    with pytest.raises(StartError, match=r"openai\.yaml"):
        check_tables(settings)


def test_an_event_without_data_passes() -> None:
    """MCP's clients need the event that says where to go on from, and comments keep a connection open."""
    stream = b'id: 1\ndata:\n\n: ping\n\nid: 2\ndata: {"x": 1}\n\ndata: no json\n\n'
    assert filter_events(stream, lambda _value: None) == b'id: 1\ndata:\n\n:\n\nid: 2\ndata: {"x":1}\n\n'


def test_the_hosts_that_nothing_governs_are_a_list_without_repeats() -> None:
    assert (SHIPPED / "ungoverned.txt").exists()
    hosts = [host for host, _ in known()]
    assert len(hosts) == len(set(hosts))
    assert all(what for _, what in known())


def test_what_is_remembered_of_keys_is_bounded_and_changes_no_judgement() -> None:
    """Whoever sends a body chooses its keys: tens of thousands of them cost no memory, and unknown stay unknown."""
    desk = Desk()
    fields = surface("openai").fields
    for turn in range(3):
        made = {f"k{turn}-{each}": {"x": "y"} for each in range(15_000)}
        assert desk.ask("api.openai.com", "/v1/responses", {"input": "hi", "more": made}).deny is None
    assert sum(map(len, fields._known.values())) <= 20_000
    long = {"x" * 5000: "https://evil.example/"}
    for _ in range(2):
        outcome = desk.ask("api.openai.com", "/v1/responses", {"input": "hi", **long})
        assert outcome.deny is Reason.WEB_SEARCH_UNKNOWN_FIELD
    assert all(len(name) <= 200 for known in fields._known.values() for name in known)
