"""The shape of the configuration file, as models (see `shapes`); also what `schema.json` is made from.

Owns names, types and ranges of keys. Input scalars are text (see `document`); each type reads its own. Rules are
compiled from nodes (see `rules`), so that a long list costs no models; `RuleMapping` describes them to editors.
"""
# ruff: noqa: RUF012 - each model gets a copy of its defaults

from typing import Annotated, Any, Literal

from outward.config import patterns, values
from outward.config.fields import (
    TEXT,
    AddressText,
    Day,
    DnsServer,
    Endpoint,
    Flag,
    HostName,
    NetworkText,
    Rate,
    Seconds,
    Sha256,
    Size,
    Text,
    Whole,
    reader,
)
from outward.config.settings import DEFAULT_STATE, Limits
from outward.config.shapes import BeforeValidator, Field, Model, WithJsonSchema
from outward.core.model import (
    DenyDelivery,
    Ech,
    Filter,
    Grants,
    LaneChoice,
    Mode,
    OnViolation,
    OptIn,
    RecordDetail,
    Unfilterable,
)
from outward.core.reasons import Reason

_LIMITS = Limits()


class LimitsModel(Model):
    """What one client, and all of them, may cost."""

    head_bytes: Size = _LIMITS.head_bytes
    header_count: Annotated[Whole, Field(ge=1)] = _LIMITS.header_count
    body_inspect_bytes: Size = _LIMITS.body_inspect_bytes
    connections: Annotated[Whole, Field(ge=1)] = _LIMITS.connections
    connections_per_client: Annotated[Whole, Field(ge=1)] = _LIMITS.connections_per_client
    head_timeout: Seconds = _LIMITS.head_timeout
    handshake_timeout: Seconds = _LIMITS.handshake_timeout
    connect_timeout: Seconds = _LIMITS.connect_timeout
    idle_timeout: Seconds = _LIMITS.idle_timeout
    resolve_timeout: Seconds = _LIMITS.resolve_timeout
    shared_tls: Flag = _LIMITS.shared_tls


def _one_worker(text: str) -> int:
    if values.whole(text) != 1:
        raise ValueError("one process serves all connections; to use more cores, run more pods")
    return 1


class CaModel(Model):
    """A certificate authority that the operator provides: PEM files, the signing certificate first."""

    cert: Text
    key: Text


class TlsModel(Model):
    """TLS to the proxy itself: its certificate, and the CA of its clients' certificates."""

    cert: Text
    key: Text
    client_ca: Text | None = None


class ServerModel(Model):
    """The proxy's own ports and folder."""

    listen: Endpoint = ("127.0.0.1", 8080)
    transparent: Endpoint | None = None
    ops: Endpoint = ("127.0.0.1", 9090)
    state: Text = DEFAULT_STATE
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/@-]{0,127}$")] | None = None
    ca: CaModel | None = None
    tls: TlsModel | None = None
    workers: Annotated[Literal[1], reader(_one_worker)] = 1
    grace: Seconds = 30.0
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    limits: LimitsModel = LimitsModel()


class AuditStreamModel(Model):
    """An HTTP endpoint that gets every audit event, denials too where it wants them, and the secret that it knows."""

    url: Annotated[str, reader(values.stream_url)]
    token_env: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    token_file: Text | None = None
    batch: Annotated[Whole, Field(ge=1, le=1000)] = 100
    denials: Flag = False


class ExportModel(Model):
    """A collector that gets every decision as OpenTelemetry logs, and the file of more header fields."""

    otlp: Annotated[str, reader(values.otlp_url)]
    headers_file: Text | None = None


class AuditModel(Model):
    """How long audit events are kept, and where the head of their chain is told to: a file, or an endpoint's URL."""

    retention: Seconds | None = None
    anchor: Annotated[str, reader(values.anchor)] | None = None


class RecordsModel(Model):
    """Where decisions are kept, and for how long."""

    url: Annotated[str, reader(values.records_url)] = "sqlite"
    retention: Seconds = 30 * 86_400.0
    keep: Literal["all", "denials"] = "all"
    max_bytes: Annotated[Size, Field(ge=1024 * 1024)] = 8 * 1024**3
    spill_bytes: Annotated[Size, Field(ge=1024 * 1024)] = 512 * 1024**2
    export: ExportModel | None = None
    audit: AuditModel = AuditModel()
    audit_stream: AuditStreamModel | None = None


class DnsModel(Model):
    """How names are resolved."""

    servers: list[DnsServer] = []
    hosts: dict[HostName, list[AddressText]] = {}


class UpstreamModel(Model):
    """What lies between the proxy and the internet."""

    trust: Annotated[list[Text], Field(min_length=1)] = ["system"]
    crl: list[Text] = []
    dns: DnsModel = DnsModel()
    internal: list[NetworkText] = []
    proxy: Annotated[str, reader(values.parent_proxy)] | None = None
    no_proxy: list[Annotated[str, reader(patterns.host_pattern)]] = []


class InjectModel(Model):
    """What the proxy sets on requests: `header` and `value`, or `basic` credentials; `{name}` stands for a secret."""

    header: Text | None = None
    value: Text | None = None
    basic: Text | None = None


class RuleMapping(Model):
    """A rule with more than a host."""

    host: Text
    port: Annotated[Whole, Field(ge=1, le=65_535)] | None = None
    ports: Annotated[list[Annotated[Whole, Field(ge=1, le=65_535)]], Field(min_length=1)] | None = None
    methods: Annotated[list[Annotated[str, Field(pattern="^[A-Z][A-Z0-9_-]*$")]], Field(min_length=1)] | None = None
    paths: Annotated[list[Annotated[str, Field(pattern="^/")]], Field(min_length=1)] | None = None
    encoded_slash: Flag = False
    tls: Flag = True
    public_suffix: Flag = False
    addresses: Annotated[list[NetworkText], Field(min_length=1)] | None = None
    until: Day | None = None
    owner: Text | None = None
    note: Text | None = None
    inject: InjectModel | None = None


Rules = list[
    Annotated[str, Field(description="host, *.host, .host, *, host:port, address, network or @set")] | RuleMapping
]


class NameFileModel(Model):
    """A file of host names, one a line, in the folder of this file or below it."""

    file: Text


def _searches(text: str) -> int | str:
    return text if text == "unlimited" else values.whole(text)


class WebSearchModel(Model):
    """Hosted search; each key is inherited by itself."""

    enabled: Flag | None = None
    locked: Flag | None = None
    opt_in: OptIn | None = None
    sources: Literal["inherit"] | Rules | None = None
    filter: Filter | None = None
    max_searches: Annotated[int | Literal["unlimited"], reader(_searches)] | None = None
    per_day: Annotated[Whole, Field(ge=0)] | None = None
    unfilterable: Unfilterable | None = None
    on_violation: OnViolation | None = None
    record: RecordDetail | None = None


class GroupLimitsModel(Model):
    """How much a group and all below it may ask for, together; an ancestor's limits hold beside them."""

    requests_per_second: Rate | None = None
    burst: Annotated[Whole, Field(ge=1)] | None = None
    connections: Annotated[Whole, Field(ge=1)] | None = None


class GroupModel(Model):
    """A group; what it does not say is inherited."""

    allow: Rules | None = None
    deny: Rules | None = None
    ceiling: Rules | None = None
    ignore: Rules | None = None
    mode: Mode | None = None
    lane: LaneChoice | None = None
    denial: DenyDelivery | None = None
    ech: Ech | None = None
    grants: Grants | None = None
    limits: GroupLimitsModel | None = None
    web_search: WebSearchModel = WebSearchModel()


def _claim_path(value: Any) -> list[Any]:
    """Read a claim's name, or the keys that lead to a nested one."""
    path: list[Any] = value if isinstance(value, list) else [value]
    if not 1 <= len(path) <= _CLAIM_DEPTH or not all(isinstance(key, str) and key for key in path):
        raise ValueError("expected a claim's name, or the keys that lead to it, such as `[kubernetes.io, namespace]`")
    return path


_CLAIM_DEPTH = 8
_CLAIM = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": _CLAIM_DEPTH}]}
ClaimPath = Annotated[tuple[str, ...], BeforeValidator(_claim_path), WithJsonSchema(_CLAIM)]


class ClientModel(Model):
    """One identity and the group that it belongs to."""

    group: Text | None = None
    token_sha256: Sha256 | None = None
    source: NetworkText | None = None
    issuer: Text | None = None
    audience: Text | None = None
    jwks: Text | None = None
    group_claim: ClaimPath | None = None
    group_map: dict[str, str] | None = None
    record_claims: Annotated[list[ClaimPath], Field(min_length=1, max_length=16)] | None = None
    certificate: Text | None = None
    anyone: Flag | None = None
    opt_in: OptIn | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/@-]{0,63}$")] | None = None


class VendorModel(Model):
    """A host that speaks a vendor's format, whether its filter is trusted, and what passes that no table names."""

    adapter: Text
    trust_filter: Flag = False
    allow_endpoints: list[Annotated[str, Field(pattern=r"^[A-Z]+(,[A-Z]+)* /")]] = []
    allow_tools: list[Text] = []
    allow_fields: list[Text] = []
    unknown: Literal["deny", "report"] = "deny"


class SecretModel(Model):
    """Where a secret's value is, and for which hosts and groups it may be set."""

    env: Text | None = None
    file: Text | None = None
    hosts: Annotated[list[Text], Field(min_length=1)]
    groups: list[Text] = []


class McpModel(Model):
    """An MCP server whose search tools are governed."""

    host: HostName
    tools: Annotated[dict[str, Text], Field(min_length=1)]


def _vendor(value: Any) -> Any:
    return {"adapter": value} if isinstance(value, str) else value


class CaseModel(Model):
    """A test of the policy: what is expected of one request; without `group`, of the only group."""

    group: Text | None = None
    url: Text
    method: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_-]*$")] | None = None
    expect: Literal["allow", "deny"]
    reason: Reason | None = None


class WebhookModel(Model):
    """An HTTP endpoint that is told of access requests, and of hosts and uses of secrets that are new to a group."""

    url: Annotated[str, reader(values.stream_url)]
    events: Annotated[
        list[Literal["request", "new_host", "secret_new_use", "secret_misdirected"]], Field(min_length=1)
    ] = ["request"]
    format: Literal["json", "slack"] = "json"
    secret_file: Text | None = None


class ListenerTlsModel(Model):
    """TLS to the ops port: its certificate and key, PEM files."""

    cert: Text
    key: Text


class RoleModel(Model):
    """What the holders of a role or group may do, and for which group and those below it; empty for all."""

    role: Literal["viewer", "operator", "admin"]
    group: str = ""


def _path(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class OidcModel(Model):
    """Sign-in to the admin page at a provider of identities; `role_claim` may be a path into nested claims."""

    issuer: Annotated[str, reader(values.issuer_url)]
    client_id: Text
    client_secret_file: Text | None = None
    scopes: list[Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]] = ["profile", "email"]
    role_claim: Annotated[list[Text], Field(min_length=1, max_length=8), BeforeValidator(_path)]
    roles: Annotated[dict[str, RoleModel], Field(min_length=1)]
    session: Annotated[Seconds, Field(le=7 * 86_400.0)] = 8 * 3600.0
    contact: Annotated[str, Field(max_length=200)] | None = None


class AdminModel(Model):
    """How the admin page and the API are reached: addresses, TLS, sign-in."""

    urls: list[Annotated[str, reader(values.web_origin)]] = []
    tls: ListenerTlsModel | None = None
    oidc: OidcModel | None = None


def _allowance(value: Any) -> Any:
    """Read `lane: tunnel`, which without quotes is a mapping."""
    return ": ".join(next(iter(value.items()))) if isinstance(value, dict) and len(value) == 1 else value


class ConfinedModel(Model):
    """Files that may write the groups at or below one path only; `{namespace}` binds a part of a file's name."""

    files: Text
    under: Text
    may: list[
        Annotated[
            Literal["mode", "lane: tunnel", "ech", "inject", "addresses", "grants", "limits"],
            BeforeValidator(_allowance),
        ]
    ] = []


class JailModel(Model):
    """What `run --jail` opens to its command."""

    localhost: Annotated[list[Annotated[Whole, Field(ge=1, le=65_535)]], Field(max_length=64)] = []


class Document(Model):
    """The whole file."""

    version: Annotated[Literal[1], reader(values.whole)]
    include: list[Text | ConfinedModel] = []
    server: ServerModel = ServerModel()
    records: RecordsModel = RecordsModel()
    upstream: UpstreamModel = UpstreamModel()
    sets: dict[str, Rules | NameFileModel] = {}
    groups: dict[str, GroupModel] = {}
    clients: list[ClientModel] = []
    vendors: dict[HostName, Annotated[VendorModel, BeforeValidator(_vendor)]] = {}
    vendor_tables: list[Text] = []
    mcp: list[McpModel] = []
    webhooks: list[WebhookModel] = []
    secrets: dict[str, SecretModel] = {}
    tests: list[CaseModel] = []
    admin: AdminModel = AdminModel()
    jail: JailModel = JailModel()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    from outward.config.spelling import spell_default  # noqa: PLC0415 - for editors and the reference alone
    from outward.config.twins import twin  # noqa: PLC0415 - loads pydantic

    schema = twin(Document).model_json_schema()
    vendor = schema["properties"]["vendors"]
    vendor["additionalProperties"] = {"anyOf": [TEXT, vendor["additionalProperties"]]}
    claim = schema["$defs"]["OidcModel"]["properties"]["role_claim"]
    schema["$defs"]["OidcModel"]["properties"]["role_claim"] = {"anyOf": [TEXT, claim]}
    for model, keys in _said().items():
        properties = (schema if model == "Document" else schema["$defs"][model])["properties"]
        for key, text in keys.items():
            properties[key]["description"] = text
            spell_default(properties[key])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://outward.example/schema.json",
        **schema,
        "title": "Outward configuration",
    }


def _said() -> dict[str, dict[str, str]]:
    """Return what each key is for, by model."""
    from importlib.resources import files  # noqa: PLC0415 - for editors and the reference alone

    import yaml  # noqa: PLC0415 - as above

    found: dict[str, dict[str, str]] = yaml.safe_load(files("outward.config").joinpath("keys.yaml").read_text("utf-8"))
    return found
