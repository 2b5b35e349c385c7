"""No spelling of a request gets a search past governance that the plain spelling would not."""

import time
from typing import Any

import pytest

from harness.governing import Desk
from outward.core.model import OnViolation
from outward.core.reasons import Reason
from outward.search.registry import plain_path, registry_of, vendor_of
from outward.search.request import MOST_ASKED

SEARCH: dict[str, Any] = {"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
UNKNOWN = Reason.WEB_SEARCH_UNKNOWN_ENDPOINT
MALFORMED, UNFILTERABLE, UNINSPECTABLE = (
    Reason.MALFORMED_REQUEST,
    Reason.WEB_SEARCH_UNFILTERABLE,
    Reason.WEB_SEARCH_UNINSPECTABLE,
)


@pytest.mark.parametrize(
    "path",
    [
        "/ai/v1/proxy/%61nthropic/v1/messages",
        "/ai/v1%2Fproxy/anthropic/v1/messages",
        "/ai//v1/proxy/anthropic/v1/messages",
        "/ai/v1/Proxy/Anthropic/v1/messages",
    ],
)
def test_an_escape_does_not_hide_the_vendor_behind_gitlab(path: str) -> None:
    """The gateway decodes a path before it routes it, so governance does too."""
    desk = Desk()
    assert desk.governance.needs_body("gitlab", "cloud.gitlab.com", "POST", path)
    found = desk.ask("cloud.gitlab.com", path, SEARCH)
    assert [each.effective for each in found.findings] == [("docs.example.com", "example.org")]


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("cloud.gitlab.com", "/ai/v1/x/../proxy/anthropic/v1/messages"),
        ("cloud.gitlab.com", "/ai/v1/x/%2e%2e/proxy/anthropic/v1/messages"),
        ("cloud.gitlab.com", "/ai/v1/%2570roxy/anthropic/v1/messages"),
        ("api.openai.com", "/v1/models/%2e%2e/respons%65s"),
        ("api.openai.com", "/v1/models/..%2Fresponses"),
        ("api.openai.com", "/v1/models/..;/responses"),
        ("api.openai.com", "/v1/models/..\\responses"),
        ("api.openai.com", "/v1/responses%3F/models/x"),
        ("api.anthropic.com", "/v1/files/../messages"),
    ],
)
def test_a_path_that_servers_read_in_different_ways_is_refused(host: str, path: str) -> None:
    """Its body is never sent, whatever endpoint it would reach."""
    assert Desk().ask(host, path, SEARCH).deny is MALFORMED


def test_the_slash_within_a_name_stays_permitted() -> None:
    """Names of models and ARNs hold escaped colons and slashes."""
    assert plain_path("/model/arn%3Aaws%3Abedrock%2Fx/invoke") == "/model/arn:aws:bedrock/x/invoke"


@pytest.mark.parametrize("case", ["/openai/v1/Responses", "/OpenAI/V1/responses"])
def test_azure_tells_no_case_apart(case: str) -> None:
    """A stored prompt is refused in every spelling of the endpoint."""
    body = {"model": "m", "prompt": {"id": "p"}}
    assert Desk().ask("x.openai.azure.com", case, body).deny is UNINSPECTABLE


@pytest.mark.parametrize(
    ("host", "path", "body", "options", "reason"),
    [
        ("api.exa.ai", "/elsewhere", {"query": "q"}, {}, UNKNOWN),
        ("api.exa.ai", "/v0/search", {"query": "q"}, {}, UNFILTERABLE),
        ("api.tavily.com", "/elsewhere", {"query": "q"}, {}, UNKNOWN),
        ("api.perplexity.ai", "/v1/responses", {"model": "perplexity/sonar", "input": "q"}, {}, UNFILTERABLE),
        ("kagi.com", "/socket/search", None, {"method": "GET", "query": "q=x"}, UNKNOWN),
        ("scrape.serper.dev", "/", {"url": "https://example.org/"}, {"query": "url=https://evil.example/"}, Reason.NO_RULE),
        ("scrape.serper.dev", "/", None, {"query": "url=https://example.org/&url=https://evil.example/"}, Reason.NO_RULE),
        ("openrouter.ai", "/api/v1/systemone", {"model": "x", "messages": []}, {}, UNFILTERABLE),
        ("openrouter.ai", "/api/v1/completions", {"model": "perplexity/sonar"}, {}, UNFILTERABLE),
        ("x.services.ai.azure.com", "/api/projects/p/threads/t/Runs", {"assistant_id": "a"}, {}, UNINSPECTABLE),
        ("x.services.ai.azure.com", "/v1/elsewhere", {"assistant_id": "a"}, {}, UNKNOWN),
        ("generativelanguage.googleapis.com", "/v1beta/models/m:generateContent", None, {"method": "GET", "query": "%24httpMethod=POST"}, UNINSPECTABLE),
        ("generativelanguage.mtls.googleapis.com", "/v1beta/cachedContents", {"tools": []}, {}, UNINSPECTABLE),
    ],
)  # fmt: skip
def test_what_could_search_in_another_way_is_refused(
    host: str, path: str, body: Any, options: dict[str, Any], reason: Reason
) -> None:
    """Endpoints of a search API that are not known, second addresses, other spellings of a model."""
    assert Desk().ask(host, path, body, **options).deny is reason


def test_an_older_completion_with_an_online_model_is_narrowed() -> None:
    """It searches like a chat does."""
    found = Desk().ask("openrouter.ai", "/api/v1/completions", {"model": "m:Online:free", "prompt": "x"})
    assert b'"model":"m:free"' in (found.body or b"")
    assert b'"include_domains":["docs.example.com","example.org"]' in (found.body or b"")


@pytest.mark.parametrize("charset", ["utf-7", '"UTF-16LE"', "iso-2022-kr"])
def test_a_body_in_another_character_set_is_refused(charset: str) -> None:
    """In UTF-7, `+ACI-` is a quotation mark: a server that honours it would find keys that were not judged."""
    headers = {"content-type": f"application/json; charset={charset}"}
    body = {"x": "+ACI-,+ACI-tools+ACI-:+AFs-+AF0-"}
    assert Desk().ask("api.anthropic.com", "/v1/messages", body, headers=headers).deny is UNINSPECTABLE
    plain = {"content-type": "application/json; charset=UTF-8"}
    assert Desk().ask("api.anthropic.com", "/v1/messages", {"messages": []}, headers=plain).deny is None


@pytest.mark.parametrize(
    ("host", "vendor"),
    [
        ("generativelanguage.mtls.googleapis.com", "gemini"),
        ("aiplatform.mtls.googleapis.com", "vertex"),
        ("us-central1-aiplatform.mtls.googleapis.com", "vertex"),
        ("storage.mtls.googleapis.com", None),
    ],
)
def test_the_mutual_tls_names_of_a_vendor_are_the_vendor(host: str, vendor: str | None) -> None:
    """They answer without a client certificate too."""
    assert vendor_of(host) == vendor


@pytest.mark.parametrize(
    "url", ["https://evil.example\n.example.org/", "https://evil.example\t.example.org/", "https:\r//example.org/"]
)
def test_an_address_with_a_control_character_is_no_address(url: str) -> None:
    """Readers that drop the character and readers that stop at it would go to different hosts."""
    body = {"messages": [], "mcp_servers": [{"type": "url", "url": url, "name": "m"}]}
    assert Desk().ask("api.anthropic.com", "/v1/messages", body).deny is not None


def test_a_stream_that_cannot_be_read_is_cut_where_violations_are_cut() -> None:
    """An encoding that nobody asked for would otherwise carry every source past the judgement."""
    desk = Desk()
    outcome = desk.ask("api.anthropic.com", "/v1/messages", SEARCH, settings={"on_violation": OnViolation.CUT})
    headers = {"content-type": "text/event-stream", "content-encoding": "x-odd"}
    observation = desk.governance.observe(outcome, 200, headers)
    assert observation is not None
    assert b"cannot be read" in observation.feed(b"\x01\x02secret")
    assert observation.was_cut


def test_the_work_of_a_request_grows_no_faster_than_its_body() -> None:
    """Lists that a client makes long in both directions, or as deep as they are long, once took their square."""

    def seconds(size: int) -> float:
        desk, tool = Desk(), SEARCH["tools"][0]
        paths = [f"example.org/{'a/' * (at % 50)}{at}" for at in range(size)]
        added = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}
        messages = [{"role": "user", "at": at, "content": [added]} for at in range(size)]
        started = time.process_time()
        desk.ask("api.anthropic.com", "/v1/messages", {"messages": [], "tools": [{**tool, "allowed_domains": paths}]})
        desk.ask("api.anthropic.com", "/v1/messages", {"messages": messages}, opted_in=False)
        return time.process_time() - started

    seconds(10)  # what is loaded on first use
    assert min(seconds(4000) for _ in range(2)) < 10 * min(seconds(1000) for _ in range(3))


def test_a_request_with_too_many_entries_is_refused() -> None:
    """Nobody's vendor takes so many, and each costs the proxy more than it costs the client."""
    tool = {**SEARCH["tools"][0], "allowed_domains": ["example.org"] * MOST_ASKED}
    assert Desk().ask("api.anthropic.com", "/v1/messages", {"messages": [], "tools": [tool]}).deny is Reason.TOO_LARGE


_URL = "https://evil.example/"


@pytest.mark.parametrize(
    ("host", "path", "body"),
    [
        ("api.anthropic.com", "/v1/messages", {"tools": [{"Type": "web_search_20250305", "name": "web_search"}]}),
        ("api.anthropic.com", "/v1/messages", {"messages": [{"content": [{"Type": "tool_addition", "tool": {}}]}]}),
        (
            "api.anthropic.com",
            "/v1/messages",
            {"messages": [{"content": [{"type": "image", "source": {"URL": _URL}}]}]},
        ),
        ("api.openai.com", "/v1/responses", {"tools": [{"Type": "web_search"}]}),
        (
            "api.openai.com",
            "/v1/responses",
            {"input": [{"TYPE": "additional_tools", "tools": [{"type": "web_search"}]}]},
        ),
        (
            "api.openai.com",
            "/v1/responses",
            {"input": [{"type": "additional_tools", "Tools": [{"type": "web_search"}]}]},
        ),
        ("api.groq.com", "/openai/v1/chat/completions", {"tools": [{"Type": "browser_search"}]}),
        ("api.mistral.ai", "/v1/conversations", {"tools": [{"Type": "web_search"}]}),
        ("api.cohere.com", "/v1/chat", {"tools": [{"Type": "web_search"}]}),
        (
            "bedrock-runtime.eu-west-1.amazonaws.com",
            "/model/m/converse",
            {"toolConfig": {"tools": [{"system_tool": {}}]}},
        ),
    ],
)
def test_another_spelling_of_what_makes_a_tool_a_search_is_refused(host: str, path: str, body: dict[str, Any]) -> None:
    """A lenient server would read it; what it means there was never judged, or it is judged like the plain spelling."""
    assert Desk().ask(host, path, body).deny in (MALFORMED, Reason.NO_RULE)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "QUERY"])
@pytest.mark.parametrize(
    ("host", "path", "body"),
    [
        ("api.anthropic.com", "/v1/messages", SEARCH),
        ("api.openai.com", "/v1/responses", {"tools": [{"type": "web_search"}]}),
        ("generativelanguage.googleapis.com", "/v1beta/models/m:generateContent", {"tools": [{"googleSearch": {}}]}),
        ("api.cohere.com", "/v1/chat", {"connectors": [{"id": "web-search"}]}),
    ],
)
def test_a_body_is_judged_whatever_the_method(host: str, path: str, body: dict[str, Any], method: str) -> None:
    """Not every server tells methods apart; of those without a body, plain reads and deletes pass."""
    desk = Desk()
    assert desk.ask(host, path, body, method=method).deny is UNKNOWN
    assert desk.ask(host, path, method=method).deny is (None if method in ("GET", "DELETE") else UNKNOWN)


@pytest.mark.parametrize("path", ["/ai/v1/proxy/anthropic/v1/messages", "/v1/proxy/anthropic/v1/messages"])
def test_a_gateway_of_ones_own_is_governed_at_its_own_paths(path: str) -> None:
    """GitLab's cloud has `/ai` before them, a gateway that is run at home has not."""
    desk = Desk(registry=registry_of({"aigw.example.com": "gitlab"}, {"aigw.example.com"}, ()))
    found = desk.ask("aigw.example.com", path, SEARCH)
    assert [each.effective for each in found.findings] == [("docs.example.com", "example.org")]
