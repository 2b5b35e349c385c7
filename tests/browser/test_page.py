"""The admin page in a real browser: what administrators do with it, and what attackers cannot do with it."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness.admin import TOKEN, denied, grant
from outward.config.load import load_text
from outward.core.model import Mode, Stage, Verdict
from outward.core.reasons import Reason
from outward.core.secrets import MisdirectedError
from outward.records.events.values import Event

PATHS = (
    "/",
    "/?view=allowed",
    "/?view=reported&sort=host",
    "/?period=1h",
    "/requests",
    "/groups",
    "/groups/acme/platform",
    "/groups/acme/locked",
    "/conversations",
    "/audit",
    "/tokens",
    "/secrets",
)
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
        denied(host="new.example.org", group="other"),
        denied(host="example.net", group="other", verdict=Verdict.ALLOW, reason=Reason.RULE),
        denied(host="report.example", group="other", verdict=Verdict.ALLOW, reason=Reason.REPORT_ONLY, would_deny=True,
               would_reason=Reason.NO_RULE, mode=Mode.REPORT),
    ])  # fmt: skip
    source = {"url": "https://docs.python.org/3/", "title": "Docs", "permitted": True, "reason": None}
    running.receipt(
        time.time(), conversation="chat-1", group="acme/platform", searches=1, queries=["q"], sources=[source]
    )


def test_from_a_blocked_row_to_why_and_to_its_cure(running, open_page):
    """One click; the trace names the rule's place, and the YAML can be copied."""
    fill(running)
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="api.github.com").click()
    page.wait_for_selector("#why")
    assert "outward.yaml:" in page.locator(".trace").inner_text()
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
    page.get_by_role("link", name="now.example.net").wait_for()


def hosts(page) -> list[str]:
    return [text.strip() for text in page.locator("[data-part=rows] a.host").all_inner_texts()]


def test_filters_work_without_scripts(running, open_page):
    """The page is plain HTML first."""
    fill(running)
    page = open_page(java_script_enabled=False)
    page.get_by_role("textbox", name="Host").fill("GIST.git")
    page.get_by_role("button", name="Filter").click()
    assert hosts(page) == ["gist.github.com"]
    page.locator("#reason").select_option("no_rule")
    page.get_by_role("button", name="Filter").click()
    assert page.get_by_text("Nothing matches").count() == 1


def test_a_name_is_searched_sorted_and_limited_to_a_time_without_scripts(running, open_page):
    """By part of a name, by column, from one time to another; each keeps the others."""
    day = 86_400
    now = time.time()
    running.write([
        *(denied(host="b.find-me.example", group="other", time=now - 60 - each) for each in range(3)),
        denied(host="a.find_me.example", group="other", time=now - 30),
        denied(host="c.find-me.example", group="other", time=now - 3 * day),
        denied(host="elsewhere.example", group="other", time=now - 10),
    ])  # fmt: skip
    page = open_page(java_script_enabled=False)
    page.get_by_role("textbox", name="Host").fill("ind-m")
    page.get_by_role("button", name="Filter").click()
    assert hosts(page) == ["b.find-me.example"]
    page.get_by_role("link", name="All", exact=True).click()
    assert hosts(page) == ["b.find-me.example", "c.find-me.example"]
    page.get_by_role("columnheader", name="Host").get_by_role("link").click()
    page.get_by_role("columnheader", name="Host").get_by_role("link").click()
    assert hosts(page) == ["c.find-me.example", "b.find-me.example"]
    assert page.get_by_role("columnheader", name="Host").get_attribute("aria-sort") == "descending"
    page.get_by_role("columnheader", name="Attempts").get_by_role("link").click()
    assert hosts(page)[0] == "b.find-me.example"
    shown = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now - 4 * day))
    page.get_by_label("From (UTC)").fill(shown)
    page.get_by_label("To (UTC)").fill(time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now - day)))
    page.get_by_role("button", name="Filter").click()
    assert hosts(page) == ["c.find-me.example"]
    assert page.get_by_label("From (UTC)").input_value() == shown
    assert page.get_by_role("link", name="All", exact=True).get_attribute("aria-current") is None


def test_what_was_allowed_and_what_would_be_blocked_are_views(running, open_page):
    """With counts, apart from each other, and no form that asks for what is allowed."""
    passed = {"verdict": Verdict.ALLOW, "reason": Reason.RULE, "group": "other"}
    running.write([
        *(denied(host="example.net", **passed) for _ in range(7)),
        denied(host="report.example", **passed | {"reason": Reason.REPORT_ONLY, "would_deny": True,
                                                  "would_reason": Reason.NO_RULE, "mode": Mode.REPORT}),
        denied(host="blocked.example", group="other"),
    ])  # fmt: skip
    page = open_page(java_script_enabled=False)
    assert hosts(page) == ["blocked.example"]
    page.get_by_role("link", name="Allowed", exact=True).click()
    assert hosts(page) == ["example.net"]
    assert page.locator("td[data-label=Attempts]").inner_text() == "7"
    page.get_by_role("link", name="example.net").click()
    assert "The policy allows it." in page.locator("main").inner_text()
    page.go_back()
    page.get_by_role("link", name="Would be blocked").click()
    assert hosts(page) == ["report.example"]
    assert page.locator("code.line").inner_text() == "- report.example"


def test_the_chart_has_a_table_behind_it(running, open_page):
    """Counts by time, the same in the picture, in its name and in the table."""
    now = time.time() // 3600 * 3600 + 60
    running.write([denied(time=now - 3600 * hour) for hour in (0, 2, 2, 2, 20)])
    page = open_page(java_script_enabled=False)
    picture = page.get_by_role("img", name="Attempts by hour")
    assert "5 in all, the most, 3" in picture.get_attribute("aria-label")
    assert picture.locator("rect").count() == 3
    page.get_by_text("The same as a table").click()
    assert page.locator("table.numbers td.number").all_inner_texts() == ["1", "3", "1"]


def test_a_row_of_the_list_is_asked_for_and_approved_where_it_stands(running, open_page):
    """The line beside the form; no script, one click more than reading."""
    running.write([denied(host="new.example.org", group="other"), denied(host="in.example.com", group="acme/platform",
                   reason=Reason.DENIED_BY_RULE)])  # fmt: skip
    page = open_page(java_script_enabled=False)
    row = page.locator("tr", has=page.get_by_role("link", name="new.example.org"))
    assert row.locator("code").inner_text() == "- new.example.org"
    assert page.locator("details.asking").count() == 1
    row.locator("summary").click()
    row.get_by_label("Why new.example.org is needed").fill("to build")
    row.get_by_role("button", name="Ask for new.example.org").click()
    page.get_by_role("heading", name="Asked: new.example.org").wait_for()
    page.goto("/")
    row.locator("summary").click()
    row.get_by_role("button", name="Approve new.example.org for other").click()
    page.get_by_role("heading", name="Approved: new.example.org").wait_for()
    assert len(running.administration.state.access.grants) == 1


def test_a_form_that_is_filled_in_is_not_taken_away(running, open_page):
    """However many attempts come in while one writes."""
    running.write([denied(host="new.example.org", group="other")])
    page = open_page()
    page.wait_for_selector("[data-live][data-state=on]")
    page.locator("details.asking summary").click()
    page.get_by_label("Why new.example.org is needed").fill("to build")
    page.locator("h1").click()
    event = denied(host="now.example.net", group="other")
    running.write([event])
    with page.expect_response(lambda reply: reply.url.endswith("/") and reply.status == 200):
        running.publish(event)
    page.locator("[data-part=tiles] b", has_text="2").first.wait_for()
    assert page.get_by_label("Why new.example.org is needed").input_value() == "to build"


def test_the_rule_that_decided_says_whose_it_is_and_until_when(running, open_page):
    """On the decision that it made, and in its group's list."""
    text = (
        "version: 1\ngroups:\n  other:\n    allow:\n"
        "      - {host: example.net, owner: team-web, note: the mirror, until: 2099-01-31}\n"
    )
    running.policy = load_text(text, env={}).policy
    running.write([denied(host="example.net", group="other", verdict=Verdict.ALLOW, reason=Reason.RULE)])
    page = open_page(java_script_enabled=False)
    page.goto("/?view=allowed")
    page.get_by_role("link", name="example.net").click()
    told = page.locator(".trace").inner_text()
    assert "Owner: team-web · Until 2099-01-31 · the mirror" in told
    page.goto("/groups/other")
    assert "team-web · the mirror" in page.locator("section[aria-label=Allowed]").inner_text()


def test_secrets_are_shown_by_group_and_conversation(running, open_page):
    """Where they are set, who used them, and what was refused; from a group, and from a conversation."""
    for group, facts in (("acme/platform", {"conversation": "chat-1", "client_name": "<b>builder</b>"}), ("other", {})):
        running.used(
            "mirror", Event(group=group, host="example.net", port=443, client="10.0.0.9", **facts), time.time()
        )
    detail = str(MisdirectedError("the URL", "github"))
    running.write([denied(group="acme", reason=Reason.SECRET_MISDIRECTED, detail=detail, count=1200)])
    fill(running)
    page = open_page()
    page.get_by_role("link", name="Secrets").click()
    page.get_by_role("heading", name="github").wait_for()
    assert "sets authorization from github" in page.locator("main").inner_text()
    assert page.get_by_role("row").filter(has_text="10.0.0.9").count() == 1
    assert "<b>builder</b>" in page.locator("main").inner_text()
    page.get_by_role("link", name="misdirected 1,200").click()
    assert page.get_by_role("link", name="blocked.example.net").count() == 1
    for path in ("/groups/acme/platform", "/conversations/chat-1"):
        page.goto(path)
        page.get_by_role("link", name="Secrets").last.click()
        page.get_by_role("heading", name="Who used them").wait_for()
        assert page.get_by_role("row").filter(has_text="chat-1").count() == 1
        assert page.get_by_role("row").filter(has_text="10.0.0.9").count() == 0


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
    for _ in range(60):
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


@pytest.mark.parametrize(("scheme", "width", "other"), [("light", 1280, 390), ("dark", 390, 1280)])
def test_no_page_has_an_accessibility_violation(running, open_page, axe, scheme, width, other):
    """WCAG 2.2 A and AA as far as axe can tell: contrast in both schemes, names, order, and no sideways scrolling.

    At one width everything; at the other contrast, which alone depends on both.
    """
    fill(running)
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    page.wait_for_selector("main a.host")
    decision = page.locator("main a.host").first.get_attribute("href")
    for path in (*PATHS, decision, "/conversations/chat-1", "/?search=none.example"):
        page.goto(path)
        page.evaluate("for (const each of document.querySelectorAll('details')) { each.open = true; }")
        page.evaluate(axe)
        for wide, rules in (
            (width, ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]),
            (other, ["color-contrast"]),
        ):
            page.set_viewport_size({"width": wide, "height": 800})
            found = page.evaluate("rules => axe.run(document, {runOnly: rules})", rules)
            problems = [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]]
            assert problems == [], (path, wide, problems)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, wide)
