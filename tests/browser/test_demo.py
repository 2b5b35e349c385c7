"""The demo's page in a real browser: the toggle, the indicator with its sources, and the logs beside the chat."""

import json
import subprocess

import pytest

from harness.process import OUTWARD, environment

PATIENCE = 30_000  # milliseconds; the machine may be busy


@pytest.fixture
def page(chromium):
    """Open the page of a running demo; it may log no error and ask no other host for anything."""
    process = subprocess.Popen(
        [OUTWARD, "demo", "--port", "0", "--json"], env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        url = json.loads(process.stdout.readline())["chat"]
        context, complaints = chromium.new_context(), []
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE)
        opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda asked: None if asked.url.startswith(url) else complaints.append(asked.url))
        opened.goto(url)
        yield opened
        assert complaints == []
        context.close()
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_the_answer_shows_where_it_comes_from_once_search_is_on(page) -> None:
    """Off, the tool is taken out and the block is listed; on, the indicator links the permitted sources."""
    page.get_by_role("button", name="Ask").click()
    page.locator(".memory").wait_for()
    page.locator("#blocked .badge", has_text="web_search_not_opted_in").wait_for()
    page.get_by_text("Web search", exact=True).click()
    page.locator("#audit .badge", has_text="conversation_opt_in_changed").wait_for()
    page.get_by_role("button", name="Ask").click()
    page.locator(".receipt").wait_for()
    assert page.locator(".receipt summary span").inner_text() == "1 search · 3 sources"
    links = page.locator(".receipt .sources a").evaluate_all("links => links.map(link => new URL(link.href).host)")
    assert links == ["github.com", "nvd.nist.gov", "urllib3.readthedocs.io"]
    assert page.locator(".receipt .badge").all_inner_texts() == ["permitted"] * 3
    page.locator("#audit .badge", has_text="web_search_invoked").wait_for()
    assert '"allowed_domains"' in page.locator("#sent").inner_text()


def test_a_source_outside_is_flagged_and_a_blocked_host_explained(page) -> None:
    """The indicator never passes off a source that the policy does not permit."""
    page.get_by_text("Web search", exact=True).click()
    page.locator("#audit .badge", has_text="conversation_opt_in_changed").wait_for()
    page.get_by_role("button", name="A vendor that ignores the filter").click()
    page.locator(".receipt").wait_for()
    assert page.locator(".receipt .badge").all_inner_texts() == ["permitted"] * 3 + ["outside the allowlist"]
    page.locator("[data-scene=blocked_host]:enabled").click()
    page.locator(".denied").wait_for()
    assert "- paste.example.net" in page.locator(".denied code").inner_text()
    page.locator("#blocked .badge", has_text="no_rule").wait_for()
