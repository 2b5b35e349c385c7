"""Trust: whose certificates are believed, upstream and by the tools that a proxy's clients run.

Owns the search for the system's store, the combined files, and revocation by the operator's lists. No list of roots is
bundled: supported are OpenSSL's own variables and paths, the usual Linux bundles, and the file that macOS and the BSDs
keep at /etc/ssl/cert.pem. Never talks to the network: no OCSP, no download of lists.
"""

import contextlib
import hashlib
import os
import re
import ssl
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from stat import S_ISREG

from cryptography import x509

from outward.config.roots import certificates_of, problem_in_roots
from outward.files import MIB, read_regular, replace_file

SYSTEM = "system"

# Where distributions keep one file with all roots; `crypto/x509/root_linux.go` of Go lists the same places.
BUNDLES = tuple(
    map(
        Path,
        (
            "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
            "/etc/pki/tls/certs/ca-bundle.crt",  # older Fedora and RHEL
            "/etc/ssl/ca-bundle.pem",  # SUSE
            "/etc/ssl/cert.pem",  # Alpine, macOS, BSD
        ),
    )
)

_MAX_PEM = 16 * MIB  # of a bundle of roots; those of Linux distributions have about 0.2 MiB
_CRL = re.compile(rb"-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----")


class TrustError(Exception):
    """A file of roots or of revocation lists cannot be used, or the system has no store."""


def system_store(environ: Mapping[str, str] = os.environ) -> bytes:
    """Return the system's roots as PEM certificates.

    They are the first of OpenSSL's compiled-in file, the usual bundles and OpenSSL's compiled-in folder that holds any,
    and what `SSL_CERT_FILE` and `SSL_CERT_DIR` name besides: a company's own CA stands there alone as often as not.

    Raises:
        TrustError: there is none.
    """
    paths = ssl.get_default_verify_paths()
    named = [Path(environ[name]) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environ.get(name)]
    places = (Path(paths.openssl_cafile), *BUNDLES, Path(paths.openssl_capath))
    usual = next(filter(None, map(_certificates_in, places)), b"")
    blocks = dict.fromkeys(block for pem in (usual, *map(_certificates_in, named)) for block in _blocks(pem))
    if blocks:
        return b"".join(block + b"\n" for block in blocks)
    raise TrustError("the system has no store of roots: name a PEM file in `upstream.trust`")


def upstream_roots(trust: Iterable[str], state: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Combine what `upstream.trust` names into one PEM file for OpenSSL.

    Args:
        trust: `system`, and paths of PEM files.
        state: folder for the combined file.
        environ: where the system's variables are looked up.

    Raises:
        TrustError: a file cannot be read, holds no certificate or one that OpenSSL does not take, or nothing is
            trusted at all.
    """
    parts: list[bytes] = []
    for each in trust:
        found = system_store(environ) if each == SYSTEM else _certificates_in(Path(each))
        if not found:
            raise TrustError(f"{each} holds no PEM certificate that can be read")
        if each != SYSTEM and (problem := problem_in_roots(found)):
            raise TrustError(f"{each} cannot be trusted: {problem}")
        parts.append(found)
    if not parts:
        raise TrustError("`upstream.trust` is empty: no destination could be verified")
    return _write(state / "upstream-roots.pem", b"".join(parts))


def bundle_for_tools(ca_pem: Path, environ: Mapping[str, str] = os.environ, named: Iterable[Path] = ()) -> Path:
    """Write the system's roots, the caller's own and our CA to one file, for tools whose variable replaces the roots.

    Args:
        ca_pem: the certificate that clients trust; the bundle is written beside it.
        environ: where the variables are looked up.
        named: what the caller's tools are told of; files that cannot be read add nothing.

    Raises:
        TrustError: there is no system store, or no certificate in `ca_pem`.
    """
    own = _certificates_in(ca_pem)
    if not own:
        raise TrustError(f"{ca_pem} holds no PEM certificate that can be read")
    common = dict.fromkeys(_blocks(system_store(environ) + own))
    more = dict.fromkeys(
        block for path in dict.fromkeys(named) for block in _blocks(_certificates_in(path)) if block not in common
    )
    # Callers with other roots may share the folder, and must not take each other's away.
    suffix = f"-{hashlib.sha256(b''.join(more)).hexdigest()[:12]}" if more else ""
    return _write(ca_pem.with_name(f"ca-bundle{suffix}.pem"), b"".join(block + b"\n" for block in (*common, *more)))


def extend_bundles(ca_pem: Path) -> None:
    """Add what `ca_pem` holds to the bundles that were made beside it, for tools that start later with the same path.

    Nothing is taken out, and nothing else is put in.
    """
    own = _blocks(_certificates_in(ca_pem))
    for path in ca_pem.parent.glob("ca-bundle*.pem"):
        held = _blocks(_certificates_in(path))
        if held and not set(own) <= set(held):
            _write(path, b"".join(block + b"\n" for block in dict.fromkeys((*held, *own))))


def java_truststore(bundle: Path) -> Path:
    """Write the certificates of a bundle as PKCS12 beside it, unless that is done already; a JVM reads no PEM.

    It holds no secret, so that its password, `outward`, is none. Certificates that cannot be read are left out.
    """
    path = bundle.with_suffix(".p12")
    if path.is_file() and path.stat().st_mtime >= bundle.stat().st_mtime:
        return path
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - only where there is a JVM
    from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12  # noqa: PLC0415 - as above

    form = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(2000).hmac_hash(hashes.SHA1())  # noqa: S303 - for Java 8
    form = form.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
    held = [pkcs12.PKCS12Certificate(each, b"%d" % number) for number, each in enumerate(_readable(bundle))]
    return _write(path, pkcs12.serialize_java_truststore(held, form.build(b"outward")))


def _readable(bundle: Path) -> Iterator[x509.Certificate]:
    for block in _blocks(bundle.read_bytes()):
        with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):  # odd ones, as old roots are
            yield x509.load_pem_x509_certificate(block)


def load_crls(paths: Iterable[str]) -> tuple[x509.CertificateRevocationList, ...]:
    """Read PEM files with certificate revocation lists.

    Raises:
        TrustError: a file cannot be read, or holds no list.
    """
    lists: list[x509.CertificateRevocationList] = []
    for path in paths:
        try:
            found = [x509.load_pem_x509_crl(block) for block in _CRL.findall(read_regular(Path(path), _MAX_PEM))]
        except (OSError, ValueError) as error:
            raise TrustError(f"{path} cannot be read: {error}") from error
        if not found:
            raise TrustError(f"{path} holds no PEM revocation list")
        lists += found
    return tuple(lists)


def _certificates_in(path: Path) -> bytes:
    """Return the PEM certificates of a file or folder and nothing else of it; empty where there is none."""
    try:
        if path.is_dir():
            return b"".join(dict.fromkeys(map(_certificates_in, _files(path))))
        return b"".join(block + b"\n" for block in certificates_of(read_regular(path, _MAX_PEM)))
    except OSError:
        return b""


def _files(folder: Path) -> Iterable[Path]:
    """Return the files of a folder, each once: a store of roots has most of them under two names."""
    found: dict[tuple[int, int], Path] = {}
    for path in sorted(folder.iterdir(), key=lambda each: each.name):
        with contextlib.suppress(OSError):
            status = path.stat()
            if S_ISREG(status.st_mode):
                found.setdefault((status.st_dev, status.st_ino), path)
    return found.values()


def _blocks(pem: bytes) -> list[bytes]:
    return certificates_of(pem)


def _write(path: Path, data: bytes) -> Path:
    """Write a file, unless it says the same already: its age is that of what it says."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        replace_file(path, data, 0o644)
    return path
