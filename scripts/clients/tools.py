"""Programs other than agents: how each is told of the proxy, whether it fetches what is allowed, how a refusal ends.

Each runs by `outward run` as it is installed here, in an empty folder. What is allowed is a page of a stub, behind TLS
that the proxy looks into; what is refused is a host that nothing allows, in the way that `run` answers by itself.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.process import OUTWARD, environment
from harness.web import Web

HEAD = ["program", "version", "allowed", "refused: attempts", "seconds", "what `run` sets"]
PAGE = "the page"
_REFUSED = "https://blocked.test"
_PATIENCE = 120


@dataclass(frozen=True)
class Tool:
    """A program.

    Attributes:
        title: its row in the table.
        asks: command that asks for a URL, which is put in place of `{}`.
        by: what makes it use the proxy and trust its certificate.
        version: command that says its version.
        fetches: whether what it asks for can be a plain page, which it prints.
        files: what stands in its folder, by name; `{}` as in `asks`.
    """

    title: str
    asks: Sequence[str]
    by: str
    version: Sequence[str] = ()
    fetches: bool = False
    files: tuple[tuple[str, str], ...] = ()


_NODE = "`NODE_USE_ENV_PROXY`, a preload, `NODE_EXTRA_CA_CERTS`"
_USUAL = "`HTTPS_PROXY`, `SSL_CERT_FILE`"
_JAVA = (
    "public class Get { public static void main(String[] a) throws Exception { System.out.println(new String("
    "new java.net.URL(a[0]).openStream().readAllBytes())); } }"
)
_PY = "import sys, {0} as r; print(r.get(sys.argv[1]).text)"
_CRATE = '[package]\nname="x"\nversion="0.1.0"\n[lib]\npath="x.rs"\n[dependencies]\ny={version="1",registry="b"}\n'
_PROJECT = '[project]\nname="x"\nversion="1"\nrequires-python=">=3.9"\ndependencies=["tomli"]\n'
TOOLS = (
    Tool("curl", ["curl", "-sS", "{}"], "`HTTPS_PROXY`, `CURL_CA_BUNDLE`", fetches=True),
    Tool("wget", ["wget", "-qO-", "{}"], "`HTTPS_PROXY`, `WGETRC`", fetches=True),
    Tool("git", ["git", "ls-remote", "{}/r.git"], "`http.proxy`, `GIT_SSL_CAINFO`"),
    Tool("pip", ["pip", "download", "-q", "--no-deps", "--index-url", "{}/simple", "tomli"], "`PIP_PROXY`, `PIP_CERT`"),
    Tool("uv", ["uv", "pip", "install", "--target", "x", "--no-cache", "--index-url", "{}", "tomli"], _USUAL),
    Tool("Python requests", [sys.executable, "-c", _PY.format("requests"), "{}"], "`REQUESTS_CA_BUNDLE`",
         [sys.executable, "-c", "import requests; print(requests.__version__)"], fetches=True),
    Tool("Python httpx", [sys.executable, "-c", _PY.format("httpx"), "{}"], _USUAL,
         [sys.executable, "-c", "import httpx; print(httpx.__version__)"], fetches=True),
    Tool("npm", ["npm", "--no-update-notifier", "view", "--registry", "{}", "left-pad"], "`npm_config_…`"),
    Tool("yarn", ["yarn", "add", "--registry", "{}", "left-pad"], "`HTTPS_PROXY`, `npm_config_cafile`"),
    Tool("pnpm", ["pnpm", "add", "--registry", "{}", "left-pad"], "`npm_config_…`"),
    Tool("Node fetch", ["node", "-e", "fetch(process.argv[1]).then(async r => console.log(await r.text()))", "{}"],
         _NODE, ["node", "--version"], fetches=True),
    Tool("Deno", ["deno", "eval", "console.log(await (await fetch('{}')).text())"], "`DENO_CERT`", fetches=True),
    Tool("Bun", ["bun", "-e", "console.log(await (await fetch('{}')).text())"], "`NODE_EXTRA_CA_CERTS`", fetches=True),
    Tool("Java", ["java", "Get.java", "{}"], "`JAVA_TOOL_OPTIONS`", fetches=True, files=(("Get.java", _JAVA),)),
    Tool("Perl LWP", ["perl", "-MLWP::UserAgent", "-e", "print LWP::UserAgent->new->get(shift)->content", "{}"],
         "`PERL_LWP_ENV_PROXY`, `PERL_LWP_SSL_CA_FILE`", ["perl", "-MLWP", "-e", "print LWP->VERSION"], fetches=True),
    Tool("PHP curl", ["php", "-r", "$c = curl_init($argv[1]); curl_exec($c);", "{}"], "`PHP_INI_SCAN_DIR`",
         fetches=True),
    Tool("Composer", ["composer", "update", "-n"], _USUAL, files=(("composer.json",
         '{"repositories":[{"type":"composer","url":"{}"},{"packagist.org":false}],"require":{"a/b":"1.0"}}'),)),
    Tool("Ruby", ["ruby", "-ropen-uri", "-e", "puts URI.open(ARGV[0]).read", "{}"], _USUAL, fetches=True),
    Tool("gem", ["gem", "fetch", "--clear-sources", "--source", "{}", "rake"], _USUAL),
    Tool("R", ["Rscript", "-e", "cat(readLines(url(commandArgs(TRUE)[1])))", "{}"], "`CURL_CA_BUNDLE`", fetches=True),
    Tool("Go modules", ["go", "mod", "download"], _USUAL, ["go", "version"],
         files=(("go.mod", "module x\ngo 1.19\nrequire example.com/y v1.0.0\n"),)),
    Tool("cargo", ["cargo", "fetch"], "`CARGO_HTTP_CAINFO`", files=(
        ("Cargo.toml", _CRATE), ("x.rs", ""), (".cargo/config.toml", '[registries.b]\nindex="sparse+{}/"\n'))),
    Tool("apt", ["apt-get", "-o", "Dir::Etc::SourceList=./l", "-o", "Dir::Etc::SourceParts=-", "-o",
         "Dir::State::Lists=./s", "-o", "APT::Sandbox::User=root", "update"], "`APT_CONFIG`",
         files=(("l", "deb {}/d stable main\n"), ("s/partial/x", ""))),
    Tool("aws", ["aws", "--endpoint-url", "{}", "s3api", "list-buckets"], "`AWS_CA_BUNDLE`"),
    Tool("gcloud", ["gcloud", "storage", "ls", "gs://x"], "`CLOUDSDK_…`"),
    Tool("gh", ["gh", "api", "user", "--hostname", "blocked.test"], _USUAL),
    Tool("kubectl", ["kubectl", "--server", "{}", "--username", "a", "--password", "b", "get", "pods"], _USUAL,
         ["kubectl", "version", "--client"]),
    Tool("Terraform", ["terraform", "init", "-no-color"], _USUAL, files=(
        ("main.tf", 'terraform {\n required_providers {\n  x = { source = "blocked.test/a/x" }\n }\n}\n'),)),
    Tool("poetry", ["poetry", "lock"], "`REQUESTS_CA_BUNDLE`", files=(("pyproject.toml",
         _PROJECT + '[[tool.poetry.source]]\nname="b"\nurl="{}/simple/"\n'),)),
    Tool("pdm", ["pdm", "lock"], _USUAL, files=(("pyproject.toml",
         _PROJECT + '[[tool.pdm.source]]\nname="pypi"\nurl="{}/simple/"\n'),)),
    Tool("conda", ["conda", "search", "--override-channels", "-c", "{}", "zlib"], "`REQUESTS_CA_BUNDLE`"),
    Tool("Helm", ["helm", "pull", "{}/x.tgz"], _USUAL),
    Tool("Maven", ["mvn", "-v"], "`JAVA_TOOL_OPTIONS`"),
)  # fmt: skip
_ALONE = {"Maven": "`tests/socket/test_run_java.py`"}  # tried elsewhere
_KEYS = {
    "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-west-1", "GH_TOKEN": "x",
    "GH_ENTERPRISE_TOKEN": "x", "CLOUDSDK_AUTH_ACCESS_TOKEN": "x", "COMPOSER_ALLOW_SUPERUSER": "1",
    "GOFLAGS": "-mod=mod",
    "GONOSUMDB": "*", "GOPROXY": _REFUSED, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "CHECKPOINT_DISABLE": "1",
}  # fmt: skip


def row(tool: Tool, web: Web) -> list[str]:
    """Run a program and return its row; one that is not here is marked as not tried."""
    if shutil.which(tool.asks[0]) is None:
        return [tool.title, "", "not tried: not here", "", "", tool.by]
    if tool.title in _ALONE:
        return [tool.title, _version(tool), _ALONE[tool.title], "", "", tool.by]
    allowed = "not tried: needs a server of its own"
    if tool.fetches:
        done, _ = _run(tool, web, f"{web.url}/")
        allowed = "passes" if PAGE in done.stdout else "**fails**"
    started = time.monotonic()
    done, blocked = _run(tool, web, _REFUSED)
    seconds = time.monotonic() - started
    return [
        tool.title,
        _version(tool),
        allowed,
        str(blocked) if blocked else "none: it ended before it asked",
        f"{seconds:.0f}",
        tool.by,
    ]


def _version(tool: Tool) -> str:
    done = subprocess.run(
        tool.version or [tool.asks[0], "--version"], capture_output=True, text=True, check=False, env=environment()
    )
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return found[0] if found else "?"


def _run(tool: Tool, web: Web, url: str) -> tuple["subprocess.CompletedProcess[str]", int]:
    """Run a program's command; return it, and how often it asked for what is refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder.with_suffix(".yaml")
        config.write_text(
            f"version: 1\nserver: {{state: '{folder}/.state'}}\n"
            f"upstream: {{trust: ['{web.ca}'], internal: [127.0.0.1/32]"
            ", dns: {hosts: {origin.test: [127.0.0.1]}}}\n"
            f"groups: {{dev: {{lane: inspect, allow: ['origin.test:{web.port}']}}}}\n"
            "clients: [{group: dev, anyone: true}]\n"
        )
        for file, text in tool.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text.replace("{}", url))
        command = [word.replace("{}", url) for word in tool.asks]
        bare = {key: value for key, value in environment().items() if not key.startswith("PIP_")}
        homes = {"CARGO_HOME": name, "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))}
        try:
            done = subprocess.run(
                [OUTWARD, "run", "--config", config, "--json", "--", *command],
                cwd=folder, env={**bare, **_KEYS, **homes, "HOME": name}, capture_output=True, text=True,
                check=False, timeout=_PATIENCE, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(error.cmd, -1, "", ""), 0
        finally:
            config.unlink()
    told = re.search(r'\{"group".*\}$', done.stderr.strip())
    blocked = json.loads(told[0])["blocked"] if told else []
    return done, sum(each["count"] for each in blocked if each["reason"] == "no_rule")


def table(only: str) -> list[list[str]]:
    """Run the programs whose title has a word in it, and return their rows."""
    with tempfile.TemporaryDirectory() as name:
        web = Web(Path(name))
        (web.root / "index.html").write_text(PAGE)
        try:
            rows = []
            for tool in TOOLS:
                if only.lower() in tool.title.lower():
                    rows.append(row(tool, web))
                    print("| " + " | ".join(rows[-1]) + " |", flush=True)
            return rows
        finally:
            web.close()
