"""`outward run` behind the proxy that the environment names: a real Squid, or another run of its own."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import OUTWARD, environment
from harness.squid import HAS_SQUID, squid
from harness.waiting import wait_for
from harness.web import Web

HOSTS = "127.0.0.1 origin.test\n"
USER = "http://corp:s%40cret@127.0.0.1:{}"

needs_squid = pytest.mark.skipif(not HAS_SQUID, reason="needs squid (Debian: apt install squid)")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    site = Web(tmp_path_factory.mktemp("origin"))
    (site.root / "index.html").write_text("the page")
    yield site
    site.close()


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that Squid can reach as the user that it becomes."""
    with tempfile.TemporaryDirectory(prefix="squid-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "squid"


def configuration(folder: Path, web: Web, lane: str = "auto", hosts: str = "") -> Path:
    path = folder / "outward.yaml"
    path.write_text(
        "version: 1\n"
        f"upstream: {{trust: ['{web.ca}'], internal: [127.0.0.1/32], dns: {{hosts: {{{hosts}}}}}}}\n"
        f"groups: {{dev: {{lane: {lane}, allow: ['origin.test:{web.port}']}}}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return path


def run(folder: Path, web: Web, *words: str | Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [OUTWARD, "run", *words],
        env={**environment(), "HOME": str(folder), "SSL_CERT_FILE": str(web.ca), **env},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_squid
@pytest.mark.parametrize("lane", ["tunnel", "inspect"])
def test_what_is_allowed_goes_through_the_parent_with_its_credentials(tmp_path: Path, room: Path, web: Web, lane: str):
    """Only the parent knows where the name leads."""
    config = configuration(tmp_path, web, lane)
    with squid(room, web.port, password=True, hosts=HOSTS) as parent:
        url = USER.format(parent.port)
        done = run(tmp_path, web, "--config", config, "--", "curl", "-sS", web.url, HTTPS_PROXY=url)
        assert (done.returncode, done.stdout) == (0, "the page"), done.stderr
        wait_for(lambda: parent.asked == [f"origin.test:{web.port} corp"])
        told = f"goes through 127.0.0.1:{parent.port}, which resolves names; --no-parent goes without it"
        assert told in done.stderr
        assert "s%40cret" not in done.stderr


@needs_squid
def test_what_the_policy_denies_does_not_reach_the_parent(tmp_path: Path, room: Path, web: Web):
    config = configuration(tmp_path, web)
    with squid(room, web.port, hosts=HOSTS) as parent:
        url = f"http://127.0.0.1:{parent.port}"
        done = run(tmp_path, web, "--config", config, "--", "curl", "-sS", "https://other.test/", https_proxy=url)
        assert done.returncode == 56
        assert "blocked 1 host" in done.stderr
        assert parent.asked == []


@needs_squid
def test_a_parent_that_is_refused_or_not_for_the_host_is_not_asked(tmp_path: Path, room: Path, web: Web):
    config = configuration(tmp_path, web, hosts="origin.test: [127.0.0.1]")
    words = ("--config", config, "--", "curl", "-sS", web.url)
    with squid(room, web.port) as parent:
        url = f"http://127.0.0.1:{parent.port}"
        refused = run(tmp_path, web, "--no-parent", *words, HTTPS_PROXY=url)
        exempt = run(tmp_path, web, *words, HTTPS_PROXY=url, NO_PROXY="localhost,.origin.test")
        assert [done.stdout for done in (refused, exempt)] == ["the page"] * 2, exempt.stderr
        assert refused.stderr == ""
        assert "what NO_PROXY names (.origin.test) goes through Outward too, and from there directly" in exempt.stderr
        assert parent.asked == []


def test_a_parent_that_cannot_be_used_ends_the_verb_before_the_command(tmp_path: Path, web: Web):
    done = run(tmp_path, web, "--", "touch", "started", ALL_PROXY="socks5h://127.0.0.1:1080")
    assert done.returncode == 2
    assert "ALL_PROXY names a proxy that speaks socks5h" in done.stderr
    assert "--no-parent" in done.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("lane", ["tunnel", "inspect"])
def test_a_run_inside_a_run_goes_through_the_outer_one(tmp_path: Path, web: Web, lane: str):
    """Each has a policy of its own, and both hold."""
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    for folder in (inner, outer):
        folder.mkdir()
    inside = configuration(inner, web)
    inside.write_text(inside.read_text().replace(f"'origin.test:{web.port}'", f"'origin.test:{web.port}', other.test"))
    inside.write_text(inside.read_text().replace(f"['{web.ca}']", "[system]"))
    outside = configuration(outer, web, lane, hosts="origin.test: [127.0.0.1]")
    script = f"curl -sS {web.url}; curl -sS https://other.test/; true"
    nested = (OUTWARD, "run", "--config", str(inside), "--", "sh", "-c", script)
    done = run(outer, web, "--config", outside, "--", *map(str, nested))
    assert done.stdout == "the page", done.stderr
    assert "parent_refused" in done.stderr
    assert "outward: blocked 1 host" in done.stderr


def test_settings_of_the_environment_count_without_a_file(tmp_path: Path, web: Web):
    done = run(tmp_path, web, "--", "true", OUTWARD_UPSTREAM_TRUST=str(tmp_path / "missing.pem"))
    assert done.returncode == 3
    assert "missing.pem" in done.stderr
