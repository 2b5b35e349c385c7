"""Settings that are read at the start alone: a reload keeps them as they were, and says so."""

import logging
from dataclasses import replace

from outward.config.settings import Settings
from outward.records.credentials import renew

log = logging.getLogger(__name__)

_FIXED = (
    "listen", "transparent", "ops", "state", "instance", "ca", "tls", "workers", "records_url", "retention",
    "audit_retention", "audit_anchor", "audit_stream", "export",
    "keep_allowed", "max_bytes", "spill_bytes", "webhooks", "limits",
)  # fmt: skip


def lasting(old: Settings, new: Settings) -> Settings:
    """Return new settings with what is read at the start alone as it was, and tell what of that has changed."""
    changed = [name for name in _FIXED if getattr(new, name) != getattr(old, name)]
    if renew(old.records_url, new.records_url) and "records_url" in changed:
        changed.remove("records_url")
    admin = new.admin
    if (admin.tls is None) is not (old.admin.tls is None):
        changed.append("admin.tls")
        admin = replace(admin, tls=old.admin.tls)
    if changed:
        log.warning("these settings take effect at the next start: %s", ", ".join(changed))
    return replace(new, admin=admin, **{name: getattr(old, name) for name in _FIXED})
