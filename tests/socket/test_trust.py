"""Trust: where roots are found, what combined files hold, and that a revoked certificate fails a real handshake."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.pki import Ca, key_pem, write
from outward.cli.environment import TRUSTED_BEFORE
from outward.cli.trusted import trusted_before
from outward.core.names import canonical_host
from outward.proxy import trust
from outward.proxy.ca import Authority
from outward.proxy.inspection.contexts import Contexts
from outward.proxy.inspection.tls import TlsEndpoint, words
from outward.proxy.trust import TrustError

HOST = "www.example.test"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment whose system store is one file of a test's own."""
    nowhere = str(tmp_path / "nowhere")
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile=nowhere, openssl_capath=nowhere)
    monkeypatch.setattr(trust.ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(trust, "BUNDLES", (write(tmp_path / "system.pem", b"# comment\n", Ca("System").pem),))
    return {}


def names(pem: bytes) -> list[str]:
    return [each.subject.rfc4514_string() for each in x509.load_pem_x509_certificates(pem)]


def test_this_machines_store_is_found():
    assert len(names(trust.system_store({}))) > 10


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_named_store_is_added_to_the_system_s(system: dict[str, str], tmp_path: Path, variable: str):
    """A company's CA, named alone, takes no public root away: not from the proxy, not from the tools behind it."""
    folder = tmp_path / "corp"
    folder.mkdir()
    corp = write(folder / "corp.pem", Ca("Corp").pem)
    (folder / "0a1b2c3d.0").symlink_to(corp)  # as OpenSSL looks for it
    (folder / "gone.pem").symlink_to(folder / "missing")
    (folder / "loop.pem").symlink_to(folder / "loop.pem")
    named = {variable: str(corp if variable == "SSL_CERT_FILE" else folder)}
    assert names(trust.system_store(system)) == ["CN=System"]
    assert names(trust.system_store(system | named)) == ["CN=System", "CN=Corp"]
    roots = trust.upstream_roots(["system"], tmp_path / "state", named)
    assert names(roots.read_bytes()) == ["CN=System", "CN=Corp"]
    own = write(tmp_path / "ca.pem", Ca("Outward").pem)
    assert sorted(names(trust.bundle_for_tools(own, named).read_bytes())) == ["CN=Corp", "CN=Outward", "CN=System"]


def test_a_system_without_any_roots_is_an_error(
    system: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trust, "BUNDLES", ())
    with pytest.raises(TrustError, match="no store of roots"):
        trust.system_store({"SSL_CERT_FILE": str(tmp_path / "missing")})


def test_a_folder_is_a_store_and_each_certificate_counts_once(system: dict[str, str], tmp_path: Path):
    folder = tmp_path / "certs"
    folder.mkdir()
    one = write(folder / "one.pem", Ca("One").pem)
    write(folder / "two.crt", Ca("Two").pem)
    (folder / "0a1b2c3d.0").symlink_to(one)
    assert sorted(names(trust.system_store({"SSL_CERT_DIR": str(folder)}))) == ["CN=One", "CN=System", "CN=Two"]


def test_roots_are_what_the_configuration_names_without_keys(system: dict[str, str], tmp_path: Path):
    mine = Ca("Mine")
    file = str(write(tmp_path / "mine.pem", key_pem(mine.key), mine.pem))
    both = trust.upstream_roots(["system", file], tmp_path / "state", system).read_bytes()
    assert names(both) == ["CN=System", "CN=Mine"]
    assert b"PRIVATE" not in both
    assert names(trust.upstream_roots([file], tmp_path / "state", system).read_bytes()) == ["CN=Mine"]


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_without_certificates_is_an_error(system: dict[str, str], tmp_path: Path, content: bytes | None):
    file = tmp_path / "roots.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TrustError, match=r"roots\.pem"):
        trust.upstream_roots(["system", str(file)], tmp_path, system)


def test_trusting_nothing_is_an_error(tmp_path: Path):
    with pytest.raises(TrustError, match="empty"):
        trust.upstream_roots([], tmp_path, {})


def test_the_bundle_for_tools_has_the_system_and_our_ca(system: dict[str, str], tmp_path: Path):
    ca_pem = write(tmp_path / "ca.pem", Ca("Ours").pem)
    bundle = trust.bundle_for_tools(ca_pem, system)
    assert bundle.parent == tmp_path
    assert names(bundle.read_bytes()) == ["CN=System", "CN=Ours"]
    status = bundle.stat()
    assert trust.bundle_for_tools(ca_pem, system).stat().st_ino == status.st_ino
    with pytest.raises(TrustError):
        trust.bundle_for_tools(tmp_path / "missing.pem", system)


def test_the_bundle_for_tools_keeps_the_roots_that_the_caller_had(system: dict[str, str], tmp_path: Path):
    """Once each; another caller's bundle stays as it was, and what cannot be read adds nothing."""
    ca_pem = write(tmp_path / "ca.pem", Ca("Ours").pem)
    corporate = write(tmp_path / "corporate.pem", Ca("Corporate").pem)
    plain = trust.bundle_for_tools(ca_pem, system, [tmp_path / "missing.pem"])
    caller = {**system, "CURL_CA_BUNDLE": str(corporate), "NODE_EXTRA_CA_CERTS": str(corporate), "PIP_CERT": "/nowhere"}
    bundle = trust.bundle_for_tools(ca_pem, caller, trusted_before(caller))
    assert names(bundle.read_bytes()) == ["CN=System", "CN=Ours", "CN=Corporate"]
    assert names(plain.read_bytes()) == ["CN=System", "CN=Ours"]
    nested = {**system, **dict.fromkeys(TRUSTED_BEFORE, str(bundle))}
    again = trust.bundle_for_tools(ca_pem, nested, trusted_before(nested))
    assert sorted(names(again.read_bytes())) == ["CN=Corporate", "CN=Ours", "CN=System"]


class Verifying:
    """The client of the inspect lane, which shakes hands in memory with a server of a given certificate."""

    def __init__(self, folder: Path, root: Ca, *lists: bytes) -> None:
        self.folder = folder
        crls = trust.load_crls([str(write(folder / "crl.pem", *lists))]) if lists else ()
        self.contexts = Contexts(Authority(folder / "ca"), write(folder / "root.pem", root.pem), crls)

    def objection(self, issuer: Ca, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> str | None:
        """Shake hands, and return what is said against the server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        context.load_cert_chain(write(self.folder / "server.pem", key_pem(key), pem, issuer.pem))
        server, client = TlsEndpoint(context), self.contexts.connect(canonical_host(HOST))
        client.shake()
        try:
            while not client.shaken:
                server.receive(client.pending())
                client.receive(server.pending())
        except ssl.SSLError as error:
            return words(error)
        return self.contexts.objection(client)


def test_a_revoked_certificate_fails_and_its_sisters_pass(tmp_path: Path):
    root = Ca("Root")
    bad, good = root.server(HOST), root.server(HOST)
    assert Verifying(tmp_path, root).objection(root, *bad) is None
    client = Verifying(tmp_path, root, root.crl(bad[0]))
    assert client.objection(root, *good) is None
    assert client.objection(root, *bad) == "the certificate is revoked"


def test_a_revoked_intermediate_fails_too(tmp_path: Path):
    root = Ca("Root")
    middle = Ca("Middle", issuer=root)
    leaf = middle.server(HOST)
    assert Verifying(tmp_path, root).objection(middle, *leaf) is None
    client = Verifying(tmp_path, root, root.crl(middle.certificate))
    assert client.objection(middle, *leaf) == "the certificate is revoked"


def test_issuers_without_a_list_are_not_touched_and_other_failures_stay_failures(tmp_path: Path):
    root, other = Ca("Root"), Ca("Other")
    client = Verifying(tmp_path, root, other.crl())
    assert client.objection(root, *root.server(HOST)) is None
    assert "cannot be verified" in str(client.objection(other, *other.server(HOST)))


def test_a_list_that_has_ended_or_is_forged_fails_its_issuer(tmp_path: Path):
    root = Ca("Root")
    impostor = Ca("Root")
    for crl, why in ((root.crl(ended=True), "has ended"), (impostor.crl(), "is not signed by its issuer")):
        assert why in str(Verifying(tmp_path, root, crl).objection(root, *root.server(HOST)))


def test_the_newest_list_counts_and_a_forged_one_beside_it_does_not(tmp_path: Path):
    root = Ca("Root")
    server = root.server(HOST)
    lists = (root.crl(ended=True), root.crl(), Ca("Root").crl(server[0]))
    assert Verifying(tmp_path, root, *lists).objection(root, *server) is None


def test_a_list_that_says_more_than_is_understood_fails_its_issuer(tmp_path: Path):
    """One of some certificates, or of changes: that one is not on it says nothing (RFC 5280 5.2)."""
    root = Ca("Root")
    partial = root.crl(critical=x509.DeltaCRLIndicator(1))
    assert "not understood" in str(Verifying(tmp_path, root, partial).objection(root, *root.server(HOST)))


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_a_file_without_a_list_is_an_error(tmp_path: Path, content: bytes | None):
    file = tmp_path / "crl.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TrustError, match=r"crl\.pem"):
        trust.load_crls([str(file)])
