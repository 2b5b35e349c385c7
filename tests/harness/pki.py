"""A small PKI of a test's own: a root, TLS servers' certificates, and revocation lists, as files."""

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Ca:
    """A certificate authority; `issuer` makes it an intermediate one."""

    def __init__(self, name: str, *, issuer: "Ca | None" = None, ends: dt.datetime | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        above = issuer or self
        self.certificate = above.sign(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None), ends=ends)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
        ends: dt.datetime | None = None,
    ) -> x509.Certificate:
        ends = ends or _now() + 365 * DAY
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(_now(), ends) - DAY)
            .not_valid_after(ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def server(self, host: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Issue a certificate for a host name."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self.sign(x509.Name([]), key, x509.SubjectAlternativeName([x509.DNSName(host)])), key

    def crl(self, *revoked: x509.Certificate, ended: bool = False, critical: x509.ExtensionType | None = None) -> bytes:
        """Return a PEM revocation list; `ended` makes it one that should have been replaced."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(_now() - 2 * DAY)
        builder = builder.next_update(_now() - DAY if ended else _now() + DAY)
        for each in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(_now() - DAY).build()
            )
        if critical is not None:
            builder = builder.add_extension(critical, critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path
