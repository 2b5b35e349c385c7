"""Loading: types, defaults, precedence, includes, and what names a generation."""

import hashlib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import trustme

from outward.config.load import Loaded, load, load_text
from outward.config.settings import AuditStreamSettings, Limits, McpServer, Settings
from outward.core.decide import decide
from outward.core.model import Credential, DenyDelivery, Ech, LaneChoice, Mode, OptIn, Question
from outward.core.names import canonical_host
from outward.core.reasons import Reason

FULL = """\
version: 1
server:
  listen: 0.0.0.0:0
  ops: "[::1]:9091"
  state: state
  grace: 1m
  limits: {head_bytes: 32KiB, header_count: 50, idle_timeout: 500ms, connections: 7}
records: {url: "postgresql://user@db.example/outward", retention: 2w, audit_stream: {url: "https://siem.example/in?k=v", token_env: SIEM, batch: 1}}
upstream:
  trust: [system, roots.pem]
  crl: [roots.crl]
  dns:
    servers: [127.0.0.1:5353, 9.9.9.9, "[2620:fe::fe]:53"]
    hosts: {Mirror.Example: [10.0.0.7, "fd00::7"]}
  internal: [10.0.0.0/8]
sets: {docs: [docs.example, {host: api.example, port: 8443}]}
groups:
  acme:
    allow: ["@docs"]
    deny: [bad.example]
  acme/dev: {mode: report, lane: inspect, denial: inside, ech: refuse, allow: null}
clients:
  - {group: acme, token_sha256: "%s"}
  - {group: acme/dev, source: 10.1.0.0/16, opt_in: assumed}
  - {issuer: "https://i.example", audience: outward, jwks: keys.json, group_claim: namespace_path, group_map: {"42": acme}}
  - {group: acme, certificate: "spiffe://example/agent"}
  - {group: acme, anyone: true}
vendors: {LLM.example: openai, other.example: {adapter: anthropic, trust_filter: true}}
mcp: [{host: mcp.example, tools: {search: tavily}}]
""" % ("a" * 64)


@pytest.fixture
def full(tmp_path: Path) -> Loaded:
    trustme.CA().cert_pem.write_to_path(tmp_path / "roots.pem")
    (tmp_path / "roots.crl").write_text("-----BEGIN X509 CRL-----")
    (tmp_path / "outward.yaml").write_text(FULL)
    return load(tmp_path / "outward.yaml", env={"SIEM": "s"}, machine={}, vendor_of={"api.openai.com": "openai"}.get)


def allowed(loaded: Loaded, host: str, port: int = 443, group: str = "dev") -> bool:
    assert loaded.policy is not None, loaded.findings
    return decide(loaded.policy, Question(group, canonical_host(host), port)).allowed


def text(groups: str, head: str = "version: 1") -> Loaded:
    return load_text(f"{head}\ngroups:\n  {groups}\nclients: [{{group: dev, anyone: true}}]\n", env={}, machine={})


def test_every_setting_arrives_typed_and_resolved(full: Loaded, tmp_path: Path):
    assert full.ok
    assert full.settings == Settings(
        listen=("0.0.0.0", 0),
        ops=("::1", 9091),
        state=tmp_path / "state",
        grace=60.0,
        records_url="postgresql://user@db.example/outward",
        retention=1_209_600.0,
        audit_stream=AuditStreamSettings("https://siem.example/in?k=v", token_env="SIEM", batch=1),
        trust=("system", str(tmp_path / "roots.pem")),
        crl=(str(tmp_path / "roots.crl"),),
        dns_servers=(("127.0.0.1", 5353), ("9.9.9.9", 53), ("2620:fe::fe", 53)),
        dns_hosts={"mirror.example": (ip_address("10.0.0.7"), ip_address("fd00::7"))},
        vendors={"llm.example": "openai", "other.example": "anthropic"},
        trusted_vendors=frozenset({"other.example"}),
        mcp=(McpServer("mcp.example", {"search": "tavily"}),),
        limits=Limits(head_bytes=32_768, header_count=50, idle_timeout=0.5, connections=7),
    )


def test_the_policy_arrives_whole(full: Loaded, tmp_path: Path):
    policy = full.policy
    assert policy is not None
    assert policy.internal == (ip_network("10.0.0.0/8"),)
    dev = policy.groups["acme/dev"]
    assert (dev.mode, dev.lane, dev.denial, dev.ech) == (
        Mode.REPORT,
        LaneChoice.INSPECT,
        DenyDelivery.INSIDE,
        Ech.REFUSE,
    )
    assert [entry.kind for entry in policy.clients] == [
        Credential.TOKEN, Credential.SOURCE, Credential.JWT, Credential.CERTIFICATE, Credential.ANYONE,
    ]  # fmt: skip
    assert policy.clients[1].opt_in is OptIn.ASSUMED
    assert policy.clients[2].jwks == str(tmp_path / "keys.json")
    assert policy.clients[2].group_map == {"42": "acme"}
    assert str(policy.clients[0].place) == f"{tmp_path}/outward.yaml:23"


@pytest.mark.parametrize(
    ("host", "vendor"),
    [("llm.example", "openai"), ("api.openai.com", "openai"), ("mcp.example", "mcp"), ("docs.example", None)],
)
def test_the_files_vendors_lie_over_the_shipped_ones(full: Loaded, host: str, vendor: str | None):
    assert full.policy is not None
    assert full.policy.vendor_of(host) == vendor


def test_defaults_are_those_of_the_settings():
    loaded = load_text("version: 1", env={"HOME": "/home/someone"}, machine={})
    assert loaded.settings == Settings(state=Path("/home/someone/.local/state/outward"))


@pytest.mark.parametrize("allow", ["[]", "null", ""])
def test_an_empty_list_allows_nothing(allow: str):
    assert not allowed(text(f"dev: {{allow: {allow}}}"), "a.example")


@pytest.mark.parametrize(
    ("rule", "host", "port", "expected"),
    [
        ("a.example", "a.example", 443, True),
        ("a.example", "a.example", 80, True),
        ("a.example", "a.example", 8443, False),
        ("a.example:8443", "a.example", 8443, True),
        ("a.example:8443", "a.example", 443, False),
        ("{host: a.example, ports: [22, 8443]}", "a.example", 22, True),
        ("A.Example.", "a.example", 443, True),
        ("bücher.example", "xn--bcher-kva.example", 443, True),
        ('"*.a.example"', "b.a.example", 443, True),
        ('"*.a.example"', "a.example", 443, False),
        ('"*"', "b.example", 443, True),
        ('"*"', "192.0.2.1", 443, False),
        ("192.0.2.0/24", "192.0.2.1", 443, True),
        ('"[2001:db8::1]:22"', "[2001:db8::1]", 22, True),
        ('"*:8443"', "b.example", 8443, True),
        ('{host: "*.github.io", public_suffix: true}', "b.github.io", 443, True),
        ("no", "no", 443, True),
    ],
)
def test_rules_mean_what_they_say(rule: str, host: str, port: int, expected: bool):
    assert allowed(text(f"dev: {{allow: [{rule}]}}"), host, port) is expected


@pytest.mark.parametrize("rule", ["a.example", '"*.example"', "{host: a.example}", '"*"'])
def test_a_deny_rule_covers_every_port_and_may_cover_public_suffixes(rule: str):
    loaded = text(f'dev: {{allow: ["a.example:22", a.example], deny: [{rule}]}}')
    assert not allowed(loaded, "a.example", 22)
    assert not allowed(loaded, "a.example", 443)


def test_the_environment_lies_over_the_file(tmp_path: Path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:p@db/x\n")
    env = {
        "OUTWARD_LISTEN": "127.0.0.1:1",
        "OUTWARD_DNS_SERVERS": "127.0.0.1:53, 9.9.9.9",
        "OUTWARD_RECORDS_URL_FILE": str(secret),
        "OUTWARD_OPS": "",
    }
    loaded = load_text("version: 1\nserver: {listen: 127.0.0.1:2, ops: 127.0.0.1:3}", env=env, machine={})
    assert loaded.settings is not None
    assert loaded.settings.listen == ("127.0.0.1", 1)
    assert loaded.settings.ops == ("127.0.0.1", 3)
    assert loaded.settings.dns_servers == (("127.0.0.1", 53), ("9.9.9.9", 53))
    assert loaded.settings.records_url == "postgresql://u:p@db/x"
    assert loaded.files == (secret,)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"OUTWARD_LISTEN": "nowhere"}, "`listen`: expected an address and a port, such as `127.0.0.1:8080`"),
        ({"OUTWARD_RECORDS_URL": "sqlite", "OUTWARD_RECORDS_URL_FILE": "x"}, "both `OUTWARD_RECORDS_URL` and `OUTWARD_RECORDS_URL_FILE` are set"),
        ({"OUTWARD_UPSTREAM_PROXY_FILE": "missing"}, "cannot read the file that `OUTWARD_UPSTREAM_PROXY_FILE` names: no such file or directory"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(env: dict[str, str], message: str):
    (finding,) = load_text("version: 1", env=env, machine={}).findings
    assert finding.message == message
    assert finding.place is not None
    assert finding.place.file.startswith("$OUTWARD_")


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder / "outward.yaml"


def test_included_files_are_merged_in_the_order_of_their_names(tmp_path: Path):
    main = write(
        tmp_path,
        {
            "outward.yaml": "version: 1\ninclude: [groups/*.yaml]\ngroups: {a: {allow: ['@s']}}\n",
            "groups/b.yaml": "groups: {b: {}}\nclients: [{group: b, anyone: true}]\n",
            "groups/a.yaml": "version: 1\nsets: {s: [s.example]}\nclients: [{group: a, source: 10.0.0.1}]\n",
            "groups/empty.yaml": "",
            "groups/.hidden.yaml": "nonsense: true",
        },
    )
    loaded = load(main, env={}, machine={})
    assert loaded.ok
    assert loaded.policy is not None
    assert list(loaded.policy.groups) == ["a", "b"]
    assert [entry.group for entry in loaded.policy.clients] == ["a", "b"]
    assert allowed(loaded, "s.example", group="a")
    assert [path.name for path in loaded.files] == ["outward.yaml", "a.yaml", "b.yaml", "empty.yaml"]


def test_a_group_in_two_files_is_an_error_that_names_both(tmp_path: Path):
    main = write(
        tmp_path,
        {
            "outward.yaml": "version: 1\ninclude: [b.yaml]\ngroups: {a: {}}\n",
            "b.yaml": "groups:\n  a: {allow: ['*.com']}\n",
        },
    )
    findings = load(main, env={}, machine={}).findings
    assert [(each.ident, each.message, each.help) for each in findings] == [
        ("E017", "`a` is defined twice in `groups`", f"it was first defined at {main}:3")
    ]


def test_an_included_file_may_not_change_settings(tmp_path: Path):
    main = write(
        tmp_path, {"outward.yaml": "version: 1\ninclude: [b.yaml]\n", "b.yaml": "server: {}\ninclude: [c.yaml]\n"}
    )
    findings = load(main, env={}, machine={}).findings
    assert [each.message for each in findings] == [
        "`server` belongs in the main file", "`include` belongs in the main file",
    ]  # fmt: skip


def test_a_pattern_without_files_is_only_a_warning(tmp_path: Path):
    loaded = load(write(tmp_path, {"outward.yaml": "version: 1\ninclude: [groups/*.yaml]\n"}), env={}, machine={})
    assert loaded.ok
    assert [each.ident for each in loaded.findings] == ["W105", "W101"]


def test_a_missing_main_file_is_an_error_and_still_watched(tmp_path: Path):
    loaded = load(tmp_path / "none.yaml", env={}, machine={})
    assert not loaded.ok
    assert loaded.files == (tmp_path / "none.yaml",)


def test_the_generation_names_the_content_of_all_files(tmp_path: Path):
    files = {"outward.yaml": "version: 1\ninclude: [b.yaml]\n", "b.yaml": "groups: {a: {}}\n"}
    main = write(tmp_path, files)
    before, again = load(main, env={}, machine={}), load(main, env={}, machine={})
    write(tmp_path, {"b.yaml": "groups: {b: {}}\n"})
    after = load(main, env={}, machine={})
    assert before.policy is not None
    assert again.policy is not None
    assert after.policy is not None
    assert before.policy.generation == again.policy.generation != after.policy.generation
    expected = hashlib.sha256(b"".join(len(each).to_bytes(8, "big") + each.encode() for each in files.values()))
    assert before.policy.generation == expected.hexdigest()[:12]


def test_a_long_list_loads():
    names = "".join(f"      - n{number}.long.example\n" for number in range(20_000))
    loaded = text(f"dev:\n    allow:\n{names}")
    assert loaded.ok
    assert allowed(loaded, "n19999.long.example")
    assert not allowed(loaded, "n20000.long.example")


@pytest.mark.parametrize(
    "server",
    [
        '{listen: "127.0.0.1:0", ops: "127.0.0.1:0"}',
        '{listen: "127.0.0.1:8080", ops: "127.0.0.2:8080"}',
        '{listen: "0.0.0.0:8080", ops: "[::1]:8080"}',
        '{listen: "[::]:8080", ops: "127.0.0.1:8080"}',
    ],
)
def test_listeners_that_can_be_open_at_once_are_no_error(server):
    """Free ports, and addresses that do not include each other."""
    assert load_text(f"version: 1\nserver: {server}\n", env={}, machine={}).settings is not None


def test_a_file_that_is_no_certificate_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    """Else `check` passes what `serve` does not start with."""
    (tmp_path / "roots.pem").write_text("-----BEGIN X509 CRL-----")
    (tmp_path / "roots.crl").write_text("-----BEGIN CERTIFICATE-----")
    (tmp_path / "outward.yaml").write_text("version: 1\nupstream: {trust: [roots.pem], crl: [roots.crl]}\n")
    loaded = load(tmp_path / "outward.yaml", env={}, machine={})
    assert [finding.ident for finding in loaded.findings] == ["E022", "E022"]
    assert loaded.settings is None


@pytest.mark.parametrize(("days", "reason"), [(0, Reason.RULE_EXPIRED), (1, Reason.RULE), (90, Reason.RULE)])
def test_a_rule_that_is_warned_of_is_a_rule(days: int, reason: Reason):
    """One that ends soon allows until then; one that has ended says so, and hides no other finding."""
    day = datetime.now(UTC).date() + timedelta(days=days)
    text = f"version: 1\ngroups: {{g: {{allow: [{{host: a.example, until: {day}}}]}}}}\nclients: [{{group: g, anyone: true}}]\n"
    policy = load_text(text, env={}, machine={}).policy
    assert policy is not None
    assert decide(policy, Question("g", canonical_host("a.example"), 443)).reason is reason
