"""Files that are replaced while the proxy runs: certificates, roots, secrets, the admin token."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from outward.builders.listening import doorway_of, ops_tls_of
from outward.builders.parts import ServiceParts
from outward.config.settings import Settings, TlsSettings


def follow(parts: ServiceParts, settings: Callable[[], Settings]) -> None:
    """Have files taken up whenever they change.

    Args:
        parts: of the service, all made.
        settings: returns those in force.
    """
    rotation = parts.rotation
    if parts.administration is not None:
        parts.administration.watch_token(rotation)
    if settings().admin.tls is not None and parts.ops is not None:
        take_up = partial(take_up_ops_tls, parts, settings)
        rotation.add("admin.tls", lambda: _pem_files(settings().admin.tls), take_up)
    if settings().tls is not None:
        rotation.add("server.tls", lambda: _pem_files(settings().tls), partial(_take_up_tls, parts, settings))
    if parts.inspection is not None:
        rotation.add("server.ca", lambda: settings().ca or (), parts.inspection.renew)
    rotation.add("secrets", lambda: parts.judge.secrets.files, parts.judge.secrets.again)
    rotation.add("upstream.trust", lambda: _trusted(settings()), partial(_take_up_trust, parts, settings))
    parts.metrics.watch("rotation_failing", lambda: float(rotation.failing))


def take_up_ops_tls(parts: ServiceParts, settings: Callable[[], Settings]) -> None:
    """Read the ops port's certificate; see `ops_tls_of`."""
    if parts.ops is not None:
        parts.ops.tls = ops_tls_of(settings(), parts.metrics)


def _take_up_tls(parts: ServiceParts, settings: Callable[[], Settings]) -> None:
    if parts.gate is not None:
        parts.gate.tls = doorway_of(settings(), parts.metrics)


async def _take_up_trust(parts: ServiceParts, settings: Callable[[], Settings]) -> None:
    if parts.inspection is not None:
        await parts.inspection.trust(settings())


def _trusted(settings: Settings) -> list[Path]:
    return [Path(path) for path in (*settings.trust, *settings.crl) if path != "system"]


def _pem_files(tls: TlsSettings | None) -> list[Path]:
    return [path for path in (tls.cert, tls.key, tls.client_ca) if path] if tls else []
