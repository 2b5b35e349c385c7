"""The section `admin`: how the admin page is reached, and what `check` says of that."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, at
from outward.config.schema import AdminModel, OidcModel
from outward.config.settings import AdminDoor, Oidc, Role, Settings, TlsSettings
from outward.config.values import resolve_path
from outward.core.names import is_loopback_name
from outward.core.policy import Policy


def admin_door(node: Node | None, model: AdminModel, base: Path, home: str | None, report: Report) -> AdminDoor:
    """Return how the admin page is reached.

    Args:
        node: the section as written, for places.
        model: the section as validated.
        base: folder that relative paths start at.
        home: of the user, for `~`.
        report: takes the findings.
    """
    if not isinstance(node, MappingNode):
        return AdminDoor()
    tls = None
    if model.tls is not None:
        tls = TlsSettings(resolve_path(model.tls.cert, base, home), resolve_path(model.tls.key, base, home))
    oidc = _oidc(node, model.oidc, base, home, report) if model.oidc is not None else None
    if oidc is not None:
        _check_urls(node, model.urls, report)
    return AdminDoor(tuple(model.urls), tls, oidc)


def _oidc(node: MappingNode, model: OidcModel, base: Path, home: str | None, report: Report) -> Oidc:
    file = None if model.client_secret_file is None else resolve_path(model.client_secret_file, base, home)
    if file is not None and not file.is_file():
        named = at(node, "oidc", "client_secret_file") or node
        report.error("E022", f"`{file}` is not a file", named.place, named.length, "give the path of the secret's file")
    if not is_safe(model.issuer):
        named = at(node, "oidc", "issuer") or node
        message = "whoever is on the way to the issuer could say who is an administrator"
        report.error("E036", message, named.place, named.length, "use `https://`")
    roles = {name: Role(each.role, each.group) for name, each in model.roles.items()}
    scopes = tuple(scope for scope in model.scopes if scope != "openid")
    return Oidc(
        model.issuer, model.client_id, file, scopes, tuple(model.role_claim), roles, model.session, model.contact
    )


def _check_urls(node: MappingNode, urls: list[str], report: Report) -> None:
    """Refuse sign-in where the provider could not send people back to, or over a network in the clear."""
    if any(is_safe(url) for url in urls):
        return
    named = at(node, "oidc") or node
    cure = "add the page's address to `admin.urls`, such as `https://outward.example.com`"
    report.error("E036", "the provider has nowhere safe to send people back to", named.place, named.length, cure)


def is_safe(url: str) -> bool:
    """Tell whether what goes to a URL is hidden from the network: by TLS, or because it stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_this_machine(parts.hostname or "")


def is_this_machine(host: str) -> bool:
    """Tell whether a name or an address means loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return is_loopback_name(host)


def check_roles(root: MappingNode, settings: Settings, policy: Policy, report: Report) -> None:
    """Warn of roles for groups that there are not: nobody could use them."""
    for name, role in _roles(settings):
        if role.group and role.group not in policy.groups:
            named = at(root, "admin", "oidc", "roles", name) or root
            message = f"the role of `{name}` is for `{role.group}`, which is no group"
            report.warning("W160", message, named.place, named.length, "name a group of this file; an empty one is all")


def _roles(settings: Settings) -> Iterator[tuple[str, Role]]:
    if settings.admin.oidc is not None:
        yield from settings.admin.oidc.roles.items()
