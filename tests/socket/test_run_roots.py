"""`outward run` keeps the roots that the user's tools are set up to trust, for the tools and beyond."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import OUTWARD
from harness.web import Web

FILES = {
    ".config/pip/pip.conf": "[global]\ncert = {ca}\n",
    ".npmrc": "cafile={ca}\n",
    ".gitconfig": '[http "{url}"]\n\tsslCAInfo = {ca}\n',
}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    site = Web(tmp_path_factory.mktemp("origin"))
    (site.root / "index.html").write_text("the page")
    yield site
    site.close()


def fetched(home: Path, work: Path, web: Web, lane: str) -> "subprocess.CompletedProcess[str]":
    work.mkdir(parents=True, exist_ok=True)
    config = home / "policy.yaml"
    config.write_text(
        "version: 1\n"
        "upstream: {internal: [127.0.0.1/32], dns: {hosts: {origin.test: [127.0.0.1]}}}\n"
        f"groups: {{dev: {{lane: {lane}, allow: ['origin.test:{web.port}']}}}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return subprocess.run(
        [OUTWARD, "run", "--config", config, "--", "curl", "-sSf", web.url],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("lane", ["tunnel", "inspect"])
@pytest.mark.parametrize("place", FILES)
def test_roots_in_the_users_own_files_are_kept(tmp_path: Path, web: Web, place: str, lane: str):
    """In a tunnel the tool verifies the destination, in the inspect lane the proxy does."""
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILES[place].format(ca=web.ca, url=web.url))
    done = fetched(tmp_path, tmp_path / "work", web, lane)
    assert (done.returncode, done.stdout) == (0, "the page"), done.stderr


@pytest.mark.parametrize("lane", ["tunnel", "inspect"])
def test_roots_that_the_working_tree_names_or_holds_are_not(tmp_path: Path, web: Web, lane: str):
    work = tmp_path / "work"
    work.mkdir()
    (work / "ca.pem").write_bytes(web.ca.read_bytes())
    (work / ".npmrc").write_text(FILES[".npmrc"].format(ca=web.ca))
    (tmp_path / ".gitconfig").write_text(FILES[".gitconfig"].format(ca=work / "ca.pem", url=web.url))
    done = fetched(tmp_path, work, web, lane)
    assert (done.returncode, done.stdout) == (60 if lane == "tunnel" else 22, ""), done.stderr
