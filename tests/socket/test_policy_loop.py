"""From nothing to green with real clients: report, suggest, test, replay, enforce, blocked, asked, approved.

`pytest -s` prints what each step takes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
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
        "    mode: report # for a day\n    grants: allowed\n"
        f"    lane: {lane}\n    ech: refuse\n    allow: []\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return path


class Steps:
    """Says how long each step takes.

    Attributes:
        total: seconds since the first one.
    """

    def __init__(self, lane: str) -> None:
        self.lane, self.total = lane, 0.0
        self._last = time.monotonic()

    def done(self, what: str) -> None:
        """Say that a step is done."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self.total += seconds
        print(f"{self.lane:8} {what:44} {seconds:6.2f} s  {self.total:6.2f} s")


def surroundings(folder: Path, served: Served, web: Web) -> dict[str, str]:
    """Return the environment of clients behind the proxy."""
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
    return env


def failures(folder: Path, served: Served, web: Web) -> list[str]:
    """Run curl, git and pip behind the proxy, and return what those said that failed."""
    env = surroundings(folder, served, web)
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


def status(folder: Path, served: Served, web: Web, url: str) -> int:
    """Return the status that curl sees, be it of the CONNECT or of the answer behind it."""
    words = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_connect} %{http_code}", url]
    done = subprocess.run(
        words, env=surroundings(folder, served, web), capture_output=True, text=True, check=False, timeout=60
    )
    connect, code = map(int, done.stdout.split())
    return code or connect


@pytest.mark.parametrize("lane", ["inspect", "tunnel"])
def test_from_nothing_to_an_enforced_list_to_what_was_asked_for(lane: str, tmp_path: Path, web: Web) -> None:
    """Real clients pass before and after; what they did not ask for is blocked, until somebody is asked and approves."""
    if not shutil.which("git") or not shutil.which("curl"):
        pytest.skip("git or curl is not installed")
    steps = Steps(lane)
    path = policy(tmp_path, web, lane)
    served = Served(path)
    try:
        steps.done("serve is ready")
        assert failures(tmp_path, served, web) == []
        steps.done("report mode: curl, git and pip pass")
        least = len(web.seen) if lane == "inspect" else 3
        wait_for(lambda: sum(event["would_deny"] for event in served.events) >= least)
        wait_for(lambda: asked(path) >= sum(event["would_deny"] for event in served.events) > 0)
        written = outward("suggest", "--config", path, "--write", path)
        assert (written.returncode, "added" in written.stdout) == (0, True), written.stderr
        steps.done("suggest, and suggest --write")
        text = path.read_text()
        assert ("methods: [GET]" in text) is (lane == "inspect")
        assert "mode: report # for a day" in text
        path.write_text(
            text.replace("mode: report # for a day", "mode: enforce")
            + f'tests:\n  - {{group: dev, url: "{web.url}/", expect: allow}}\n'
            + '  - {group: dev, url: "https://other.test/", expect: deny, reason: no_rule}\n'
        )
        assert outward("test", "--config", path).returncode == 0
        steps.done("test")
        replayed = outward("replay", "--config", path, "--fail-on", "newly-blocked")
        assert (replayed.returncode, "NEWLY BLOCKED" in replayed.stdout) == (0, True), replayed.stdout
        steps.done("replay")
        served.signal(signal.SIGHUP)
        other = f"https://other.test:{web.port}/"
        wait_for(lambda: status(tmp_path, served, web, other) == 403)
        steps.done("enforce: another host is blocked")
        assert failures(tmp_path, served, web) == []
        steps.done("curl, git and pip pass still")

        proxy = {"HTTPS_PROXY": f"http://127.0.0.1:{served.proxy[1]}"}
        request = outward("request", other, "--why", "to build", "--json", **proxy)
        assert request.returncode == 0, request.stderr
        steps.done("asked")
        assert status(tmp_path, served, web, other) == 403
        approved = outward("requests", "approve", json.loads(request.stdout)["id"], "--until", "1h", "--config", path)
        assert approved.returncode == 0, approved.stderr
        wait_for(lambda: status(tmp_path, served, web, other) == 200)
        steps.done("approved: green")

        before = path.read_text()
        wait_for(lambda: outward("suggest", "--config", path, "--write", path).returncode == 1)  # a test says no
        assert path.read_text() == before
    finally:
        served.end()
