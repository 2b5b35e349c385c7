"""The pictures of `docs/screenshots`, taken anew: `PYTHONPATH=tests python tests/browser/pictures.py [FOLDER]`.

A real administrator's side and a real demo in the machine's own Chromium; hosts, people and conversations are made up.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from conftest import CHROMIUM
from harness.admin import TOKEN, Admin, denied
from harness.process import OUTWARD, environment
from outward.core.model import Mode, Stage, Verdict
from outward.core.reasons import Reason
from outward.core.toggles import Toggle
from outward.records.state.runtime_settings import OptInChange

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
WIDE, NARROW = {"width": 1280, "height": 944}, {"width": 390, "height": 844}
CHAT, GROUP = "chat-4821", "acme/platform"
PASSED: dict[str, Any] = {"verdict": Verdict.ALLOW, "reason": Reason.RULE, "status": 200}


def fill(running: Admin) -> None:
    """Make up an hour or four of a company's refusals, one conversation's searches, and what administrators did."""
    now = time.time()
    rows: list[tuple[int, str | None, int, dict[str, Any]]] = [
        (12, "files.partner.example", 443, {"time": now - 70, "conversation": CHAT, "client": "10.1.2.4"}),
        (3, "files.partner.example", 8443, {"time": now - 95, "conversation": CHAT, "client": "10.1.2.4"}),
        (37, "assets.vendor.example", 443, {"time": now - 190, "group": f"{GROUP}/payments"}),
        (1, "api.anthropic.com", 443, {"time": now - 320, "conversation": CHAT, "client": "10.1.2.4",
                                       "reason": Reason.WEB_SEARCH_NOT_OPTED_IN, "stage": Stage.SEARCH}),
        (5, "gist.github.com", 443, {"time": now - 850, "reason": Reason.DENIED_BY_RULE}),
        (1, "api.github.com", 443, {"time": now - 1340, "conversation": CHAT, "reason": Reason.PATH_NOT_ALLOWED,
                                    "stage": Stage.REQUEST, "method": "POST", "path": "/gists"}),
        (1, "169.254.169.254", 80, {"time": now - 2900, "group": "other", "reason": Reason.ADDRESS_NOT_PUBLIC}),
        (1, "db.example.net", 5432, {"time": now - 4000, "group": "other", "reason": Reason.PORT_NOT_ALLOWED}),
        (2, "docs.exmaple.com", 443, {"time": now - 400, "conversation": CHAT, "client": "10.1.2.4",
                                      "reason": Reason.RESOLVE_FAILED, "stage": Stage.CONNECT, "detail": "no such name"}),
        (1, None, 0, {"time": now - 4100, "group": None, "reason": Reason.BAD_CREDENTIALS}),
        (80, "metrics.telemetry.example", 443, {"time": now - 30}),
        *((4 + hour * 7 % 11, "old.partner.example", 443, {"time": now - 3600 * hour - 1700}) for hour in range(2, 20)),
        *((90 + hour * 37 % 60, "docs.python.org", 443, {"time": now - 3600 * hour - 200, **PASSED}) for hour in range(22)),
        (14, "api.github.com", 443, {"time": now - 600, "stage": Stage.REQUEST, "method": "GET", "path": "/repos/a/b",
                                     **PASSED}),
        (6, "new.vendor.example", 443, {"time": now - 240, **PASSED, "reason": Reason.REPORT_ONLY, "would_deny": True,
                                        "would_reason": Reason.NO_RULE, "mode": Mode.REPORT}),
    ]  # fmt: skip
    for count, host, port, more in rows:
        facts = {"group": GROUP, "client": "10.1.2.77", **more}
        last = facts.pop("time")
        running.write(
            [denied(host=host, port=port or None, time=last - 600 * number / count, **facts) for number in range(count)]
        )
    page = {"title": "What’s New In Python 3.14", "url": "https://docs.python.org/3.14/whatsnew/3.14.html"}
    good = {**page, "permitted": True, "reason": None}
    bad = {
        "url": "https://blog.example.org/threads",
        "title": "Threads, finally",
        "permitted": False,
        "reason": "source_outside_allowlist",
    }
    queries = ["python 3.14 free threading release notes", "asyncio eager task factory"]
    running.receipt(
        now - 60, conversation=CHAT, group=GROUP, searches=2, queries=queries, sources=[good, bad], citations=[good]
    )
    state = running.administration.state
    with running.client() as client:
        asked = [
            client.post("/api/v1/requests", json={"group": group, "url": f"https://{host}/", "why": why}).json()
            for group, host, why in (
                ("other", "packages.vendor.example", "the build pulls its SDK from here"),
                ("other", "docs.vendor.example", "to read the reference of the SDK"),
                ("acme/platform", "status.example.com:8443", "to wait for a deployment"),
                ("other", "files.partner.example", "test data of the partner"),
            )
        ]
        assert all("id" in each for each in asked[:2]), asked
        client.put(
            f"/api/v1/requests/{asked[1]['id']}",
            json={"decision": "approve", "until": "1d", "note": "until the SDK is pinned"},
        )
    state.set_opt_in(OptInChange(CHAT, GROUP, True, None, "chat backend (8f2c)", now - 400), "10.1.0.9")
    state.set_web_search(GROUP, Toggle(False, "ada (command line)", now - 300))
    state.set_web_search(GROUP, Toggle(True, "ada (command line)", now - 200))


@contextmanager
def opened(browser: Browser, url: str, scheme: str, size: dict[str, int]) -> Iterator[Page]:
    """Open a signed-in page."""
    context = browser.new_context(base_url=url, color_scheme=scheme, viewport=size)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("Admin token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("[data-live][data-state=on]")
    yield page
    context.close()


def administration(browser: Browser, folder: Path, *, everything: bool) -> None:
    """Take the pictures of the admin page; each page in both schemes and widths, where everything is wanted."""
    with tempfile.TemporaryDirectory() as state:
        running = Admin(Path(state))
        fill(running)
        for name, scheme, size in (("light", "light", WIDE), ("dark", "dark", WIDE), ("mobile", "light", NARROW)):
            with opened(browser, running.url, scheme, size) as page:
                decision = page.get_by_role("link", name="files.partner.example", exact=True).get_attribute("href")
                paths = {
                    "blocked": "/",
                    "decision": decision or "",
                    "reported": "/?view=reported",
                    "allowed": "/?view=allowed",
                    "queue": "/requests",
                    "group": f"/groups/{GROUP}",
                    "conversation": f"/conversations/{CHAT}",
                    "audit": "/audit",
                    "tokens": "/tokens",
                }
                for what, path in paths.items():
                    if everything or f"{name}-{what}" in KEPT:
                        page.goto(path)
                        page.wait_for_load_state("load")
                        page.screenshot(path=folder / f"{name}-{what}.png", full_page=True)
        running.close()


def demo(browser: Browser, path: Path, scheme: str) -> None:
    """Take the picture of a demo after its story: a host refused, a question without search, and with it."""
    command = [OUTWARD, "demo", "--port", "0", "--json"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["chat"]
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1224, "height": 900}, device_scale_factor=5 / 3)  # type: ignore[arg-type]
    page.goto(url)
    page.locator("[data-scene=blocked_host]").click()
    page.locator(".denied").wait_for()
    page.get_by_role("button", name="Ask").click()
    page.locator(".memory").wait_for()
    page.get_by_text("Web search", exact=True).click()
    page.locator("#audit .badge", has_text="conversation_opt_in_changed").wait_for()
    page.get_by_role("button", name="Ask").click()
    page.locator(".receipt").wait_for()
    page.locator("#audit .badge", has_text="web_search_invoked").wait_for()
    page.screenshot(path=path, full_page=True)
    page.close()
    process.terminate()
    process.wait(20)


KEPT = {path.stem for path in FOLDER.glob("*.png")} | {"light-queue", "light-allowed", "dark-blocked"}


def main() -> None:
    """Take what the documents show, or everything where another folder is given."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        administration(browser, folder, everything=folder != FOLDER)
        for name, scheme in (("demo", "light"), ("demo-dark", "dark")):
            demo(browser, folder / f"{name}.png", scheme)
        browser.close()


if __name__ == "__main__":
    main()
