"""Sign-in in a real browser, at a real provider of identities, into a real proxy over TLS.

The provider is the npm package `oidc-provider`, a certified implementation; it is installed when it is first needed.
`PICTURES=folder` keeps what the pages look like.
"""

import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from harness.ports import free_port
from harness.process import Served
from harness.waiting import wait_for

PACKAGE = "oidc-provider@9.13.3"


def installed() -> Path:
    """Return a folder that holds the package; one for this machine, made whole or not at all."""
    folder = Path(tempfile.gettempdir()) / f"outward-{PACKAGE}-{os.getuid()}"
    if not folder.is_dir():
        if shutil.which("npm") is None:
            pytest.skip("no npm on this machine: sign-in was NOT tried at a real provider")
        making = Path(tempfile.mkdtemp())
        command = ["npm", "install", "--loglevel=error", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
        try:
            subprocess.run(command, cwd=making, capture_output=True, check=True, timeout=60)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm cannot install {PACKAGE}: sign-in was NOT tried at a real provider: {error.stderr!r}")
        try:
            making.rename(folder)
        except OSError:  # another test was faster
            shutil.rmtree(making)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Run a provider, and a proxy whose ops port speaks TLS and sends people there."""
    folder, package = tmp_path_factory.mktemp("sso"), installed()
    ops, port = free_port(), free_port()
    url = f"https://localhost:{ops}"
    script = Path(__file__).with_name("provider.mjs")
    with (folder / "provider.log").open("w+") as log:
        provider = subprocess.Popen(
            ["node", script, str(port), f"{url}/login/callback"], cwd=package, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: "ready" in (folder / "provider.log").read_text() or provider.poll() is not None)
        assert provider.poll() is None, (folder / "provider.log").read_text()
        ca = trustme.CA()
        issued = ca.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(folder / "tls.key")
        issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
        (folder / "client.secret").write_text("a secret of the test\n")
        config = folder / "outward.yaml"
        config.write_text(
            f"version: 1\nserver: {{listen: 127.0.0.1:0, ops: '127.0.0.1:{ops}', state: '{folder}/state'}}\n"
            "groups: {acme: {allow: [example.com]}}\nclients: [{group: acme, anyone: true}]\n"
            f"admin:\n  urls: ['{url}']\n  tls: {{cert: tls.crt, key: tls.key}}\n"
            f"  oidc:\n    issuer: http://127.0.0.1:{port}\n    client_id: outward\n    client_secret_file: client.secret\n"
            "    scopes: [email, groups]\n    role_claim: groups\n    contact: '#egress on chat'\n"
            "    roles: {platform: {role: admin}, audit: {role: viewer}}\n"
        )
        served = Served(config, _context(ca))
        yield SimpleNamespace(url=url, served=served)
        served.end()
    finally:
        provider.terminate()
        provider.wait(60)


def _context(ca: trustme.CA):
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@pytest.fixture
def people(chromium, world):
    """Make browsers of people; none of our pages may break its policy of content."""
    contexts, complaints = [], []

    def make():
        context = chromium.new_context(
            base_url=world.url, ignore_https_errors=True, viewport={"width": 1280, "height": 800}
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


def picture(page, name: str) -> None:
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png")


def sign_in(page, name: str) -> None:
    """Go to the page, from there to the provider, and back."""
    page.goto("/groups")
    page.wait_for_url("**/login")
    picture(page, "light-sign-in")
    page.get_by_role("link", name="Sign in with your account").click()
    page.locator("[name=login]").fill(name)
    page.locator("[name=password]").fill("any")
    picture(page, "at-the-provider")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_people_sign_in_at_the_provider_and_out(world, people):
    """With the cookie that browsers guard; signed out, the way back leads to the sign-in."""
    page = people()
    sign_in(page, "ada-platform-audit")
    page.wait_for_url(f"{world.url}/")
    assert "ada-platform-audit@example.com, admin" in page.locator(".foot .scope").inner_text()
    picture(page, "signed-in")
    [cookie] = page.context.cookies(world.url)
    assert cookie["name"] == "__Host-outward_session"
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    page.get_by_label("Act as").select_option("audit")
    page.get_by_role("button", name="Change").click()
    page.wait_for_function("document.querySelector('.foot .scope').innerText.includes('viewer')")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    page.goto("/groups")
    page.wait_for_url("**/login")
    assert not [each for each in page.context.cookies(world.url) if each["name"] == cookie["name"]]


def test_who_has_no_role_is_told_whom_to_ask(world, people):
    page = people()
    sign_in(page, "bob-sales")
    page.get_by_role("alert").wait_for()
    assert "bob-sales@example.com, and have no role here. Ask #egress on chat" in page.get_by_role("alert").inner_text()
    picture(page, "no-role")
    assert page.context.cookies(world.url) == []
    assert "bob" not in world.served.log
