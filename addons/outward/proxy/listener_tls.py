"""TLS to the proxy itself: the listener's certificate, and who a client's certificate says that it is.

Owns one `ssl` context and the reading of names. A certificate is verified against the operator's client CA or not
accepted at all; what a name is worth is decided by the policy's `clients`.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from outward.config.settings import TlsSettings

_SAN = {"URI", "DNS"}


def server_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the listener's context: TLS 1.2 or later, HTTP/1.1; certificates are asked for where a CA is given.

    Raises:
        OSError: a file cannot be read, or does not hold what it should (`ssl.SSLError` is one).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert, tls.key)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def ends(path: Path, *, chain: bool = False) -> float:
    """Return when the first of a PEM file's certificates ends, as Unix time in seconds.

    Args:
        path: the file.
        chain: whether only the first certificate is shown to clients, and the others lead to its root.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no certificate.
    """
    from cryptography import x509  # noqa: PLC0415 - slow to import, and few speak TLS to their proxy

    found = x509.load_pem_x509_certificates(path.read_bytes())
    return min(each.not_valid_after_utc for each in (found[:1] if chain else found)).timestamp()


def certificate_names(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the SPIFFE URIs and DNS names of a verified certificate, URIs first; never its common name."""
    names = [(kind, name) for kind, name in (certificate or {}).get("subjectAltName", ()) if kind in _SAN]
    return tuple(name for _, name in sorted(names, key=lambda pair: pair[0] != "URI"))
