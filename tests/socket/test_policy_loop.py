"""From nothing to an enforced list with real clients: report, suggest, test, replay, enforce."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import Served, outward
from harness.waiting import wait_for
from harness.web import Web

WHEEL = "thing-1.0-py3-none-any.whl"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """An origin with a page, a git repository and a package index."""
    (tmp_path / "origin").mkdir()
    site = Web(tmp_path / "origin")
    (site.root / "index.html").write_text("the page")
    (site.root / "repo.git/info").mkdir(parents=True)
    (site.root / "repo.git/info/refs").write_text(f"{'1' * 40}\trefs/heads/main\n")
    (site.root / "repo.git/HEAD").write_text("ref: refs/heads/main\n")
    (site.root / "simple/thing").mkdir(parents=True)
    (site.root / "simple/thing/index.html").write_text(f'<a href="../../{WHEEL}">{WHEEL}</a>')
    with zipfile.ZipFile(site.root / WHEEL, "w") as wheel:
        wheel.writestr("thing.py", "")
        wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        wheel.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("thing-1.0.dist-info/RECORD", "")
    yield site
    site.close()


def policy(folder: Path, web: Web, lane: str) -> Path:
    path = folder / "outward.yaml"
    path.write_text(
        "version: 1\n"
        f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{folder}/state'}}\n"
        "upstream:\n"
        f"  trust: ['{web.ca}']\n"
        "  internal: [127.0.0.1/32]\n"
        "  dns: {hosts: {origin.test: [127.0.0.1], other.test: [127.0.0.1]}}\n"
        "groups:\n  dev:\n"
        "    mode: report # for a day\n"
        f"    lane: {lane}\n    ech: refuse\n    allow: []\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return path


def failures(folder: Path, served: Served, web: Web) -> list[str]:
    """Run curl, git and pip behind the proxy, and return what those said that failed."""
    ca = folder / "trusted.pem"
    ca.write_text(web.ca.read_text() + (folder / "state/ca.pem").read_text())
    proxy = f"http://127.0.0.1:{served.proxy[1]}"
    env = {**os.environ, "https_proxy": proxy, "SSL_CERT_FILE": str(ca), "GIT_SSL_CAINFO": str(ca), "no_proxy": "", "NO_PROXY": "", "HTTPS_PROXY": proxy}  # fmt: skip
    env |= {
        "PIP_CERT": str(ca),
        "PIP_CONFIG_FILE": os.devnull,
        "CURL_CA_BUNDLE": str(ca),
        "REQUESTS_CA_BUNDLE": str(ca),
        "PIP_RETRIES": "0",
    }
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        env.pop(name, None)
    words = [
        ["curl", "-sSf", "-o", os.devnull, f"{web.url}/"],
        ["git", "ls-remote", "--quiet", f"{web.url}/repo.git"],
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "--dest", str(folder / "wheels"),
         "--index-url", f"{web.url}/simple/", "thing"],
    ]  # fmt: skip
    done = [subprocess.run(each, env=env, capture_output=True, text=True, check=False, timeout=60) for each in words]
    return [each.stderr for each in done if each.returncode]


def asked(path: Path) -> int:
    """Return how many recorded requests the proposals answer."""
    return sum(each["count"] for each in json.loads(outward("suggest", "--config", path, "--json").stdout)["proposals"])


@pytest.mark.parametrize("lane", ["inspect", "tunnel"])
def test_the_list_that_is_suggested_is_enough_and_no_more(lane: str, tmp_path: Path, web: Web) -> None:
    """Real clients pass before and after; what they did not ask for is blocked afterwards."""
    if not shutil.which("git") or not shutil.which("curl"):
        pytest.skip("git or curl is not installed")
    path = policy(tmp_path, web, lane)
    served = Served(path)
    try:
        assert failures(tmp_path, served, web) == []
        wait_for(lambda: asked(path) >= sum(event["would_deny"] for event in served.events) > 0)
        written = outward("suggest", "--config", path, "--write", path)
        assert (written.returncode, "added" in written.stdout) == (0, True), written.stderr
        text = path.read_text()
        assert ("methods: [GET]" in text) is (lane == "inspect")
        assert "mode: report # for a day" in text
        path.write_text(
            text.replace("mode: report # for a day", "mode: enforce")
            + f'tests:\n  - {{group: dev, url: "{web.url}/", expect: allow}}\n'
            + '  - {group: dev, url: "https://other.test/", expect: deny, reason: no_rule}\n'
        )
        assert outward("test", "--config", path).returncode == 0
        replayed = outward("replay", "--config", path, "--fail-on", "newly-blocked")
        assert (replayed.returncode, "NEWLY BLOCKED" in replayed.stdout) == (0, True), replayed.stdout
        served.signal(signal.SIGHUP)
        wait_for(lambda: " 403" in served.answer("other.test"))

        assert failures(tmp_path, served, web) == []
        assert " 403" in served.answer("other.test")
        before = path.read_text()
        wait_for(lambda: outward("suggest", "--config", path, "--write", path).returncode == 1)  # a test says no
        assert path.read_text() == before
    finally:
        served.end()
