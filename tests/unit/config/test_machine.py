"""What package managers are set up to use, read from files and programs that are laid out like real ones."""

import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from outward.config.discovery import Tree
from outward.config.load import load_text
from outward.config.machine import discoveries
from outward.config.machine.apt import apt_hosts
from outward.config.machine.authorities import authorities
from outward.config.machine.hosts import entries
from outward.config.machine.npm import _TABLE as TABLE
from outward.config.machine.npm import npm_hosts
from outward.config.machine.pip import pip_hosts
from outward.config.machine.surroundings import Surroundings
from outward.config.machine.uv import uv_indexes
from outward.config.sets import Hosts
from outward.config.starter import starter_policy
from outward.core.decide import decide
from outward.core.model import Question
from outward.core.names import canonical_host

PYPI = 'PyPI = PackageIndex("https://index.example/", file_storage_domain="files.example")\n'
REGISTRY = """
const definitions = {
  registry: new Definition('registry', {
    default: 'https://npm.example/',
    type: url,
"""


def put(path: Path, text: str = "") -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def program(path: Path, text: str = "#!/bin/sh\ntouch {asked}\n") -> Path:
    """Put a program in place that leaves a mark if anybody runs it."""
    put(path, text.format(asked=path.parent / "asked")).chmod(0o755)
    return path


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    """A machine with pip and npm, a user, and a working tree that tries to be heard wherever tools would listen."""
    machine, home, work = tmp_path / "machine", tmp_path / "home", tmp_path / "home/work"
    program(machine / "bin/python3")
    put(machine / "lib/python3.12/site-packages/pip/_internal/models/index.py", PYPI)
    script = program(machine / "lib/node_modules/npm/bin/npm-cli.js")
    put(machine / "lib/node_modules/npm" / TABLE, REGISTRY)
    (machine / "bin/npm").symlink_to(script)
    program(machine / "bin/node")
    evil = "https://evil.example/"
    put(work / ".npmrc", f"registry={evil}\n@acme:registry={evil}\n")
    put(work / "pip.conf", f"[global]\nindex-url={evil}\nextra-index-url={evil}\n")
    put(work / "uv.toml", f"index-url = '{evil}'\n")
    put(work / "pyproject.toml", f"[[tool.uv.index]]\nurl = '{evil}'\n")
    put(work / ".yarnrc", f"registry '{evil}'\n")
    for folder in (".venv", "node_modules/.bin"):
        for name in ("python", "python3", "pip", "npm", "node", "uv"):
            program(work / folder / "bin" / name)
            program(work / folder / name)
    put(work / ".venv/pip.conf", f"[global]\nextra-index-url={evil}\n")
    put(work / ".venv/lib/python3.12/site-packages/pip/_internal/models/index.py", PYPI.replace("index.", "evil."))
    put(work / ".venv/etc/npmrc", f"@acme:registry={evil}\n")
    put(work / "node_modules/lib/node_modules/npm" / TABLE, REGISTRY.replace("npm.", "evil."))
    monkeypatch.chdir(work)
    env = {
        "HOME": str(home),
        "VIRTUAL_ENV": str(work / ".venv"),
        "PATH": f"{work}/.venv/bin:{work}/node_modules/.bin:node_modules/.bin::{machine}/bin",
    }
    return Surroundings(env, tmp_path / "system", Tree(work))


def found(around: Surroundings) -> dict[str, Hosts]:
    return {name: discover() for name, discover in discoveries(around.env, around.root, around.tree).items()}


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


def test_nothing_that_the_working_tree_says_adds_a_host_and_nothing_is_run(around: Surroundings):
    hosts = found(around)
    assert hosts["pip"] == Hosts(("index.example", "files.example"))
    assert hosts["npm"] == Hosts(("npm.example",))
    assert list(around.tree.root.parent.parent.rglob("asked")) == []


def test_what_lies_in_the_tree_by_a_symlink_from_outside_does_not_count(around: Surroundings):
    home = around.tree.root.parent
    (home / "env").symlink_to(around.tree.root / ".venv")
    env = {**around.env, "VIRTUAL_ENV": str(home / "env"), "PATH": f"{home}/env/bin:{around.env['PATH']}"}
    hosts = found(replace(around, env=env))
    assert hosts["pip"] == Hosts(("index.example", "files.example"))
    assert hosts["npm"] == Hosts(("npm.example",))


def test_variables_that_name_a_file_in_the_tree_do_not_count(around: Surroundings):
    work = around.tree.root
    named = {"PIP_CONFIG_FILE": f"{work}/pip.conf", "NPM_CONFIG_USERCONFIG": f"{work}/.npmrc"}
    named |= {"npm_config_globalconfig": f"{work}/.venv/etc/npmrc", "PREFIX": f"{work}/.venv"}
    hosts = found(replace(around, env={**around.env, **named}))
    assert hosts["pip"] == Hosts(("index.example", "files.example"))
    assert hosts["npm"] == Hosts(("npm.example",))


def test_the_users_files_count_in_the_home_folder_too(around: Surroundings):
    """Where the home folder is the working folder, the user's own files at their usual places lie in the tree."""
    home = around.tree.root.parent
    put(home / ".npmrc", "registry = https://user.example/\n")
    assert npm_hosts(replace(around, tree=Tree(home))).entries == ("user.example",)


def test_roots_that_tools_are_set_up_to_trust_are_found_and_none_of_the_working_tree(around: Surroundings):
    home, work = around.tree.root.parent, around.tree.root
    put(home / ".config/pip/pip.conf", "[global]\ncert = /corp/pip.pem\n")
    put(home / ".npmrc", "cafile=~/npm.pem\n")
    put(
        home / ".gitconfig",
        '[HTTP "https://a.example"]\n\tsslcainfo = "/corp/a b.pem" ; why\n[core]\n\tsslCAInfo = /no\n',
    )
    put(home / ".config/git/config", "[http]\n\tsslCAPath = /corp/folder # why\n")
    put(home / ".cargo/config.toml", '[http]\ncainfo = "/corp/cargo.pem"\n')
    put(home / ".aws/config", "[default]\nca_bundle = relative.pem\n[profile x]\nca_bundle = /corp/aws.pem\n")
    put(work / ".npmrc", "cafile=/tree/npm.pem\n")
    put(work / ".git/config", "[http]\n\tsslCAInfo = /tree/git.pem\n")
    named = ["/corp/pip.pem", f"{home}/npm.pem", "/corp/folder", "/corp/a b.pem", "/corp/cargo.pem", "/corp/aws.pem"]
    assert authorities(around) == tuple(map(Path, named))
    put(home / ".npmrc", f"cafile={work}/planted.pem\n")
    put(home / ".cargo/config.toml", "[http\ncainfo = damaged\n")
    assert authorities(around) == tuple(map(Path, [named[0], *named[2:4], named[5]]))


def test_npm_is_read_as_npm_reads(around: Surroundings):
    home, machine = around.tree.root.parent, around.tree.root.parent.parent / "machine"
    put(machine / "lib/node_modules/npm/npmrc", "registry=https://built.example/\n@a:registry=https://a.example/\n")
    put(machine / "etc/npmrc", "; a comment\n# another\nregistry = https://global.example/\nnothing\n[section]\n")
    assert npm_hosts(around).entries == ("global.example", "a.example")
    put(home / ".npmrc", 'registry="https://${WHERE}.example:8443/"\n//x.example/:_authToken=secret\n')
    env = {**around.env, "WHERE": "user"}
    assert npm_hosts(replace(around, env=env)).entries == ("user.example:8443", "a.example")
    env |= {"npm_config_registry": "https://u:p@env.example/", "npm_config_@b:registry": "https://b.example/"}
    assert npm_hosts(replace(around, env=env)).entries == ("env.example", "a.example", "b.example")


def test_an_npm_that_cannot_be_read_is_an_empty_set_with_a_reason(around: Surroundings):
    put(around.tree.root.parent.parent / "machine/lib/node_modules/npm" / TABLE, "something else")
    hosts = npm_hosts(around)
    assert hosts.entries == ()
    assert hosts.problem


def test_pip_in_a_wheel_only_tells_its_default_index(around: Surroundings):
    lib = around.tree.root.parent.parent / "machine/lib/python3.12"
    (lib / "site-packages").rename(lib / "gone")
    (lib / "ensurepip/_bundled").mkdir(parents=True)
    with zipfile.ZipFile(lib / "ensurepip/_bundled/pip-24.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pip/_internal/models/index.py", PYPI)
    assert pip_hosts(around) == Hosts(("index.example", "files.example"))


def test_pips_files_count_in_pips_order(around: Surroundings):
    home = around.tree.root.parent
    put(around.root / "etc/xdg/pip/pip.conf", "[global]\nextra-index-url = https://index.example/a\nno-index = true\n")
    assert pip_hosts(around) == Hosts(("index.example", "files.example"))
    put(
        home / ".config/pip/pip.conf",
        "[global]\nno_index: off\n[install]\nfind-links =\n  https://index.example/b\n  /srv\n",
    )
    assert pip_hosts(around) == Hosts(("index.example", "files.example"))
    put(around.root / "etc/pip.conf", "[global]\nextra-index-url = https://index.example:8443/\n")
    hosts = pip_hosts(around)
    assert hosts.entries == ("index.example", "index.example:8443", "files.example")
    assert hosts.problem == "the host of an index's files is not known: its page could not be read"
    assert pip_hosts(replace(around, env={**around.env, "PIP_CONFIG_FILE": os.devnull})).problem == ""


def test_a_named_file_stands_for_the_users(around: Surroundings):
    home = around.tree.root.parent
    put(home / ".config/pip/pip.conf", "[global]\nextra-index-url = https://index.example:1/\n")
    named = put(home / "named.conf", "[global]\nextra-index-url = https://index.example/more\n")
    env = {**around.env, "PIP_CONFIG_FILE": str(named)}
    assert pip_hosts(replace(around, env=env)) == Hosts(("index.example", "files.example"))


@pytest.mark.parametrize("text", ["[global\n", "no section = x\n", "[a]\nx=1\nx=2\n", "\x00"])
def test_a_damaged_file_says_nothing(around: Surroundings, text: str):
    put(around.root / "etc/pip.conf", text)
    assert pip_hosts(around) == Hosts(("index.example", "files.example"))


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
def test_a_mirrors_page_tells_where_its_files_are(around: Surroundings, body: str, kind: str):
    with index(body, kind) as (address, asked):
        put(around.root / "etc/pip.conf", f"[global]\nindex-url = http://user:p%40ss@{address}/simple/\n")
        hosts = pip_hosts(around)
    assert hosts == Hosts((address, "cdn.example"))
    assert asked == [("/simple/pip/", "Basic dXNlcjpwQHNz")]


def test_the_environments_index_replaces_that_of_the_files(around: Surroundings):
    put(around.root / "etc/pip.conf", "[global]\nindex-url = https://no.example/\n")
    with index("") as (address, _):
        env = {**around.env, "PIP_INDEX_URL": f"http://{address}/"}
        assert pip_hosts(replace(around, env=env)).entries == (address,)


def test_a_pip_without_an_index_uses_none(around: Surroundings):
    assert pip_hosts(replace(around, env={**around.env, "PIP_NO_INDEX": "1"})) == Hosts()


def test_a_machine_without_tools_has_empty_sets_with_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    found = {
        name: discover()
        for name, discover in discoveries({"PATH": str(tmp_path), "HOME": str(tmp_path)}, tmp_path).items()
    }
    assert all(hosts.entries == () and hosts.problem for hosts in found.values())


def test_uv_tells_its_indexes_by_variable_and_by_file(tmp_path: Path):
    (tmp_path / ".config/uv").mkdir(parents=True)
    (tmp_path / ".config/uv/uv.toml").write_text(
        'index-url = "https://a.example/"\n[[index]]\nurl = "https://b.example/"\n[pip]\nextra-index-url = ["https://c.example/"]\n'
    )
    env = {"HOME": str(tmp_path), "UV_INDEX": "name=https://d.example/ https://e.example/"}
    hosts = [url.split("/")[2][0] for url in uv_indexes(Surroundings(env, tmp_path / "none"))]
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
