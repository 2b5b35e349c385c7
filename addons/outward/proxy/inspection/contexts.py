"""TLS contexts of the inspect lane: what we show to clients, and what we demand of destinations.

Owns versions, ciphers, ALPN and verification. Leaves come from the authority and never share a key with it. Imports
OpenSSL, so it is loaded with the engine.
"""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL

from outward.core.names import Host
from outward.proxy.ca import Authority, Leaf
from outward.proxy.inspection.tls import SPOKEN
from outward.proxy.trust import check_revocation

ALPN = b"http/1.1"
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"  # TLS 1.2; TLS 1.3 has no weak ones
_OPTIONS = SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION
_KEPT = 256  # contexts of leaves; each holds about 20 KiB
_LIB: Any = SSL._lib  # type: ignore[attr-defined] # noqa: SLF001 - pyOpenSSL has no host verification of its own
_HOST_FLAGS = _LIB.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | _LIB.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT


class Contexts:
    """Makes TLS connections for both legs."""

    def __init__(self, authority: Authority, roots: Path, crls: Iterable[x509.CertificateRevocationList] = ()) -> None:
        """Load the roots.

        Args:
            authority: signs the leaves.
            roots: PEM file of the certificates that destinations are verified with.
            crls: revocation lists.

        Raises:
            OpenSSL.SSL.Error: the file of roots cannot be used.
        """
        self._authority = authority
        self._accepting: OrderedDict[str, tuple[Leaf, SSL.Context]] = OrderedDict()
        self._connecting = _context(SSL.TLS_CLIENT_METHOD)
        self._connecting.load_verify_locations(str(roots))
        self._connecting.set_verify(SSL.VERIFY_PEER, None)
        check_revocation(self._connecting, crls)

    def accept(self, host: Host) -> SSL.Connection:
        """Return the server's end of a connection that shows a leaf for a host."""
        leaf = self._authority.leaf(host)
        kept = self._accepting.get(host.name)
        if kept is None or kept[0] is not leaf:
            kept = self._accepting[host.name] = (leaf, _showing(leaf))
            if len(self._accepting) > _KEPT:
                self._accepting.popitem(last=False)
        self._accepting.move_to_end(host.name)
        connection = SSL.Connection(kept[1])
        connection.set_accept_state()
        return connection

    def connect(self, host: Host) -> SSL.Connection:
        """Return the client's end of a connection that verifies the destination as exactly this host."""
        connection = SSL.Connection(self._connecting)
        parameters = _LIB.SSL_get0_param(connection._ssl)  # noqa: SLF001 - as above
        _LIB.X509_VERIFY_PARAM_set_hostflags(parameters, _HOST_FLAGS)
        if host.address is None:
            name = host.name.encode("ascii")
            connection.set_tlsext_host_name(name)
            done = _LIB.X509_VERIFY_PARAM_set1_host(parameters, name, len(name))
        else:  # RFC 6066 3: an address is no server name
            packed = host.address.packed
            done = _LIB.X509_VERIFY_PARAM_set1_ip(parameters, packed, len(packed))
        if done != 1:
            raise RuntimeError("OpenSSL took no name to verify: any certificate would do")
        connection.set_alpn_protos([ALPN])
        connection.set_connect_state()
        return connection


def _context(method: int) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_CIPHERS)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 KiB less for each end that waits
    return context


def _showing(leaf: Leaf) -> SSL.Context:
    context = _context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(leaf.certificate)
    for each in leaf.chain:
        context.add_extra_chain_cert(each)
    context.use_privatekey(leaf.key)
    context.set_alpn_select_callback(_select)
    context.set_verify(SSL.VERIFY_NONE, None)
    return context


def _select(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    return next((each for each in SPOKEN if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
