"""The sections that are no policy: validated, resolved against the file's folder, and composed to `Settings`."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import combinations
from pathlib import Path

from outward.config.admin import admin_door
from outward.config.diagnostics import Report
from outward.config.document import MappingNode, SequenceNode, at
from outward.config.localhost import localhost_rules
from outward.config.nearest import did_you_mean
from outward.config.no_proxy import direct
from outward.config.roots import problem_in_roots
from outward.config.schema import Document, JailModel, ServerModel, TlsModel, UpstreamModel, VendorModel
from outward.config.secrets import read_secrets
from outward.config.settings import Limits, McpServer, Opened, Settings, TlsSettings
from outward.config.streams import audit_stream, export, webhooks
from outward.config.validate import validate
from outward.config.values import resolve_path
from outward.core.addresses import METADATA, Network, is_loopback
from outward.core.model import ClientEntry, Credential, Rule
from outward.files import MIB, read_regular

_ELSEWHERE = frozenset({"include", "groups", "sets", "clients", "tests"})
_MAX_PEM = 16 * MIB
_BLOCKS = {"trust": b"-----BEGIN CERTIFICATE-----", "crl": b"-----BEGIN X509 CRL-----"}


@dataclass(frozen=True, slots=True)
class Composed:
    """Settings, and what the policy needs of these sections."""

    settings: Settings
    internal: tuple[Network, ...]


def compose(
    root: MappingNode, base: Path, env: Mapping[str, str], adapters: Collection[str], report: Report
) -> Composed | None:
    """Return the settings, or None after reporting what is wrong.

    Args:
        root: the main file, the environment already laid over it.
        base: folder that relative paths start at.
        env: for `HOME`.
        adapters: names that `vendors` may give; empty means any.
        report: takes the findings.
    """
    document = validate(Document, root, report, _ELSEWHERE)
    if document is None:
        return None
    _check_vendors(root, document, adapters, report)
    _check_formats(root, document, adapters, report)
    _check_upstream(root, document.upstream, report)
    _check_listeners(root, document.server, report)
    stream = audit_stream(at(root, "records", "audit_stream"), document.records.audit_stream, base, env, report)
    sent_to = export(at(root, "records", "export"), document.records.export, base, env, report)
    settings = _settings(root, document, base, env.get("HOME"), report)
    door = admin_door(at(root, "admin"), document.admin, base, env.get("HOME"), report)
    told = webhooks(at(root, "webhooks"), document.webhooks, base, env, report)
    settings = replace(settings, export=sent_to, audit_stream=stream, webhooks=told, admin=door)
    return Composed(settings, tuple(document.upstream.internal))


def _anchor(text: str | None, base: Path, home: str | None) -> Path | str | None:
    return text if text is None or "://" in text else resolve_path(text, base, home)


def _settings(root: MappingNode, document: Document, base: Path, home: str | None, report: Report) -> Settings:
    server, upstream = document.server, document.upstream
    return Settings(
        listen=server.listen,
        transparent=server.transparent,
        ops=server.ops,
        state=resolve_path(server.state, base, home),
        instance=server.instance or "",
        ca=(resolve_path(server.ca.cert, base, home), resolve_path(server.ca.key, base, home)) if server.ca else None,
        tls=_tls(server.tls, base, home) if server.tls else None,
        workers=server.workers,
        grace=server.grace,
        log_level=server.log_level,
        records_url=document.records.url,
        retention=document.records.retention,
        audit_retention=document.records.audit.retention,
        audit_anchor=_anchor(document.records.audit.anchor, base, home),
        keep_allowed=document.records.keep == "all",
        max_bytes=document.records.max_bytes,
        spill_bytes=document.records.spill_bytes,
        trust=tuple(_files(root, "trust", base, home, report)),
        crl=tuple(_files(root, "crl", base, home, report)),
        dns_servers=tuple(upstream.dns.servers),
        dns_hosts={name: tuple(addresses) for name, addresses in upstream.dns.hosts.items()},
        parent_proxy=upstream.proxy,
        no_proxy=tuple(_direct(root, upstream)),
        vendors={host: vendor.adapter for host, vendor in document.vendors.items()},
        trusted_vendors=frozenset(host for host, vendor in document.vendors.items() if vendor.trust_filter),
        opened={host: each for host, vendor in document.vendors.items() if (each := _opened(vendor)) != Opened()},
        vendor_tables=tuple(resolve_path(folder, base, home) for folder in document.vendor_tables),
        mcp=tuple(McpServer(server.host, server.tools) for server in document.mcp),
        limits=Limits(**server.limits.model_dump()),
        secrets=read_secrets(root, document.secrets, base, home, report),
        localhost=tuple(_localhost(root, document.jail)),
    )


def _direct(root: MappingNode, upstream: UpstreamModel) -> Iterator[Rule]:
    node = at(root, "upstream", "no_proxy")
    for item, text in zip(node.items if isinstance(node, SequenceNode) else (), upstream.no_proxy, strict=False):
        yield direct(text, item.place)


def _localhost(root: MappingNode, jail: JailModel) -> Iterator[Rule]:
    node = at(root, "jail", "localhost")
    for item, port in zip(node.items if isinstance(node, SequenceNode) else (), jail.localhost, strict=False):
        yield from localhost_rules(port, item.place)


def _opened(vendor: VendorModel) -> Opened:
    tools, fields = tuple(vendor.allow_tools), tuple(vendor.allow_fields)
    return Opened(tuple(vendor.allow_endpoints), tools, fields, vendor.unknown == "report")


def _tls(model: TlsModel, base: Path, home: str | None) -> TlsSettings:
    client_ca = None if model.client_ca is None else resolve_path(model.client_ca, base, home)
    return TlsSettings(resolve_path(model.cert, base, home), resolve_path(model.key, base, home), client_ca)


def _files(root: MappingNode, key: str, base: Path, home: str | None, report: Report) -> list[str]:
    """Return the paths of `upstream.trust` or `upstream.crl`, absent keys aside; each holds what it is for."""
    node = at(root, "upstream", key)
    if not isinstance(node, SequenceNode):
        return ["system"] if key == "trust" else []
    found: list[str] = []
    for item in node.items:
        text = str(item.plain())
        path = resolve_path(text, base, home)
        if key == "trust" and text == "system":
            found.append(text)
        elif not path.is_file():
            report.error("E022", f"`{path}` is not a file", item.place, item.length, "give the path of a PEM file")
        elif problem := _problem_in(path, key):
            cure = f"give the path of a PEM file with `{_BLOCKS[key].decode()}`"
            report.error("E022", f"`{path}` cannot be used for `{key}`: {problem}", item.place, item.length, cure)
        else:
            found.append(str(path))
    return found


def _problem_in(path: Path, key: str) -> str | None:
    """Return why a file of roots or of revocation lists cannot be used, or None; OpenSSL has the last word on roots."""
    try:
        data = read_regular(path, _MAX_PEM)
    except OSError as error:
        return error.strerror or str(error)
    if _BLOCKS[key] not in data:
        return "it holds nothing of the kind"
    return problem_in_roots(data) if key == "trust" else None


def _check_vendors(root: MappingNode, document: Document, adapters: Collection[str], report: Report) -> None:
    node = at(root, "vendors")
    if not adapters or not isinstance(node, MappingNode):
        return
    for (key, _), vendor in zip(node.items(), document.vendors.values(), strict=False):
        if vendor.adapter not in adapters:
            cure = did_you_mean(vendor.adapter, adapters)
            report.error("E023", f"no vendor is named `{vendor.adapter}`", key.place, key.length, cure)
        if vendor.unknown == "report":
            message = f"what no table names passes at `{key.text}`, and is only reported"
            cure = "list what is needed under `allow_endpoints`, `allow_tools` and `allow_fields`, then leave this out"
            report.warning("W129", message, key.place, key.length, cure)


def _check_formats(root: MappingNode, document: Document, adapters: Collection[str], report: Report) -> None:
    """Refuse formats of MCP tools that nobody speaks: their arguments would go on as they are."""
    node = at(root, "mcp")
    servers = node.items if adapters and isinstance(node, SequenceNode) else []
    for server, model in zip(servers, document.mcp, strict=False):
        tools = at(server, "tools")
        keys = [key for key, _ in tools.items()] if isinstance(tools, MappingNode) else []
        for key, named in zip(keys, model.tools.values(), strict=False):
            if named not in adapters:
                cure = did_you_mean(named, adapters)
                report.error("E023", f"no vendor is named `{named}`", key.place, key.length, cure)


def _check_upstream(root: MappingNode, upstream: UpstreamModel, report: Report) -> None:
    """Warn about what opens more than it seems to."""
    node = at(root, "upstream", "internal")
    items = node.items if isinstance(node, SequenceNode) else []
    for item, network in zip(items, upstream.internal, strict=False):
        if is_loopback(network.network_address):
            message = f"`{network}` opens this host's loopback to every allowed name"
            one = network.num_addresses == 1
            cure = "" if one else "list the one address that is meant, or "
            report.warning("W109", message, item.place, item.length, f"{cure}give the host that needs it `addresses`")
        elif any(address.version == network.version and address in network for address in METADATA):
            message = f"`{network}` contains a metadata service, which stays closed"
            report.warning("W114", message, item.place, item.length)
    if upstream.proxy is not None:
        where = at(root, "upstream", "proxy")
        message = "the parent proxy resolves names, so that addresses are not judged here"
        cure = "judge addresses at the parent, or remove `upstream.proxy`"
        report.warning("W110", message, where.place if where else None, 1, cure)


def _check_listeners(root: MappingNode, server: ServerModel, report: Report) -> None:
    """Refuse two listeners at one place: the proxy would not start."""
    listeners = {"listen": server.listen, "ops": server.ops, "transparent": server.transparent}
    for (first, one), (second, other) in combinations(listeners.items(), 2):
        if one is None or other is None or not _collide(one, other):
            continue
        where = at(root, "server", second) or at(root, "server", first)
        message = f"`{second}` and `{first}` are the same address and port"
        place, length = (where.place, where.length) if where else (root.place, 1)
        report.error("E024", message, place, length, "give each a port of its own; port 0 takes a free one")


def _collide(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Tell whether two listeners cannot be open at once; every address of a family includes each of them."""
    if one[1] != other[1] or one[1] == 0:
        return False
    hosts = {"127.0.0.1" if host == "localhost" else host for host, _ in (one, other)}
    sixes = {":" in host for host in hosts}
    return len(hosts) == 1 or (len(sixes) == 1 and not hosts.isdisjoint(("0.0.0.0", "::")))


def check_transparent(root: MappingNode, settings: Settings, clients: Collection[ClientEntry], report: Report) -> None:
    """Warn where nobody could use the port of redirected connections: these carry no credentials."""
    if settings.transparent is None or any(each.kind in (Credential.SOURCE, Credential.ANYONE) for each in clients):
        return
    where = at(root, "server", "transparent")
    message = "every redirected connection will be refused: none carries credentials, and no client needs none"
    cure = "add a `clients` entry with `source` or `anyone`"
    report.warning("W120", message, where.place if where else None, where.length if where else 1, cure)


def check_anyone(root: MappingNode, settings: Settings, clients: Collection[ClientEntry], report: Report) -> None:
    """Warn where everybody who reaches a port that is open to other machines is a client."""
    host = settings.listen[0]
    entry = next((each for each in clients if each.kind is Credential.ANYONE), None)
    near = host == "localhost" or (is_loopback(ip_address(host)) and not _every(host))
    if entry is None or near:
        return
    where = at(root, "server", "listen")
    message = f"whoever reaches {host} is a client: `anyone: true` at {entry.place} asks for nothing"
    cure = "listen on 127.0.0.1, or know clients by `source`, token or certificate"
    report.warning("W125", message, where.place if where else None, where.length if where else 1, cure)


def _every(host: str) -> bool:
    return host in ("0.0.0.0", "::")
