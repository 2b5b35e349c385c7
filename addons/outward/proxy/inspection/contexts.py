"""TLS contexts of the inspect lane: what we show to clients, and what we demand of destinations.

Owns versions, ciphers, ALPN and verification. Leaves come from the authority and never share a key with it.
"""

import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from outward.core.names import Host
from outward.proxy.ca import Authority, Leaf
from outward.proxy.inspection.revocation import Revocation
from outward.proxy.inspection.tls import HTTP1, HTTP2, SPOKEN, TlsEndpoint

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"  # TLS 1.2; TLS 1.3 has no weak ones
_OPTIONS = ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
_KEPT = 256  # contexts of leaves; each holds about 20 KiB


class Contexts:
    """Makes TLS connections for both sides."""

    def __init__(self, authority: Authority, roots: Path, crls: Iterable[x509.CertificateRevocationList] = ()) -> None:
        """Load the roots.

        Args:
            authority: signs the leaves.
            roots: PEM file of the certificates that destinations are verified with.
            crls: revocation lists.

        Raises:
            OSError: the file of roots cannot be used (`ssl.SSLError` is one).
        """
        self._authority = authority
        self._accepting: OrderedDict[tuple[str, bool], tuple[Leaf, ssl.SSLContext]] = OrderedDict()
        self._connecting = _context(ssl.PROTOCOL_TLS_CLIENT)  # verifies, and checks the name
        self._connecting.hostname_checks_common_name = False
        self._connecting.load_verify_locations(roots)
        self._revocation = Revocation(crls)

    def accept(self, host: Host, *, http2: bool = False) -> TlsEndpoint:
        """Return the server's end of a connection that shows a leaf for a host, and speaks HTTP/2 or HTTP/1."""
        leaf, key = self._authority.leaf(host), (host.name, http2)
        kept = self._accepting.get(key)
        if kept is None or kept[0] is not leaf:
            kept = self._accepting[key] = (leaf, _showing(leaf, http2=http2))
            if len(self._accepting) > _KEPT:
                self._accepting.popitem(last=False)
        self._accepting.move_to_end(key)
        return TlsEndpoint(kept[1])

    def connect(self, host: Host, protocol: str = HTTP1) -> TlsEndpoint:
        """Return the client's end of a connection that verifies the destination as exactly this host.

        The library sends no address as a server name (RFC 6066 3), and verifies it as an address. What a context offers
        is copied when an end is made of it, so that one context, whose roots take long to read, serves both protocols.
        """
        self._connecting.set_alpn_protocols([protocol])
        return TlsEndpoint(self._connecting, host.name if host.address is None else str(host.address))

    def objection(self, tls: TlsEndpoint) -> str | None:
        """Return why a destination whose certificate was verified is not believed all the same, or None."""
        return self._revocation.objection(tls.chain) if self._revocation else None


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= _OPTIONS
    return context


def _showing(leaf: Leaf, *, http2: bool) -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([HTTP2] if http2 else [each.decode("ascii") for each in SPOKEN])
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with _readable(key + leaf.chain_pem) as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _readable(secret: bytes) -> Iterator[str]:
    """Lend bytes as a file, which is all that the library reads keys from: in memory where the system has such files.

    Elsewhere it is a file of ours alone, removed at once; its key is of this process, and signs nothing.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").exists():
        with open(os.memfd_create("leaf"), "wb") as file:  # noqa: PTH123 - it has no path
            file.write(secret)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(secret)
        file.flush()
        yield file.name
