"""Settings: what the running parts of the proxy are told, apart from the policy. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from outward.core.addresses import Address
from outward.core.model import Pattern, Place, Rule

DEFAULT_STATE = "~/.local/state/outward"
_DAY = 86_400.0
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them, may cost.

    Attributes:
        head_bytes: longest request or response head.
        header_count: most fields in a head.
        body_inspect_bytes: longest body that is read as a whole (search governance); others stream.
        connections: open client connections in all.
        connections_per_client: open connections of one client: by its token or certificate, if it has shown one, else
            by its address.
        head_timeout: seconds for a request head to arrive.
        handshake_timeout: seconds for a TLS handshake, or for a ClientHello.
        connect_timeout: seconds for a connection upstream, all addresses together.
        idle_timeout: seconds without a byte in a tunnel, or between requests.
        resolve_timeout: seconds for a name.
        shared_tls: a tunnel's connection to its destination may serve the same client's next tunnel there; otherwise
            each tunnel verifies its destination by itself.
    """

    head_bytes: int = 65_536  # as Squid's request_header_max_size
    header_count: int = 100  # as Apache's LimitRequestFields and Python's http.client
    body_inspect_bytes: int = 64 * _MIB  # above what the vendors take: 32 MB, 50 MB
    connections: int = 10_000  # measured: 60 MiB of tunnels, 250 to 550 MiB inspected (docs/benchmarks.md)
    connections_per_client: int = 1_000  # a tenth of all: one client alone crowds nobody out
    head_timeout: float = 10.0  # Apache's RequestReadTimeout begins at 20, nginx has 60: agents are programs
    handshake_timeout: float = 10.0  # as Go's net/http (TLSHandshakeTimeout)
    connect_timeout: float = 10.0  # Envoy has 5 for one address; here several are tried, 0.25 s apart
    idle_timeout: float = 600.0  # as nginx's proxy_timeout for streams
    resolve_timeout: float = 5.0  # as `timeout` in resolv.conf(5)
    shared_tls: bool = False


@dataclass(frozen=True, slots=True)
class McpServer:
    """An MCP server whose search tools are governed.

    Attributes:
        host: canonical name of the server.
        tools: name of the format of a tool's results, by the tool's name.
    """

    host: str
    tools: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """What a configuration lets through at a vendor's host although no table names it.

    Attributes:
        endpoints: methods and paths, `{}` for a segment.
        tools: tool types that count as the client's own.
        fields: keys under which an address is nothing to be fetched.
        report: whether everything unknown passes, and is reported.
    """

    endpoints: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    report: bool = False


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS to the proxy itself.

    Attributes:
        cert, key: PEM files of the listener.
        client_ca: PEM file of the CA that client certificates are verified with; None asks for none.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """What holders of a role may do.

    Attributes:
        role: `viewer`, `operator` or `admin`.
        group: path of the group whose subtree it is for; empty for all of them.
    """

    role: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Oidc:
    """Sign-in to the admin page at a provider of identities (OpenID Connect Core 1.0).

    Attributes:
        issuer: as the provider's ID tokens name it.
        client_id: under which the provider knows this page.
        client_secret_file: file of the secret, read each time; None for a public client.
        scopes: asked for besides `openid`.
        role_claim: path of the claim that names a person's roles or groups.
        roles: what each of them means here; where a person has several, the first in this order is begun with.
        session: seconds after which people sign in anew.
        contact: whom to ask for a role, in words; None names nobody.
    """

    issuer: str
    client_id: str
    client_secret_file: Path | None
    scopes: tuple[str, ...]
    role_claim: tuple[str, ...]
    roles: Mapping[str, Role]
    session: float
    contact: str | None = None

    def place(self, role: str) -> int:
        """Return the place of a role, from 0: its name may be any text, and a cookie holds none of that."""
        return list(self.roles).index(role)


@dataclass(frozen=True, slots=True)
class AdminDoor:
    """How people and programs reach the admin page and the API.

    Attributes:
        urls: addresses that it is reached at, as browsers write them: `https://outward.example.com`.
        tls: of the ops port; None speaks plain HTTP.
        oidc: sign-in by a provider; None for tokens alone.
    """

    urls: tuple[str, ...] = ()
    tls: TlsSettings | None = None
    oidc: Oidc | None = None


@dataclass(frozen=True, slots=True)
class AuditStreamSettings:
    """Where audit events are sent.

    Attributes:
        url: of the endpoint (which may hold a secret: never log it).
        token_env: variable of the environment that holds the shared secret; None for none.
        token_file: file that holds it.
        batch: most events in one request.
        denials: whether it gets denials too, as OCSF events.
    """

    url: str = field(repr=False)
    token_env: str | None = None
    token_file: Path | None = None
    batch: int = 100
    denials: bool = False


@dataclass(frozen=True, slots=True)
class ExportTo:
    """Where every decision is sent.

    Attributes:
        otlp: URL of an OpenTelemetry collector (which may hold a secret: never log it).
        headers_file: file of header fields, `Name: value` on each line.
    """

    otlp: str = field(repr=False)
    headers_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who is told when somebody asks for access, or a group meets a host for the first time.

    Attributes:
        url: of the endpoint (which may hold a secret: never log it).
        events: `request`, `new_host`, `secret_new_use`, `secret_misdirected`.
        format: `json` or `slack`.
        secret_file: file of the secret that notices are signed with; None signs none.
    """

    url: str = field(repr=False)
    events: tuple[str, ...] = ("request",)
    format: str = "json"
    secret_file: Path | None = None


@dataclass(frozen=True, slots=True)
class SecretEntry:
    """One entry of `secrets`.

    Attributes:
        env, file: where its value is; one of them.
        hosts: which it may be set for.
        groups: subtrees that may use it; none means every group.
        place: where it was written; None if no file says it.
    """

    name: str
    env: str | None
    file: Path | None
    hosts: tuple[Pattern, ...]
    groups: tuple[str, ...] = ()
    place: Place | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the running parts are told.

    Attributes:
        listen: address and port of the proxy; port 0 picks a free one.
        transparent: address and port of redirected connections; None takes none.
        ops: address and port of health, metrics and administration.
        state: folder of the CA and the records.
        instance: names this proxy in what it records; empty means the machine's host name.
        tls: of the proxy's listener; None speaks plain HTTP.
        ca: certificate and key files of the operator's CA; None makes one under `state`.
        workers: processes; more than one is refused by the schema.
        grace: seconds that open connections get after TERM.
        log_level: least level of the application log, `debug` to `error`; None leaves it as it was started.
        records_url: `sqlite`, or a `postgresql://` URL (which may hold a password: never log it).
        retention: seconds that records are kept.
        keep_allowed: whether what is allowed has rows of its own; otherwise it is added up.
        max_bytes: of the events in the store; beyond it the oldest go, those of unknown clients first.
        spill_bytes: of what waits on disk while the store is away, and of what waits to be exported.
        export: where every decision is sent; None for nowhere.
        audit_retention: seconds that audit events are kept; None for ever.
        audit_anchor: file or URL that the head of the audit chain is told to; None for none.
        audit_stream: where audit events are sent; None for nowhere.
        trust: `system`, and paths of PEM files.
        crl: paths of PEM files with certificate revocation lists.
        dns_servers: address and port of each server; empty means the machine's own.
        dns_hosts: addresses of names that are answered without a query.
        secrets: what the proxy sets on requests that rules with `inject` allow.
        parent_proxy: URL of the parent proxy (which may hold a password: never log it), or None.
        no_proxy: destinations that are dialled without the parent proxy.
        vendors: adapter names by the hosts that the policy adds.
        trusted_vendors: those of them whose domain filter is trusted.
        opened: what passes at a vendor's host although no table names it, by host.
        vendor_tables: folders whose tables of vendors are laid over the shipped ones.
        mcp: MCP servers whose search tools are governed.
        webhooks: who is told of requests and new hosts.
        limits: what clients may cost.
        admin: how the admin page is reached.
        localhost: what a jailed command reaches on this machine's localhost.
    """

    listen: tuple[str, int] = ("127.0.0.1", 8080)
    transparent: tuple[str, int] | None = None
    ops: tuple[str, int] = ("127.0.0.1", 9090)
    state: Path = field(default_factory=lambda: Path(DEFAULT_STATE).expanduser())
    instance: str = ""
    tls: TlsSettings | None = None
    ca: tuple[Path, Path] | None = None
    workers: int = 1
    grace: float = 30.0
    log_level: str | None = None
    records_url: str = field(default="sqlite", repr=False)
    retention: float = 30 * _DAY
    keep_allowed: bool = True
    max_bytes: int = 8 * 1024 * _MIB
    spill_bytes: int = 512 * _MIB
    export: ExportTo | None = None
    audit_retention: float | None = None
    audit_anchor: Path | str | None = field(default=None, repr=False)
    audit_stream: AuditStreamSettings | None = None
    trust: tuple[str, ...] = ("system",)
    crl: tuple[str, ...] = ()
    dns_servers: tuple[tuple[str, int], ...] = ()
    dns_hosts: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    parent_proxy: str | None = field(default=None, repr=False)
    secrets: tuple[SecretEntry, ...] = ()
    no_proxy: tuple[Rule, ...] = ()
    vendors: Mapping[str, str] = field(default_factory=dict)
    trusted_vendors: frozenset[str] = frozenset()
    opened: Mapping[str, Opened] = field(default_factory=dict)
    vendor_tables: tuple[Path, ...] = ()
    mcp: tuple[McpServer, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    limits: Limits = field(default_factory=Limits)
    admin: AdminDoor = field(default_factory=AdminDoor)
    localhost: tuple[Rule, ...] = ()
