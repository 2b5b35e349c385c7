"""The certificate authority of the inspect lane: leaves that clients are shown, signed by the CA of `castore`.

Leaves share one key for the life of the process, distinct from any CA key; the CA key signs certificates and does
nothing else. Never imports the engine.
"""

import datetime as dt
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from outward.core.names import Host
from outward.proxy.castore import (
    ANNOUNCE,
    LAST,
    SKEW,
    AuthorityError,
    Signer,
    certificate,
    key_usage,
    load_signer,
    pem_of,
)

log = logging.getLogger(__name__)

__all__ = ["Authority", "AuthorityError", "Leaf"]

LEAF_LIFE = dt.timedelta(days=7)  # about as Let's Encrypt's short-lived ones, 6 days: nobody can revoke a leaf
LEAF_RENEW = dt.timedelta(days=1)  # before the end of a leaf
LEAVES = 1000  # that are kept, each some KiB; mitmproxy keeps 100
MAX_COMMON_NAME = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate for one host, with all that a TLS server needs to show it.

    Attributes:
        key: the same for all leaves of a process.
        chain: CA certificates to send after it, without the root.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def chain_pem(self) -> bytes:
        """The certificate and its chain, in the order of TLS."""
        return pem_of(self.certificate, *self.chain)


class Authority:
    """Signs leaves.

    Attributes:
        pem: the file of all certificates that clients are to trust, `ca.pem` under the state folder; no key is in it.
    """

    def __init__(self, state: Path, operator: tuple[Path, Path] | None = None) -> None:
        """Load the CA, and make it where there is none.

        Args:
            state: folder of the key and of `ca.pem`.
            operator: certificate (and chain) and key files of a CA that the operator provides.

        Raises:
            AuthorityError: the files cannot be used.
            OSError: the state folder cannot be written.
        """
        self.pem = state / "ca.pem"
        self._state = state
        self._operator = operator
        self._leaves: OrderedDict[str, Leaf] = OrderedDict()
        self._others: tuple[x509.Certificate, ...] = ()
        self._coming: tuple[x509.Certificate, dt.datetime] | None = None
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._use(load_signer(state, operator, self.pem))

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate that signs."""
        return self._signer.certificate

    @property
    def expires(self) -> float:
        """When the signing certificate ends, as Unix time in seconds."""
        return self.certificate.not_valid_after_utc.timestamp()

    def others(self) -> tuple[list[float], list[float]]:
        """Return when the CAs end that are published beside the one that signs: those to come, and earlier ones."""
        published = x509.load_pem_x509_certificates(self.pem.read_bytes())
        found = [each for each in published if each not in (self.certificate, self._signer.anchor)]
        begins = self._signer.anchor.not_valid_before_utc
        coming = [each.not_valid_after_utc.timestamp() for each in found if each.not_valid_before_utc > begins]
        gone = [each.not_valid_after_utc.timestamp() for each in found if each.not_valid_before_utc <= begins]
        return coming, gone

    def refresh(self) -> bool:
        """Renew the CA where that is due, or take up changed files; True where it is another one now.

        Raises:
            AuthorityError: the files cannot be used; the CA in force stays.
            OSError: the state folder cannot be written; the CA in force stays.
        """
        also = (self._signer.anchor, *self._others)
        signer = load_signer(self._state, self._operator, self.pem, also if self._operator else ())
        if signer.certificate == self._signer.certificate:
            self._coming = None
            return False
        if self._operator is not None and not self._announced(signer.certificate):
            return False
        self._others = also
        self._use(signer)
        return True

    def _announced(self, successor: x509.Certificate) -> bool:
        """Tell whether an operator's new CA has been published for long enough to sign; the old one is still held."""
        now = dt.datetime.now(dt.UTC)
        if self._coming is None or self._coming[0] != successor:
            self._coming = (successor, now)
            log.warning("the operator's CA was replaced: the new one is published, and signs %s from now", ANNOUNCE)
        return now >= min(self._coming[1] + ANNOUNCE, self.certificate.not_valid_after_utc - LAST)

    @property
    def cached(self) -> int:
        """Leaves that are kept."""
        return len(self._leaves)

    def leaf(self, host: Host) -> Leaf:
        """Return a leaf for a canonical host; from the cache, unless it nears its end."""
        now = dt.datetime.now(dt.UTC)
        cached = self._leaves.get(host.name)
        if cached is None or cached.certificate.not_valid_after_utc - LEAF_RENEW <= now:
            cached = self._leaves[host.name] = self._mint(host, now)
            if len(self._leaves) > LEAVES:
                self._leaves.popitem(last=False)
        self._leaves.move_to_end(host.name)
        return cached

    def _use(self, signer: Signer) -> None:
        self._signer = signer
        self._template = _template(signer, self._leaf_key)
        self._leaves.clear()

    def _mint(self, host: Host, now: dt.datetime) -> Leaf:
        signer = self._signer
        name = [x509.NameAttribute(NameOID.COMMON_NAME, host.name)] if len(host.name) <= MAX_COMMON_NAME else []
        alternative = x509.DNSName(host.name) if host.address is None else x509.IPAddress(host.address)
        builder = (
            self._template.subject_name(x509.Name(name))
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(min(now + LEAF_LIFE, signer.certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=not name)
        )
        return Leaf(builder.sign(signer.key, hashes.SHA256()), self._leaf_key, signer.chain)


def _template(signer: Signer, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """Return what all leaves of a signer have in common."""
    return (
        certificate(signer.certificate.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_issuer_key(signer), critical=False)
    )


def _issuer_key(signer: Signer) -> x509.AuthorityKeyIdentifier:
    """Name the signer's key as its certificate does (RFC 5280 4.2.1.1)."""
    try:
        named = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named)
