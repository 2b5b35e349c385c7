"""The one entry: encodings, learning from refusals, cutting, receipts, explanations."""

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from harness.governing import Desk, policy_of
from outward.core.model import Filter, OnViolation, RecordDetail
from outward.core.reasons import Reason
from outward.search.explain import explain_search
from outward.search.receipts import Receipt, blocked, invoked, receipt_of
from outward.search.registry import Registry, registry_of

SEARCH: dict[str, Any] = {"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
HOST, PATH = "api.anthropic.com", "/v1/messages"
EVIL = {
    "type": "web_search_tool_result",
    "tool_use_id": "s",
    "content": [{"url": "https://evil.example/", "title": "E"}],
}


def test_an_encoded_body_is_read_and_sent_plain() -> None:
    """Rewritten, it loses its encoding; without a search it passes byte for byte."""
    desk, headers = Desk(), {"content-encoding": "gzip"}
    found = desk.ask(HOST, PATH, raw=gzip.compress(json.dumps(SEARCH).encode()), headers=headers)
    assert found.body is not None
    assert found.headers == {"content-encoding": None}
    plain = desk.ask(HOST, PATH, raw=gzip.compress(b'{"messages":[]}'), headers=headers)
    assert (plain.body, dict(plain.headers), plain.deny) == (None, {}, None)


def test_an_unknown_encoding_is_denied() -> None:
    """With a reason of its own."""
    assert (
        Desk().ask(HOST, PATH, raw=b"x", headers={"content-encoding": "x-odd"}).deny is Reason.WEB_SEARCH_UNINSPECTABLE
    )


def test_a_body_that_inflates_beyond_the_limit_is_denied() -> None:
    """However small it arrives."""
    bomb = gzip.compress(b" " * 2_000_000 + b"{}")
    assert Desk(limit=1_000_000).ask(HOST, PATH, raw=bomb, headers={"content-encoding": "gzip"}).deny is not None


def test_a_domain_that_the_vendor_refuses_is_dropped_and_remembered() -> None:
    """The request is worth another try once, and later requests leave the domain out from the start."""
    desk = Desk()
    first = desk.ask(HOST, PATH, SEARCH)
    text = "The following domains are not accessible to our user agent: ['example.org']. Learn more"
    refusal = json.dumps({"type": "error", "error": {"message": text}}).encode()
    assert desk.governance.learn(first, 400, refusal)
    second = desk.ask(HOST, PATH, SEARCH)
    assert second.findings[0].effective == ("docs.example.com",)
    assert not desk.governance.learn(second, 400, refusal)


def refusal(names: str) -> bytes:
    text = f"The following domains are not accessible to our user agent: {names}. Learn more at help.example.com"
    return json.dumps({"type": "error", "error": {"message": text}}).encode()


@pytest.mark.parametrize(
    "names",
    [
        "['www.example.org']",
        '["example.org"]',
        "example.org, evil.com",
        "'https://Example.org/a'",
        '"www.example.org."',
    ],
)
def test_a_refused_domain_is_known_whichever_way_the_vendor_names_it(names: str) -> None:
    """As a host, an address, with `www.`; a host that stands behind the sentence is none of them."""
    desk = Desk()
    assert desk.governance.learn(desk.ask(HOST, PATH, SEARCH), 400, refusal(names))
    assert desk.ask(HOST, PATH, SEARCH).findings[0].effective == ("docs.example.com",)


def test_a_name_behind_the_refusal_or_beside_the_list_teaches_nothing() -> None:
    desk = Desk()
    assert not desk.governance.learn(desk.ask(HOST, PATH, SEARCH), 400, refusal("['other.example', 'xexample.org']"))
    assert desk.ask(HOST, PATH, SEARCH).findings[0].effective == ("docs.example.com", "example.org")


@pytest.mark.parametrize(
    ("sources", "sent"), [("", ("example.org",)), ("sources: [api.openai.com]", ("api.openai.com",))]
)
def test_a_vendor_s_own_host_is_a_source_only_if_the_policy_says_so(sources: str, sent: tuple[str, ...]) -> None:
    """A group connects to it; nobody searches it."""
    text = (
        f"version: 1\ngroups:\n  acme:\n    web_search: {{enabled: true, opt_in: assumed, {sources}}}\n"
        "    allow: [api.anthropic.com, api.openai.com, example.org]\nclients: [{group: acme, anyone: true}]\n"
    )
    desk = Desk(text)
    desk.policy = replace(desk.policy, vendor_of=Registry().vendor_of)
    assert desk.ask(HOST, PATH, SEARCH).findings[0].effective == sent


LONG = (
    "version: 1\ngroups:\n  acme:\n    web_search: {enabled: true}\n    allow: ["
    + ", ".join(f"h{number:02}.example.com" for number in range(60))
    + "]\nclients: [{group: acme, anyone: true}]\n"
)
TOO_LARGE = {"type": "web_search_tool_result_error", "error_code": "request_too_large"}


def test_a_list_that_the_vendor_finds_too_long_is_halved_for_later_requests() -> None:
    """Streamed or not; what that costs is in the audit row as truncation, and a floor holds."""
    desk = Desk(LONG)
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": TOO_LARGE}
    whole = json.dumps({"type": "message", "content": [block]}).encode(), "application/json"
    event = json.dumps({"type": "content_block_start", "index": 1, "content_block": block}).encode()
    streamed = b"event: content_block_start\ndata: " + event + b"\n\n", "text/event-stream"
    for length, (body, kind) in ((50, whole), (25, streamed), (12, whole), (10, whole), (10, whole)):
        outcome = desk.ask(HOST, PATH, SEARCH)
        finding = outcome.findings[0]
        assert (len(finding.effective or ()), finding.truncated) == (length, 60 - length)
        observation, passed = desk.read(outcome, body, kind)
        assert passed == body
        desk.governance.counted(observation)
        audited = invoked("anthropic", outcome.findings, observation.seen, RecordDetail.FULL, Filter.COVERING)
        assert audited.details["truncated"] == 60 - length
    mine = ["h40.example.com", "h41.example.com"]
    own = {"messages": [], "tools": [{**SEARCH["tools"][0], "allowed_domains": mine}]}
    assert desk.ask(HOST, PATH, own).findings[0].effective == tuple(mine)


def test_a_list_that_was_too_long_costs_no_other_list_group_or_policy_anything() -> None:
    """One client's long list must not take sources away from everybody until the next restart."""
    names = ", ".join(f"o{number:02}.example.com" for number in range(40))
    more = f"  other:\n    web_search: {{enabled: true}}\n    allow: [{names}]\nclients:"
    desk = Desk(LONG.replace("clients:", more))
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": TOO_LARGE}
    whole = json.dumps({"type": "message", "content": [block]}).encode(), "application/json"
    observation, _ = desk.read(desk.ask(HOST, PATH, SEARCH), *whole)
    desk.governance.counted(observation)

    def sent(*names: str, group: str = "acme") -> int:
        tool = {**SEARCH["tools"][0], "allowed_domains": [*names]} if names else SEARCH["tools"][0]
        finding = desk.ask(HOST, PATH, {"messages": [], "tools": [tool]}, group=group).findings[0]
        return len(finding.effective or ())

    assert sent() == 25
    assert sent(*(f"h{number:02}.example.com" for number in range(40))) == 40
    assert sent(group="other") == 40
    desk.policy = policy_of(LONG)
    assert sent() == 50


def test_another_error_of_a_search_costs_no_entries() -> None:
    desk = Desk(LONG)
    block = {
        "type": "web_search_tool_result",
        "tool_use_id": "s",
        "content": {**TOO_LARGE, "error_code": "unavailable"},
    }
    body = json.dumps({"type": "message", "content": [block]}).encode()
    observation, _ = desk.read(desk.ask(HOST, PATH, SEARCH), body, "application/json")
    desk.governance.counted(observation)
    assert desk.ask(HOST, PATH, SEARCH).findings[0].truncated == 10


def test_a_host_that_only_speaks_the_format_is_not_trusted_to_filter() -> None:
    """Unless the policy says so."""
    untrusted = Desk(registry=registry_of({"llm.example.com": "openai"}, (), ()))
    body = {"input": "hi", "tools": [{"type": "web_search"}]}
    assert untrusted.ask("llm.example.com", "/v1/responses", body).findings[0].reason is Reason.WEB_SEARCH_UNFILTERABLE
    trusted = Desk(registry=registry_of({"llm.example.com": "openai"}, {"llm.example.com"}, ()))
    assert trusted.ask("llm.example.com", "/v1/responses", body).findings[0].effective is not None


def test_a_cut_ends_at_the_last_whole_event_with_the_vendors_error() -> None:
    """Nothing of the offending event reaches the client, whatever the chunks."""
    desk = Desk()
    outcome = desk.ask(HOST, PATH, SEARCH, settings={"on_violation": OnViolation.CUT})
    good = b'event: ping\ndata: {"type":"ping"}\n\n'
    bad = b"data: " + json.dumps({"type": "content_block_start", "index": 1, "content_block": EVIL}).encode() + b"\n\n"
    observation, passed = desk.read(outcome, good + bad + good, "text/event-stream")
    assert passed.startswith(good)
    assert b"evil.example" not in passed
    error = json.loads(passed[len(good) :].split(b"data: ")[1])
    assert (error["type"], error["error"]["type"]) == ("error", "permission_error")
    assert observation.was_cut


def test_a_whole_response_with_a_violation_is_withheld_under_cut() -> None:
    """Before anything of it was sent."""
    desk = Desk()
    outcome = desk.ask(HOST, PATH, SEARCH, settings={"on_violation": OnViolation.CUT})
    body = json.dumps({"type": "message", "content": [EVIL]}).encode()
    assert desk.read(outcome, body, "application/json")[1] == b""


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{broken", "application/json"), (b"<html>", "text/html"), (b"{broken\n", "application/jsonl")],
)
def test_an_answer_that_cannot_be_read_is_withheld_under_cut(body: bytes, kind: str) -> None:
    """It might hold anything; under `flag` it passes as it is, and so does an empty one."""
    desk = Desk()
    cutting = desk.ask(HOST, PATH, SEARCH, settings={"on_violation": OnViolation.CUT})
    assert desk.read(cutting, body, kind)[1] == b""
    assert desk.read(desk.ask(HOST, PATH, SEARCH), body, kind)[1] == body
    observation = desk.governance.observe(cutting, 200, {"content-type": kind})
    assert observation is not None
    assert observation.replace(b"") == b""


def test_a_vendor_that_drops_the_filter_breaks_its_promise() -> None:
    """OpenAI echoes the tools: an echo that is wider than what was sent is a violation."""
    desk = Desk()
    outcome = desk.ask("api.openai.com", "/v1/responses", {"input": "hi", "tools": [{"type": "web_search"}]})
    body = json.dumps({"object": "response", "status": "completed", "tools": [{"type": "web_search"}], "output": []})
    assert desk.read(outcome, body.encode(), "application/json")[0].seen.violated


def test_audit_details_hold_what_compliance_asks() -> None:
    """Requested and effective domains, what was found, and what fell outside."""
    desk = Desk()
    asking = {"messages": [], "tools": [{**SEARCH["tools"][0], "allowed_domains": ["example.org", "evil.com"]}]}
    outcome = desk.ask(HOST, PATH, asking)
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    body = json.dumps({"type": "message", "content": [use, EVIL]}).encode()
    seen = desk.read(outcome, body, "application/json")[0].seen
    details = invoked("anthropic", outcome.findings, seen, RecordDetail.FULL, Filter.COVERING).details
    assert details["request_domains"] == ["example.org", "evil.com"]
    assert details["effective_domains"] == ["example.org"]
    assert (details["search_count"], details["queries"], details["out_of_policy"]) == (
        1,
        ["q"],
        ["https://evil.example/"],
    )
    counts = invoked("anthropic", outcome.findings, seen, RecordDetail.COUNTS, Filter.COVERING).details
    assert (counts["search_count"], counts["queries"], counts["sources"], counts["out_of_policy"]) == (1, [], [], [])
    stripped = desk.ask(HOST, PATH, SEARCH, settings={"enabled": False}).findings[0]
    assert blocked("anthropic", stripped).details["reason"] == "web_search_disabled"


def test_a_search_that_the_vendor_refused_does_not_count_and_is_still_told() -> None:
    """Whole or streamed, beside one that ran; an error of a search that nobody saw takes nothing away."""
    uses = [{"type": "server_tool_use", "id": i, "name": "web_search", "input": {"query": i}} for i in ("a", "b")]
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    results = [{"type": "web_search_tool_result", "tool_use_id": i, "content": error} for i in ("b", "b", "c")]
    for count, blocks in ((1, [*uses, *results]), (0, [uses[1], *results])):
        desk = Desk()
        outcome = desk.ask(HOST, PATH, SEARCH)
        events = [{"type": "content_block_start", "index": i, "content_block": b} for i, b in enumerate(blocks)]
        streamed = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
        whole = json.dumps({"type": "message", "content": blocks}).encode()
        for body, kind in ((whole, "application/json"), (streamed, "text/event-stream")):
            observation = desk.read(outcome, body, kind)[0]
            assert (observation.seen.searches, observation.news) == (count, True)


def test_receipts_add_up_and_render_without_markup_of_the_sources() -> None:
    """Each source once; a title cannot become Markdown or HTML."""
    desk = Desk()
    outcome = desk.ask(HOST, PATH, SEARCH)
    use = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "<b>q</b>"}}
    result = {"url": "https://docs.example.com/a(b)>c", "title": "[x](javascript:1)<img src=x>"}
    body = json.dumps({"type": "message", "content": [use, {**EVIL, "content": [result]}]}).encode()
    seen = desk.read(outcome, body, "application/json")[0].seen
    one = receipt_of("c", "acme", seen, RecordDetail.FULL)
    two = Receipt.from_json(json.loads(json.dumps(one.as_json()))).merged(one)
    assert (two.searches, len(two.sources), len(two.queries)) == (2, 1, 2)
    text = two.as_markdown()
    assert "Searched the web 2 times" in text
    assert "<img" not in text
    assert "](javascript" not in text


def test_explain_tells_the_line_that_would_help() -> None:
    """A host that a strict filter cannot say needs its subdomains allowed."""
    desk = Desk()
    group = desk.policy.groups["acme"]
    strict = replace(group, web_search=replace(group.web_search, filter=Filter.STRICT))
    found = explain_search(desk.policy, strict)
    anthropic = next(each for each in found if (each.vendor, each.tool) == ("anthropic", "web_search"))
    assert anthropic.sent is not None
    assert anthropic.sent.allowed == ("example.org",)
    assert ("docs.example.com", '- "*.docs.example.com"') in [(each.entry, each.line) for each in anthropic.unsaid]


def test_a_search_api_behind_another_name_runs_because_its_results_are_filtered() -> None:
    """Whoever applies the filter: what it should have left out is taken out of the response."""
    desk = Desk(registry=registry_of({"find.example.com": "tavily"}, (), ()))
    outcome = desk.ask("find.example.com", "/search", {"query": "q"})
    assert (outcome.deny, outcome.findings[0].effective) == (None, ("docs.example.com", "example.org"))
    results = [{"url": "https://evil.example/"}, {"url": "https://docs.example.com/"}]
    _, passed = desk.read(outcome, json.dumps({"results": results}).encode(), "application/json")
    assert json.loads(passed)["results"] == results[1:]


WIDE = (
    'version: 1\ngroups:\n  acme:\n    web_search: {enabled: true}\n    allow: ["*"]\n    deny: [%s]\n'
    "clients: [{group: acme, anyone: true}]\n"
)


def test_a_filter_too_long_to_be_said_is_no_obstacle_where_results_are_filtered() -> None:
    """Neither the search nor its stripping may hang on a list that nobody needs."""
    desk = Desk(WIDE % ", ".join(f"h{number}.example.com" for number in range(301)))
    outcome = desk.ask("api.tavily.com", "/search", {"query": "q"})
    assert (outcome.deny, outcome.findings[0].action) == (None, "observed")
    _, passed = desk.read(outcome, b'{"results": [{"url": "https://h7.example.com/"}]}', "application/json")
    assert json.loads(passed) == {"results": []}
