"""What package managers are set up to use, asked of stand-ins with configurations of their own."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from outward.config.load import load_text
from outward.config.machine import discoveries
from outward.config.machine.apt import apt_hosts
from outward.config.machine.memory import Memory
from outward.config.machine.npm import npm_hosts
from outward.config.machine.pip import pip_hosts
from outward.config.machine.tool import entries
from outward.config.machine.uv import uv_indexes
from outward.config.sets import Hosts
from outward.config.starter import starter_policy
from outward.core.model import Question
from outward.core.names import canonical_host
from outward.core.policy import decide

FORGETFUL = Memory(None)
PYTHON = f"#!{sys.executable}\n"


def tool(folder: Path, name: str, body: str) -> dict[str, str]:
    """Put a program on a path of its own; return the environment in which it is the only one."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(PYTHON + body)
    path.chmod(0o755)
    return {"PATH": str(path.parent), "HOME": str(folder)}


def pip(folder: Path, settings: list[object]) -> dict[str, str]:
    """Stand in for an interpreter that has pip with these settings."""
    answer = {"settings": settings, "index": "https://index.example/simple", "files": "files.example", "read": []}
    return tool(folder, "python3", f"print({json.dumps(answer)!r})")


@contextmanager
def index(body: str, kind: str = "text/html") -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Serve one page of an index; yield its address and what was asked."""
    asked: list[tuple[str, str | None]] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")


APT = {
    "sources.list": (
        "# deb http://commented.example/debian stable main\n"
        "deb http://one.example/debian stable main\n"
        "deb-src [arch=amd64 signed-by=/x.gpg] https://two.example:8443/debian stable main\n"
        "deb cdrom:[Debian]/ stable main\n"
        "deb file:/srv/debian stable main\n"
        "deb http://one.example/security stable main\n"
    ),
    "sources.list.d/a.list": "deb tor+https://three.example/x stable main\n",
    "sources.list.d/b.sources": (
        "Types: deb\n# URIs: http://commented.example\nURIs: http://four.example/debian\n https://five.example/debian\n"
        "Suites: stable\n\nEnabled: no\nURIs: http://off.example/debian\n\nURIs: mirror+file:/etc/apt/mirrors.txt\n"
    ),
    "sources.list.d/c.save": "deb http://saved.example/debian stable main\n",
    "mirrors.txt": "# comment\nhttps://six.example/debian priority:1\n",
}


def test_apt_reads_both_styles_and_mirror_lists(tmp_path: Path):
    for name, content in APT.items():
        path = tmp_path / "etc/apt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    numbers = ("one", "two", "three", "four", "five", "six")
    ports = {"two": ":8443"}
    assert apt_hosts(tmp_path) == Hosts(tuple(f"{each}.example{ports.get(each, '')}" for each in numbers))


def test_npm_tells_its_registry_and_those_of_scopes(tmp_path: Path):
    answer = {
        "registry": "https://npm.example/",
        "@acme:registry": "https://u:p@acme.example:8443/",
        "other": "https://no.example",
    }
    env = tool(
        tmp_path, "npm", f"import sys\nassert sys.argv[1:3] == ['config', 'list']\nprint({json.dumps(answer)!r})"
    )
    assert npm_hosts(env, FORGETFUL) == Hosts(("npm.example", "acme.example:8443"))


@pytest.mark.parametrize("body", ["raise SystemExit(1)", "print('[]')", "print('no JSON')"])
def test_an_npm_that_cannot_be_asked_is_an_empty_set_with_a_reason(tmp_path: Path, body: str):
    hosts = npm_hosts(tool(tmp_path, "npm", body), FORGETFUL)
    assert hosts.entries == ()
    assert hosts.problem


def test_pip_knows_the_file_host_of_its_default_index(tmp_path: Path):
    assert pip_hosts(pip(tmp_path, []), FORGETFUL) == Hosts(("index.example", "files.example"))


@pytest.mark.parametrize(
    "settings",
    [
        [["global.extra-index-url", "https://two.example/simple file:///srv/simple"], [":env:.find-links", "/srv"]],
        [
            ["/etc/pip.conf", {"global.extra-index-url": "https://two.example/simple"}],
            [":env:", {":env:.find-links": "/srv"}],
        ],
    ],
)
def test_pip_settings_are_read_in_both_of_its_forms(tmp_path: Path, settings: list[object]):
    hosts = pip_hosts(pip(tmp_path, settings), FORGETFUL)
    assert hosts.entries == ("index.example", "two.example", "files.example")
    assert hosts.problem == "the host of an index's files is not known: its page could not be read"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('<a href="https://cdn.example/a.whl">a</a><a href="/b.whl">b</a><a>c</a>', "text/html"),
        (
            '{"files": [{"url": "https://cdn.example/a.whl"}, {"url": "../b.whl"}]}',
            "application/vnd.pypi.simple.v1+json",
        ),
    ],
)
def test_a_mirrors_page_tells_where_its_files_are(tmp_path: Path, body: str, kind: str):
    with index(body, kind) as (address, asked):
        hosts = pip_hosts(pip(tmp_path, [["global.index-url", f"http://user:p%40ss@{address}/simple/"]]), FORGETFUL)
    assert hosts == Hosts((address, "cdn.example"))
    assert asked == [("/simple/pip/", "Basic dXNlcjpwQHNz")]


def test_the_environments_index_replaces_that_of_the_files(tmp_path: Path):
    with index("") as (address, _):
        settings = [["global.index-url", "https://no.example/"], [":env:.index-url", f"http://{address}/"]]
        assert pip_hosts(pip(tmp_path, settings), FORGETFUL).entries == (address,)


def test_a_pip_without_an_index_uses_none(tmp_path: Path):
    assert pip_hosts(pip(tmp_path, [["global.no-index", "true"]]), FORGETFUL) == Hosts()


def test_a_machine_without_tools_has_empty_sets_with_reasons(tmp_path: Path):
    found = {name: discover() for name, discover in discoveries({"PATH": str(tmp_path)}, tmp_path).items()}
    assert all(hosts.entries == () and hosts.problem for hosts in found.values())


def test_uv_tells_its_indexes_by_variable_and_by_file(tmp_path: Path):
    (tmp_path / ".config/uv").mkdir(parents=True)
    (tmp_path / ".config/uv/uv.toml").write_text(
        'index-url = "https://a.example/"\n[[index]]\nurl = "https://b.example/"\n[pip]\nextra-index-url = ["https://c.example/"]\n'
    )
    env = {"HOME": str(tmp_path), "UV_INDEX": "name=https://d.example/ https://e.example/"}
    hosts = [url.split("/")[2][0] for url in uv_indexes(env, tmp_path / "none")]
    assert hosts == ["d", "e", "a", "b", "c"]


def test_a_host_that_cannot_be_read_is_left_out_and_told():
    hosts = entries(["https://good.example/", "https://bad_!host/", "https://[bad/", "https://127.1/"])
    assert hosts.entries == ("good.example",)
    assert hosts.problem


def test_discovered_hosts_are_rules_and_problems_are_warnings():
    machine = {"pip": lambda: Hosts(("mirror.example:8443",), "half of it")}
    text = "version: 1\ngroups:\n  dev: {allow: ['@pip']}\nclients: [{group: dev, anyone: true}]\n"
    loaded = load_text(text, env={}, machine=machine)
    assert loaded.policy is not None
    assert loaded.discovered == {"pip": ("mirror.example:8443",)}
    assert decide(loaded.policy, Question("dev", canonical_host("mirror.example"), 8443)).allowed
    assert [(each.ident, each.message, str(each.place)) for each in loaded.findings] == [
        ("W117", "`@pip`: half of it", "outward.yaml:3")
    ]


def test_the_files_own_set_comes_before_the_machines():
    def never() -> Hosts:
        raise AssertionError("the machine must not be asked")

    text = "version: 1\nsets: {pip: [own.example]}\ngroups: {dev: {allow: ['@pip']}}\n"
    loaded = load_text(text, env={}, machine={"pip": never})
    assert loaded.policy is not None
    assert [str(rule.pattern) for rule in loaded.policy.groups["dev"].allow.all] == ["own.example"]


def test_the_starter_policy_allows_developers_hosts_and_the_machines():
    machine = {name: lambda name=name: Hosts((f"{name}.example",)) for name in ("pip", "npm", "apt")}
    loaded = starter_policy(env={}, machine=machine, vendor_of={"github.com": "x"}.get)
    assert loaded.ok
    assert loaded.policy is not None
    for host, expected in {
        "github.com": True,
        "npm.example": True,
        "gist.github.com": False,
        "a.example": False,
    }.items():
        assert decide(loaded.policy, Question("local", canonical_host(host), 443)).allowed is expected
    assert loaded.policy.vendor_of("github.com") == "x"
    assert set(loaded.discovered) == {"pip", "npm", "apt"}


@pytest.mark.skipif(not os.environ.get("PATH"), reason="no path to search")
def test_this_machines_own_tools_can_be_asked(monkeypatch: pytest.MonkeyPatch):
    """Whatever is installed here answers in time and with hosts that are rules."""
    monkeypatch.undo()
    text = "version: 1\ngroups:\n  dev: {allow: ['@pip', '@npm', '@apt']}\nclients: [{group: dev, anyone: true}]\n"
    assert load_text(text).ok
