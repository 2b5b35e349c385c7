"""The admin page in a real browser: what administrators do with it, and what attackers cannot do with it."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness.admin import TOKEN, denied, grant
from outward.config.load import load_text
from outward.core.model import Stage
from outward.core.reasons import Reason

pytestmark = pytest.mark.timeout(120)

PATHS = ("/", "/requests", "/groups", "/groups/acme/platform", "/groups/acme/locked", "/conversations", "/audit")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "javascript:alert(1)",
    "{{7919*7919}}${7919*7919}",
    "</title><svg onload=alert(1)>",
)


def fill(running):
    running.write([
        denied(host="files.example.net", group="acme/platform", conversation="chat-1"),
        denied(host="gist.github.com", group="acme", reason=Reason.DENIED_BY_RULE),
        denied(host="api.github.com", group="acme/platform", reason=Reason.PATH_NOT_ALLOWED, stage=Stage.REQUEST,
               method="POST", path="/gists"),
    ])  # fmt: skip
    source = {"url": "https://docs.python.org/3/", "title": "Docs", "permitted": True, "reason": None}
    running.receipt(
        time.time(), conversation="chat-1", group="acme/platform", searches=1, queries=["q"], sources=[source]
    )


def test_from_a_blocked_row_to_why_and_to_its_cure(running, open_page):
    """One click; the trail names the rule's place, and the YAML can be copied."""
    fill(running)
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="api.github.com").click()
    page.wait_for_selector("#why")
    assert "outward.yaml:" in page.locator(".trail").inner_text()
    page.go_back()
    page.get_by_role("link", name="files.example.net").click()
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "groups:\n  acme:\n    allow:\n      - files.example.net\n"
    assert page.get_by_role("link", name="gist.github.com").count() == 1
    page.get_by_role("link", name="chat-1").click()
    assert page.get_by_role("heading", name="1 search").count() == 1


def test_from_a_request_to_a_grant_and_its_end(running, open_page):
    """Approved until a time, with the lines that make it lasting; ended; another one denied with a note."""
    with running.client() as client:
        for host in ("new.example.org", "bad.example.org"):
            body = {"group": "other", "url": f"https://{host}/", "why": "to build"}
            assert client.post("/api/v1/requests", json=body).status_code == 200
        page = open_page()
        page.get_by_role("link", name="Requests").click()
        page.get_by_label("Open new.example.org for").select_option("1d")
        page.get_by_role("button", name="Approve new.example.org for other").click()
        assert "Open for other until" in page.get_by_role("status").inner_text()
        assert "- new.example.org" in page.locator("#lasting").inner_text()
        (grant,) = client.get("/api/v1/grants").json()["items"]
        assert grant["host"] == "new.example.org"
        page.get_by_role("button", name="End the grant of new.example.org").click()
        page.get_by_text("No grant is in force").wait_for()
        assert client.get("/api/v1/grants").json()["items"] == []
        page.get_by_label("Note for who asked for bad.example.org").fill("use the mirror")
        page.get_by_role("button", name="Deny bad.example.org for other").click()
        page.get_by_role("link", name="Denied").click()
        assert "use the mirror" in page.locator(".asked").inner_text()


def test_a_blocked_row_can_be_asked_for_and_approved(running, open_page):
    running.write([denied(host="new.example.org", group="other")])
    page = open_page()
    page.get_by_role("link", name="new.example.org").click()
    page.get_by_label("Ask for it").fill("to build")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("heading", name="Asked: new.example.org").wait_for()
    page.goto("/")
    page.get_by_role("link", name="new.example.org").click()
    page.get_by_role("button", name="Approve", exact=True).click()
    page.get_by_role("heading", name="Approved: new.example.org").wait_for()
    assert len(running.administration.state.access.grants) == 1


def test_what_a_client_says_is_text(running, open_page):
    """No markup, no link, nothing hidden, whatever is asked and noted."""
    with running.client() as client:
        for number, why in enumerate((*HOSTILE, "see https://evil.example/approve", "\u202ereversed")):
            body = {"group": "other", "url": f"https://h{number}.example.org/", "why": why}
            made = client.post("/api/v1/requests", json=body).json()
            if number % 2:
                client.put(f"/api/v1/requests/{made['id']}", json={"decision": "deny", "note": why})
        page = open_page()
        page.goto("/requests?state=all")
        text = page.locator(".asked").inner_text()
        assert HOSTILE[0] in text
        assert "\u202e" not in text
        assert page.locator(".asked a:not([href^='/groups/'])").count() == 0
        assert page.locator(".asked img, .asked script, .asked svg[onload]").count() == 0


def test_a_viewer_sees_the_queue_and_decides_nothing(running, open_page):
    """Neither is it offered, nor does a form of its own count; nor one without its proof."""
    with running.client() as client:
        made = client.post(
            "/api/v1/requests", json={"group": "other", "url": "https://new.example.org/", "why": "x"}
        ).json()
        page = open_page(signed_in=False)
        secret = grant(running, "owt_viewer-0123456789", "other", role="viewer")
        page.goto("/login")
        page.get_by_label("Admin token").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        page.goto("/requests")
        assert page.get_by_text("new.example.org").count() == 1
        assert page.get_by_role("button", name="Approve").count() == 0
        csrf = page.locator("input[name=csrf]").first.get_attribute("value")
        path = f"/requests/{made['id']}"
        form = {"csrf": csrf, "decision": "approve"}
        assert page.request.post(path, form=form).status == 403
        more = {"csrf": csrf, "group": "other", "url": "https://two.example.org/", "until": "1d"}
        assert page.request.post("/requests", form=more).status == 403
        assert page.request.post(path, form={"decision": "approve"}).status == 403
        assert client.get(f"/api/v1{path}").json()["state"] == "open"


def test_a_blocked_attempt_appears_while_one_watches(running, open_page):
    """Without loading the page again."""
    page = open_page()
    page.wait_for_selector("[data-live][data-state=on]")
    assert page.get_by_text("Nothing was blocked").count() == 1
    event = denied(host="now.example.net")
    running.write([event])
    running.publish(event)
    page.get_by_role("link", name="now.example.net").wait_for(timeout=5000)


def test_filters_work_without_scripts(running, open_page):
    """The page is plain HTML first."""
    fill(running)
    page = open_page(java_script_enabled=False)
    page.get_by_role("textbox", name="Host").fill("GIST.github.com")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("tbody tr").count() == 1
    page.locator("#reason").select_option("no_rule")
    page.get_by_role("button", name="Filter").click()
    assert page.get_by_text("Nothing matches").count() == 1


def test_the_toggle_is_changed_by_a_form_and_shows_who_did_it(running, open_page):
    """And not where the policy locks it."""
    page = open_page()
    page.goto("/groups/acme/platform")
    page.get_by_role("button", name="Turn web search off").click()
    page.get_by_text("Saved.").wait_for()
    assert not running.administration.state.web_search("acme/platform").enabled
    assert "environment" in page.locator("section[aria-labelledby=search]").inner_text()
    page.goto("/audit")
    assert page.get_by_text("The chain is whole.").count() == 1
    assert page.get_by_text("Web search turned off").count() == 1
    page.goto("/groups/acme/locked")
    assert page.get_by_role("button", name="Turn web search").count() == 0


def test_a_long_allowlist_hides_neither_what_is_denied_nor_the_toggle(running, open_page):
    """Its first rules are shown and the others unfold; a shipped set alone is more than a hundred."""
    hosts = ", ".join(f"n{number}.example.com" for number in range(150))
    text = f"version: 1\ngroups: {{long: {{allow: [{hosts}], deny: [gist.github.com]}}}}\n"
    running.policy = load_text(text, env={}).policy
    page = open_page(viewport={"width": 390, "height": 844})
    page.goto("/groups/long")
    assert (
        page.get_by_text("gist.github.com").bounding_box()["y"] < page.get_by_text("n0.example.com").bounding_box()["y"]
    )
    assert page.get_by_role("button", name="Turn web search on").bounding_box()["y"] < 5000
    assert not page.get_by_text("n149.example.com").is_visible()
    page.get_by_text("130 more").click()
    assert page.get_by_text("n149.example.com").is_visible()


def test_everything_can_be_reached_by_keyboard(running, open_page):
    """From the skip link to a decision, with tabs and enter alone."""
    fill(running)
    page = open_page()
    page.goto("/?period=all")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('host')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/decisions/*")


def test_a_session_ends_with_signing_out(running, open_page):
    """And the cookie is out of reach of scripts and of other sites."""
    page = open_page()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert TOKEN not in cookie["value"]
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    page.goto("/groups")
    assert page.url.endswith("/login")


def test_nothing_stored_is_executed(running, open_page):
    """Hosts, paths, user agents, queries and conversations as hostile as their senders."""
    for text in HOSTILE:
        running.write(
            [denied(host=text, path=f"/{text}", user_agent=text, conversation=text, client=text, method=text)]
        )
        source = {"url": text, "title": text, "permitted": False, "reason": "source_outside_allowlist"}
        running.receipt(time.time(), conversation=text, group="acme", searches=1, queries=[text], sources=[source])
        with running.client() as client:
            client.put(f"/api/v1/conversations/{text.replace('/', '%2F')}/opt-in", json={"group": "acme"})
    page = open_page()
    for path in ("/?period=all", "/conversations", "/audit"):
        page.goto(path)
        for href in page.locator("main a.host").evaluate_all("links => links.map(link => link.href)"):
            page.goto(href)
            assert page.locator("script:not([src]), [onerror], [onload], main img").count() == 0
            assert page.locator("a[href^='javascript:' i]").count() == 0
    assert "62710561" not in page.content()  # no template of a template


def test_a_form_from_elsewhere_changes_nothing(running, open_page):
    """Neither with a foreign origin nor without the session's proof."""
    page = open_page()
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    with running.client(None) as client:
        client.cookies.update(cookies)
        for headers, data in (
            ({}, {"enabled": "false"}),
            ({}, {"enabled": "false", "csrf": "0" * 64}),
            ({"Origin": "https://evil.example"}, {"enabled": "false"}),
            ({"Sec-Fetch-Site": "cross-site"}, {"enabled": "false"}),
        ):
            assert client.post("/groups/acme/platform", data=data, headers=headers).status_code == 403
        put = client.put("/api/v1/groups/acme/platform/web-search", json={"enabled": False})
        assert put.status_code == 401
        assert client.get("/api/v1/groups").status_code == 200
    assert running.administration.state.web_search("acme/platform").enabled


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """Return the source of axe-core, fetched by npm at run time; it is no part of the project."""
    given = os.environ.get("AXE_CORE")
    if given:
        return Path(given).read_text("utf-8")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("axe-core comes by npm, which this machine does not have")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        [npm, "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", str(folder), "axe-core@4"],
        capture_output=True, timeout=90, check=False,
    )  # fmt: skip
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if done.returncode or not script.exists():
        pytest.skip("axe-core could not be fetched by npm")
    return script.read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_has_an_accessibility_violation(running, open_page, axe, scheme, width):
    """WCAG 2.2 A and AA as far as axe can tell: contrast in both schemes, names, order, and no sideways scrolling."""
    fill(running)
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    page.wait_for_selector("main a.host")
    decision = page.locator("main a.host").first.get_attribute("href")
    for path in (*PATHS, decision, "/conversations/chat-1", "/?host=none.example"):
        page.goto(path)
        page.evaluate(axe)
        found = page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        problems = [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]]
        assert problems == [], (path, problems)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
