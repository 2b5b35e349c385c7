"""Secrets that the client never holds: a real proxy, curl and git, and an origin that tells what it was sent."""

import base64
import http.server
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from harness.misplacing import ATTACKS, HELD, VALUE, Origin, curl
from harness.process import OUTWARD, Served, environment, outward
from harness.waiting import wait_for


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    running = Origin(tmp_path_factory.mktemp("origin"))
    yield running
    running.close()


@pytest.fixture
def origin(lasting: Origin) -> Origin:
    """An origin that was sent nothing yet."""
    lasting.heads.clear()
    return lasting


def configuration(folder: Path, origin: Origin, secret: str = "env: SECRET") -> Path:
    path = folder / "outward.yaml"
    inject = 'inject: {header: Authorization, value: "Bearer {github}"}'
    path.write_text(
        "version: 1\n"
        f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{folder}/state'}}\n"
        f"secrets: {{github: {{{secret}, hosts: [api.test], groups: [dev]}}}}\n"
        f"upstream: {{trust: ['{origin.ca}'], internal: [127.0.0.1/32], dns: {{hosts: {{api.test: [127.0.0.1], "
        "other.test: [127.0.0.1]}}}\n"
        "groups:\n  dev:\n    lane: inspect\n    allow:\n"
        f"      - {{host: api.test, ports: [{origin.port}, {origin.plain}], methods: [GET, POST], paths: ['/v1/**'], {inject}}}\n"
        f"      - {{host: api.test, ports: [{origin.port}], paths: ['/git/**'], inject: {{basic: 'me:{{github}}'}}}}\n"
        f"      - {{host: api.test, ports: [{origin.port}], paths: ['/public/**']}}\n"
        f"      - {{host: other.test, ports: [{origin.port}, {origin.plain}]}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, lasting: Origin) -> Iterator[Served]:
    """A proxy for all tests that count nothing of it."""
    running = Served(configuration(tmp_path_factory.mktemp("served"), lasting), SECRET=VALUE)
    yield running
    running.end()


@pytest.fixture
def fresh(tmp_path: Path, origin: Origin) -> Iterator[Served]:
    running = Served(configuration(tmp_path, origin), SECRET=VALUE)
    yield running
    running.end()


def everything(served: Served, told: str) -> str:
    """Return all that the proxy has said: to its client, its output, its log, its metrics, its store."""
    state = served.config.parent / "state"
    files = (path.read_bytes() for path in state.rglob("*") if path.is_file())
    store = b"".join(files).decode("latin-1")
    return told + served.log + json.dumps(served.events) + served.get("/metrics")[1] + served.get("/readyz")[1] + store


@pytest.mark.parametrize(
    "header",
    [None, f"Authorization: Bearer {HELD}", f"authorization: token {HELD}"],
    ids=["nothing", "bearer", "token"],
)
def test_the_value_is_set_where_the_rule_says(served: Served, origin: Origin, header: str | None) -> None:
    """The client sends nothing, or the placeholder; the value is in no output of the proxy, and masked in the answer."""
    done = curl(served, *(["-H", header] if header else []), f"https://api.test:{origin.port}/v1/x")
    assert "200 " in done.stdout, done.stderr
    assert f"uthorization: {'token' if header and 'token' in header else 'Bearer'} {VALUE}\n" in origin.heads[0]
    assert f"you sent {'token' if header and 'token' in header else 'Bearer'} {HELD}" in done.stdout
    wait_for(lambda: served.events)
    assert VALUE not in everything(served, done.stdout)


def test_basic_credentials_are_masked_where_the_destination_sends_them_back(served: Served, origin: Origin) -> None:
    done = curl(served, f"https://api.test:{origin.port}/git/x")
    sent, told = (base64.b64encode(f"me:{each}".encode()).decode() for each in (VALUE, HELD))
    assert f"uthorization: Basic {sent}\n" in origin.heads[0]
    assert f"you sent Basic {told}" in done.stdout


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_placeholder_elsewhere_or_another_credential_is_refused(served: Served, origin: Origin, attack: str) -> None:
    words, path = ATTACKS[attack]
    done = curl(served, *words, f"https://api.test:{origin.port}{path}")
    assert "403 " in done.stdout, done.stderr
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert told["reason"] == "secret_misdirected"
    assert origin.heads == []
    event = wait_for(lambda: next((each for each in served.events if each["id"] == told["decision_id"]), None))
    assert (event["reason"], event["host"]) == ("secret_misdirected", "api.test")
    assert VALUE not in everything(served, done.stdout)


def test_another_host_never_gets_it(served: Served, origin: Origin) -> None:
    """By a redirect that the client follows, in the clear, by a name, and by the Host field."""
    redirect = f"https://api.test:{origin.port}/v1/?to=https://other.test:{origin.port}/x"
    done = curl(served, "-L", "--oauth2-bearer", HELD, "--location-trusted", redirect)
    assert "secret_misdirected" in done.stdout
    assert len(origin.heads) == 1  # the redirect itself
    origin.heads.clear()
    curl(served, "-L", redirect)
    assert [VALUE in head for head in origin.heads] == [True, False]
    origin.heads.clear()
    done = curl(served, "-H", f"Authorization: Bearer {HELD}", f"http://api.test:{origin.plain}/v1/x")
    assert ("secret_misdirected" in done.stdout, origin.heads) == (True, [])
    curl(served, f"http://api.test:{origin.plain}/v1/x")
    assert VALUE not in origin.heads.pop()
    done = curl(served, f"https://{HELD}.api.test:{origin.port}/v1/x")
    assert "secret_misdirected" in done.stdout
    done = curl(served, "-H", "Host: other.test", f"https://api.test:{origin.port}/v1/x")
    assert ("host_mismatch" in done.stdout, origin.heads) == (True, [])


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/x"), ("GET", "/elsewhere")])
def test_only_the_rules_own_methods_and_paths(served: Served, origin: Origin, method: str, path: str) -> None:
    done = curl(served, "-X", method, f"https://api.test:{origin.port}{path}")
    assert ("403 " in done.stdout, origin.heads) == (True, [])
    curl(served, f"https://api.test:{origin.port}/public/x")
    assert VALUE not in origin.heads.pop()


def test_in_a_body_a_placeholder_passes(served: Served, origin: Origin) -> None:
    """An agent that has printed its environment carries it in its history."""
    done = curl(served, "--data", f"env: {HELD}", f"https://api.test:{origin.port}/v1/x")
    assert "200 " in done.stdout, done.stderr
    assert f"env: {HELD}" in origin.heads[0]


def test_uses_and_placeholders_in_bodies_are_counted(fresh: Served, origin: Origin) -> None:
    """By the secret's name; a body is counted once, however often the placeholder stands in it."""
    curl(fresh, f"https://api.test:{origin.port}/v1/x")
    curl(fresh, f"https://api.test:{origin.port}/public/x")
    curl(fresh, "--data", f"{HELD} {HELD}", f"https://api.test:{origin.port}/v1/x")
    curl(fresh, "--data", "nothing", f"https://api.test:{origin.port}/v1/x")
    curl(fresh, "--data", f"env={HELD}", f"http://other.test:{origin.plain}/")
    counted = {name: fresh.metric_sum(f"outward_secret_{name}_total", 'secret="github"') for name in ("uses", "bodies")}
    assert counted == {"uses": 3.0, "bodies": 2.0}


def test_who_used_which_secret_is_listed(fresh: Served, origin: Origin, tmp_path: Path) -> None:
    curl(fresh, f"https://api.test:{origin.port}/v1/x")

    def listed(**more: str) -> "subprocess.CompletedProcess[str]":
        return outward("secrets", "--config", fresh.config, "--json", **more)

    found = wait_for(lambda: (each := json.loads(listed(SECRET=VALUE).stdout))["uses"] and each)
    (use,) = found["uses"]
    about = ("github", "dev", "127.0.0.1", "api.test", origin.port)
    assert tuple(use[name] for name in ("secret", "group", "client", "host", "port")) == about
    (secret,) = found["secrets"]
    assert secret == {
        "name": "github", "from": "env SECRET", "hosts": ["api.test"], "groups": ["dev"], "set": True, "problem": None,
        "last_used": use["last"], "misdirected": 0, "misdirected_last": None,
    }  # fmt: skip
    (secret,) = json.loads(listed().stdout)["secrets"]
    assert (secret["set"], secret["problem"]) == (False, "the secret github: the variable SECRET is empty")
    shown = outward("secrets", "--config", fresh.config, SECRET=VALUE).stdout
    assert "env SECRET" in shown
    assert f"api.test:{origin.port}" in shown
    assert VALUE not in shown + json.dumps(found)


def test_uses_are_audited_once_an_hour(fresh: Served, origin: Origin) -> None:
    """Who, which, where; never the value."""
    for _ in range(3):
        curl(fresh, f"https://api.test:{origin.port}/v1/x")

    def told() -> list[dict[str, object]]:
        words = ["audit", "--type", "secret_used", "--config", str(fresh.config), "--json"]
        done = subprocess.run(
            [OUTWARD, *words], env={**environment(), "SECRET": VALUE}, capture_output=True, check=False
        )
        return json.loads(done.stdout or "[]")

    (event,) = wait_for(told)
    assert (event["target_details"], event["entity_path"]) == ("github", "dev")
    assert VALUE not in json.dumps(event)


def test_a_file_is_read_again_when_it_changes(tmp_path: Path, origin: Origin) -> None:
    """Without a restart; what cannot be used leaves the last good in force, and is told."""
    secret = tmp_path / "token"
    secret.write_text("first-value\n")
    running = Served(configuration(tmp_path, origin, f"file: '{secret}'"))
    try:
        curl(running, f"https://api.test:{origin.port}/v1/x")
        assert "Bearer first-value\n" in origin.heads.pop()
        secret.write_text("")
        wait_for(lambda: "the file" in (running.readiness()["checks"].get("rotation") or ""))
        curl(running, f"https://api.test:{origin.port}/v1/x")
        assert "Bearer first-value\n" in origin.heads.pop()
        secret.write_text("second-value")

        def renewed() -> bool:
            curl(running, f"https://api.test:{origin.port}/v1/x")
            return "Bearer second-value\n" in origin.heads.pop()

        wait_for(renewed)
    finally:
        running.end()


def test_without_its_value_the_proxy_does_not_start(tmp_path: Path, origin: Origin) -> None:
    words = [OUTWARD, "serve", "--config", configuration(tmp_path, origin)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "the secret github: the variable SECRET is empty" in done.stderr


def test_what_is_too_short_for_a_secret_is_refused(tmp_path: Path, origin: Origin) -> None:
    """It would be masked in every answer that holds the letters."""
    words = [OUTWARD, "serve", "--config", configuration(tmp_path, origin)]
    variables = {**environment(), "SECRET": "EMPTY"}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "the secret github: the variable SECRET holds fewer than 8 characters" in done.stderr


LOOK = """
import os, pathlib, sys
wanted = os.environ["PART"].encode() + b"-R3al"  # in two parts, so that the search does not find itself
found = []
for process in pathlib.Path("/proc").iterdir():
    for name in ("environ", "cmdline"):
        try:
            if process.name.isdigit() and wanted in (process / name).read_bytes():
                found.append(f"{process.name}/{name}")
        except OSError:
            pass
print(os.environ["GITHUB_TOKEN"], os.environ["COPY"], found)
"""


@pytest.mark.parametrize("options", [(), ("--jail",)], ids=["free", "jailed"])
def test_a_hidden_variable_is_in_no_process_of_the_command(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Jailed, in none that it can see at all; free, in those of its caller alone."""
    value = "ghp-R3al"
    more = {"GITHUB_TOKEN": value, "COPY": f"https://x:{value}@github.com", "PART": "ghp", "HOME": str(tmp_path)}
    done = subprocess.run(
        [OUTWARD, "run", "--hide", "GITHUB_TOKEN", *options, "--", shutil.which("python3") or "python3", "-c", LOOK],
        env={**environment(), **more},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "no jail" in done.stderr:
        pytest.skip(done.stderr)
    held = "outward-secret-GITHUB_TOKEN"
    assert done.stdout.startswith(f"{held} https://x:{held}@github.com"), done.stderr
    if options:
        assert done.stdout.endswith("[]\n")


def test_a_jailed_command_cannot_read_the_file_of_a_secret(tmp_path: Path, origin: Origin) -> None:
    """Neither by its name nor by the link that the policy names; it reads its own files as ever."""
    (tmp_path / "token").write_text(VALUE)
    (tmp_path / "other").write_text("its own\n")
    (tmp_path / "link").symlink_to("token")
    config = configuration(tmp_path, origin, f"file: '{tmp_path / 'link'}'")
    done = subprocess.run(
        [OUTWARD, "run", "--jail", "--config", config, "--", "cat", "link", "token", "other"],
        env={**environment(), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "no jail" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "its own\n", done.stderr


def test_a_hidden_variable_reaches_its_host_alone(tmp_path: Path, origin: Origin) -> None:
    """By the shipped table, which knows GitHub's hosts; another that was sent is refused."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    config = tmp_path / "outward.yaml"
    config.write_text(
        "version: 1\n"
        f"server: {{state: '{tmp_path}/state'}}\n"
        "upstream: {dns: {hosts: {api.github.com: [127.0.0.1], other.test: [127.0.0.1]}}, internal: [127.0.0.1/32], "
        f"trust: ['{tmp_path}/ca.pem', '{origin.ca}']}}\n"
        f"groups: {{dev: {{allow: ['api.github.com:{{port}}', 'other.test:{origin.port}']}}}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    heads: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heads.append(str(self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.github.com").configure_cert(context)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as github:
        github.socket = context.wrap_socket(github.socket, server_side=True)
        threading.Thread(target=github.serve_forever, daemon=True).start()
        port = github.server_address[1]
        config.write_text(config.read_text().replace("{port}", str(port)))
        script = (
            'fetch() { curl -sS -o /dev/null -w "%{http_code}\\n" -H "Authorization: Bearer $GITHUB_TOKEN" "$1"; }\n'
            f"fetch https://api.github.com:{port}/user; fetch https://other.test:{origin.port}/\n"
            f"curl -sS -o /dev/null -w '%{{http_code}}\\n' https://api.github.com:{port}/\n"
        )
        done = subprocess.run(
            [OUTWARD, "run", "--config", config, "--hide", "GITHUB_TOKEN", "--", "sh", "-c", script],
            env={**environment(), "GITHUB_TOKEN": VALUE, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        github.shutdown()
    assert [f"Bearer {VALUE}" in head for head in heads] == [True, False], done.stderr
    assert done.stdout.split() == ["200", "000", "200"] or done.stdout.split()[::2] == ["200", "200"], done.stdout
    assert VALUE not in done.stdout + done.stderr + "".join(origin.heads)


def test_a_dummy_for_a_key_is_hidden_nowhere(tmp_path: Path) -> None:
    """Programs that want a key where none is needed are given one: its letters are those of much else."""
    done = subprocess.run(
        [OUTWARD, "run", "--hide-known", "--", "sh", "-c", 'echo "$OPENAI_API_KEY $OTHER"'],
        env={**environment(), "OPENAI_API_KEY": "none", "OTHER": "nonesuch", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "none nonesuch\n", done.stderr


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("NOBODY_KNOWS", "secrets:\n  nobody_knows: {env: NOBODY_KNOWS, hosts: [api.example.com]}\n"),
        ("NOBODY_KNOWS", "or a file that you name with --config"),
        ("NOBODY_KNOWS", 'inject: {header: Authorization, value: "Bearer {nobody_knows}"}}'),
        ("NPM_TOKEN,GITHUB_TOKEN", "give --hide once for each"),
        ("AWS_SECRET_ACCESS_KEY", "it signs requests and is never sent"),
        ("GITLAB_TOKEN", "GITLAB_TOKEN is not set"),
    ],
)
def test_what_cannot_be_hidden_is_refused_in_words(variable: str, told: str) -> None:
    words = [OUTWARD, "run", "--hide", variable, "--", "true"]
    variables = {name: value for name, value in os.environ.items() if name != "GITLAB_TOKEN"}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert told in done.stderr
