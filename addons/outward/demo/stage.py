"""The demo's world: two stub vendors, a policy, and a real Outward with its ops port, all on loopback.

Owns their lifetimes and their secrets, which end with it. Nothing in it reaches beyond this machine.
"""

import hashlib
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from outward.config.load import load
from outward.demo.client import Address, ThroughProxy
from outward.demo.vendors import HOSTS, PACE, Vendor
from outward.ops.principals import digest, new_secret
from outward.proxy.ca import Authority
from outward.records.state.runtime_settings import StoredToken
from outward.search.registry import vendor_of
from outward.service import Options, Service, StartError

GROUP = "acme/chat"
_POLICY = """\
version: 1

server: {{listen: "127.0.0.1:0", ops: "127.0.0.1:0", state: "{state}"}}

upstream: # the stub vendors: their addresses, and the private CA of their certificates
  trust: ["{trust}"]
  dns: {{hosts: {{{hosts}}}}}
  internal: [127.0.0.1/32]

groups:
  acme:
    web_search: {{enabled: true}} # the administrator's toggle; off by default
  acme/chat:
    allow:
      - {anthropic}
      - {openai}
      - github.com
      - nvd.nist.gov
      - urllib3.readthedocs.io

clients:
  - {{group: acme/chat, token_sha256: "{digest}"}} # the chat backend
"""


@dataclass(frozen=True, slots=True)
class DemoStage:
    """What the chat is given.

    Attributes:
        vendors: stubs by name.
        proxy, ops: addresses of Outward.
        tls: trusts the proxy's CA.
        admin: token of the admin API, for this group alone.
        policy: the configuration as text.
    """

    vendors: dict[str, Vendor]
    proxy: Address
    ops: Address
    tls: ssl.SSLContext
    token: str
    admin: str
    policy: str

    def through_proxy(self, conversation: str) -> ThroughProxy:
        """Return the way out for one conversation."""
        return ThroughProxy(self.proxy, conversation, self.token, self.tls)


@asynccontextmanager
async def stage(folder: Path, pace: float = PACE) -> AsyncIterator[DemoStage]:
    """Run the demo's world in a folder that nobody else uses.

    Args:
        folder: for the state, the CAs and the policy.
        pace: seconds between two events of the vendors' streams.

    Raises:
        StartError: a part of it cannot start.
    """
    vendor_ca = folder / "vendors"
    vendor_ca.mkdir()
    authority = Authority(vendor_ca)
    vendors = {name: Vendor(name, pace) for name in HOSTS}
    token, admin = secrets.token_urlsafe(24), new_secret()
    for vendor in vendors.values():
        await vendor.start(authority, vendor_ca)
    config = folder / "outward.yaml"
    config.write_text(_policy(vendors, folder / "state", authority.pem, token), "utf-8")
    loaded = load(config, env={}, vendor_of=vendor_of)
    if not loaded.ok:
        raise StartError("; ".join(finding.message for finding in loaded.findings))
    service = Service(loaded, Options())
    try:
        await service.start()
        _keep_token(service, admin)
        policy = config.read_text("utf-8")
        tls = ssl.create_default_context(cafile=folder / "state" / "ca.pem")
        yield DemoStage(vendors, service.address, service.ops_address, tls, token, admin, policy)
    finally:
        await service.drain(0.5)
        await service.stop()
        for vendor in vendors.values():
            vendor.close()


def _policy(vendors: dict[str, Vendor], state: Path, trust: Path, token: str) -> str:
    sha256 = hashlib.sha256(token.encode()).hexdigest()
    hosts = ", ".join(f"{HOSTS[name]}: [127.0.0.1]" for name in vendors)
    allowed = {name: f"{HOSTS[name]}:{vendor.port}" for name, vendor in vendors.items()}
    return _POLICY.format(state=state, trust=trust, hosts=hosts, digest=sha256, **allowed)


def _keep_token(service: Service, secret: str) -> None:
    """Make the chat backend a token of the admin API, as `outward token create` does."""
    kept = StoredToken(secrets.token_hex(6), digest(secret), GROUP, "chat backend", time.time(), None, revoked=False)
    if service.administration is not None:
        service.administration.state.add_token(kept, "demo")
