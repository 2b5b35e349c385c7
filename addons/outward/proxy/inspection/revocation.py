"""Revocation by the operator's lists: a revoked certificate, anywhere in a verified chain, ends the handshake.

Certificates of issuers without a list pass: an operator's list is about the operator's own CA. A list that has ended,
whose signature is wrong, or that says more than is understood, fails every certificate of its issuer.
"""

import datetime as dt
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm


class Revocation:
    """Revocation lists by issuer."""

    def __init__(self, lists: Iterable[x509.CertificateRevocationList]) -> None:
        self._lists: dict[x509.Name, list[x509.CertificateRevocationList]] = {}
        for each in lists:
            self._lists.setdefault(each.issuer, []).append(each)

    def __bool__(self) -> bool:
        """Whether there is any list."""
        return bool(self._lists)

    def objection(self, chain: Sequence[bytes]) -> str | None:
        """Return why a chain is not believed, or None.

        Args:
            chain: verified certificates in DER, each signed by the next, the root last.
        """
        certificates = [x509.load_der_x509_certificate(each) for each in chain]
        for certificate, issuer in zip(certificates, [*certificates[1:], certificates[-1]], strict=True):
            lists = self._lists.get(certificate.issuer)
            if lists is not None and (why := _judge(certificate, issuer, lists)):
                return why
        return None


def _judge(
    certificate: x509.Certificate, issuer: x509.Certificate, lists: Iterable[x509.CertificateRevocationList]
) -> str | None:
    """Judge a certificate by its issuer's lists: by the newest that the issuer signed."""
    signed = [each for each in lists if _is_signed(each, issuer)]
    if not signed:
        return "a revocation list is not signed by its issuer"
    newest = max(signed, key=lambda each: (each.last_update_utc, each.next_update_utc or each.last_update_utc))
    now = dt.datetime.now(dt.UTC)
    if newest.next_update_utc is None or newest.next_update_utc <= now or newest.last_update_utc > now:
        return "the revocation list of its issuer has ended"
    if any(each.critical for each in newest.extensions):
        return "the revocation list of its issuer is not understood"
    if newest.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        return "the certificate is revoked"
    return None


def _is_signed(each: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Tell whether a CA signed a list, and may sign lists (RFC 5280 4.2.1.3)."""
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.crl_sign:
        return False
    try:
        return each.is_signature_valid(issuer.public_key())  # type: ignore[arg-type] # any other key raises
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
