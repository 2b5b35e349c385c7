"""A real headless Chromium in front of a real administrator's side."""

import shutil

import pytest

from harness.admin import TOKEN, admin

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def settled(click):
    """A click that also waits until the page is loaded that it leads to: the tests look at once."""

    def clicked(self, **options):
        click(self, **options)
        self.page.wait_for_load_state()

    return clicked


@pytest.fixture(
    scope="module"
)  # while its driver lives, an event loop runs in this thread: no test elsewhere may meet it
def chromium():
    """Start the machine's own Chromium; nothing is downloaded."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install Debian's `chromium`")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as driver:
        patch.setattr(playwright.Locator, "click", settled(playwright.Locator.click))
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def running(tmp_path):
    with admin(tmp_path) as found:
        yield found


@pytest.fixture
def open_page(chromium, running):
    """Open pages, signed in or not; no page may log an error, break its CSP or ask another host for anything."""
    contexts, complaints = [], []

    def asked(request):
        if not request.url.startswith((running.url, "data:", "blob:")):
            complaints.append(f"asked {request.url}")

    def make(*, signed_in=True, **options):
        context = chromium.new_context(base_url=running.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        page.on("request", asked)
        if signed_in:
            page.goto("/login")
            page.get_by_label("Admin token").fill(TOKEN)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/")
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []
