"""The files of the certificate authority: the root that is made on first use, or the operator's.

Owns modes, ownership, rotation before the end, and the agreement of two processes that start together. A key and its
certificate are one file, so that they always belong together. Never signs leaves.
"""

import datetime as dt
import logging
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from outward.files import locked, read_regular, replace_file

ROOT_LIFE = dt.timedelta(days=730)  # it rotates by itself; mitmproxy's, which does not, has ten years
RENEW_BEFORE = dt.timedelta(days=30)  # of its end, as certbot does, the next root is made, and published
ANNOUNCE = dt.timedelta(days=7)  # for which a CA is published before it signs
LAST = dt.timedelta(days=1)  # before the end of a CA its successor signs, however new
SKEW = dt.timedelta(days=1)  # that a client's clock may lag behind; mitmproxy has two days

type SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_log = logging.getLogger(__name__)


class AuthorityError(Exception):
    """The CA's files cannot be read, do not belong together, have ended, or are not ours alone."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA.

    Attributes:
        certificate: of the key, which signs leaves.
        chain: certificates that a TLS server sends after a leaf: all up to the root, without it.
        anchor: the certificate that clients trust: the root, or the topmost that is known.
        others: roots that clients are to trust besides: of the CA before, and of the one that comes.
    """

    key: SigningKey = field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    anchor: x509.Certificate
    others: tuple[x509.Certificate, ...] = ()


def load_signer(
    state: Path, operator: tuple[Path, Path] | None, pem: Path, also: Iterable[x509.Certificate] = ()
) -> Signer:
    """Load the CA, making or renewing our own where that is due, and write the certificate that clients trust.

    Args:
        state: folder of the key; made with mode 0700 where it does not exist.
        operator: certificate (and chain) and key files of the operator's CA, or None for our own.
        pem: where the clients' certificates go.
        also: anchors to publish besides: those of a CA that this process still signs with.

    Raises:
        AuthorityError: the files cannot be used.
        OSError: the folder cannot be written.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(state / "ca.lock"):
        now = dt.datetime.now(dt.UTC)
        signer = _load_own(state, now) if operator is None else _read(*operator)
        ends = signer.certificate.not_valid_after_utc
        if ends <= now:
            named = operator[0] if operator else pem
            raise AuthorityError(f"the CA certificate in {named} ended at {ends:%Y-%m-%d %H:%M} UTC: renew it")
        if operator is not None and ends - RENEW_BEFORE <= now:
            _log.warning("the operator's CA certificate ends at %s: renew it", ends)
        before = _published(pem) if operator is not None else ()
        publish(pem, (signer.anchor, *signer.others, *also, *before))
    return signer


def publish(pem: Path, certificates: Iterable[x509.Certificate]) -> None:
    """Write what clients trust: each certificate once, the ended ones left out; untouched where nothing changes."""
    now = dt.datetime.now(dt.UTC)
    wanted = pem_of(*(each for each in dict.fromkeys(certificates) if each.not_valid_after_utc > now))
    if not pem.is_file() or pem.is_symlink() or read_regular(pem) != wanted:
        replace_file(pem, wanted, 0o644)


def pem_of(*certificates: x509.Certificate) -> bytes:
    """Return certificates in PEM form."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def _load_own(state: Path, now: dt.datetime) -> Signer:
    """Load our own root; make the next one in time, and put it in the place of the current one when it is known.

    The moment follows from the two certificates alone, so that gateways with the same files agree on it.
    """
    current_file, next_file, old_file = (state / name for name in ("ca-key.pem", "ca-next.pem", "ca-old.pem"))
    if not current_file.exists():
        return _made(current_file, now)
    current = _own(current_file)
    ends = current.certificate.not_valid_after_utc
    if ends - RENEW_BEFORE > now:
        return replace(current, others=_certificates(old_file))
    if not next_file.exists():
        _log.warning("the CA ends at %s: the next one is published, for clients to trust before it signs", ends)
        _made(next_file, now)
    following = _own(next_file)
    published = following.certificate.not_valid_before_utc + SKEW
    if now < min(published + ANNOUNCE, ends - LAST):
        return replace(current, others=(following.anchor, *_certificates(old_file)))
    _log.warning("the next CA signs from now on: clients must trust the new certificate")
    replace_file(old_file, pem_of(current.anchor), 0o644)
    next_file.replace(current_file)
    return replace(following, others=(current.anchor,))


def _published(pem: Path) -> tuple[x509.Certificate, ...]:
    """Return what is published: another gateway may sign with it for a while yet."""
    try:
        return _certificates(pem)
    except AuthorityError:
        return ()  # our own file, half of it lost: it is written anew


def _made(path: Path, now: dt.datetime) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    root = _make_root(key, now)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replace_file(path, secret + pem_of(root), 0o600)
    return Signer(key, root, (), root)


def _own(path: Path) -> Signer:
    _check_ours(path)
    return _read(path, path)


def _certificates(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(read_regular(path)))
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise AuthorityError(f"no certificate can be read from {path}: {error}") from error


def _check_ours(path: Path) -> None:
    """Refuse a key that somebody else put there or can read; the mode of our own file is mended."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in {os.geteuid(), 0}:
        raise AuthorityError(f"{path} belongs to somebody else: remove it, or choose another state folder")
    if status.st_mode & 0o077:
        _log.warning("%s could be read by others; its mode is set to 0600", path)
        try:
            path.chmod(0o600)
        except OSError as error:
            raise AuthorityError(f"{path} can be read by others, and its mode cannot be changed") from error


def _read(certificate_file: Path, key_file: Path) -> Signer:
    """Read a CA from PEM files: the signing certificate first, then what leads to its root."""
    try:
        certificates = x509.load_pem_x509_certificates(read_regular(certificate_file))
        key = serialization.load_pem_private_key(read_regular(key_file), password=None)
        first = certificates[0]
        constraints = first.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise AuthorityError(f"no CA can be read from {certificate_file} and {key_file}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise AuthorityError(f"the key in {key_file} is neither EC nor RSA")
    if not constraints.ca or key.public_key() != first.public_key():
        raise AuthorityError(f"{certificate_file} is no CA certificate for the key in {key_file}")
    chain = tuple(each for each in certificates if each.subject != each.issuer)
    roots = tuple(each for each in certificates if each.subject == each.issuer)
    return Signer(key, first, chain, certificates[-1], roots)


def _make_root(key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    """Make a root that may sign leaves of TLS servers, and nothing else."""
    # Each root has a name of its own, so that a store that holds two of them never takes one for the other.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Outward CA {secrets.token_hex(8)}")])
    return (
        certificate(name, key.public_key())
        .subject_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def certificate(issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    """Begin a certificate with what roots and leaves have in common (RFC 5280 4.2.1.2)."""
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .public_key(key)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """Return the key usage of a CA (certificates, revocation lists) or of a leaf (handshakes)."""
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
