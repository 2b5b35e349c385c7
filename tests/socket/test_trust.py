"""Trust: where roots are found, what combined files hold, and that a revoked certificate fails a real handshake."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from harness.pki import Ca, key_pem, write
from outward.cli.environment import TRUSTED_BEFORE
from outward.proxy import trust
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
    plain = trust.bundle_for_tools(ca_pem, system, ["CURL_CA_BUNDLE"])
    caller = {**system, "CURL_CA_BUNDLE": str(corporate), "NODE_EXTRA_CA_CERTS": str(corporate), "PIP_CERT": "/nowhere"}
    bundle = trust.bundle_for_tools(ca_pem, caller, TRUSTED_BEFORE)
    assert names(bundle.read_bytes()) == ["CN=System", "CN=Ours", "CN=Corporate"]
    assert names(plain.read_bytes()) == ["CN=System", "CN=Ours"]
    nested = {**system, **dict.fromkeys(TRUSTED_BEFORE, str(bundle))}
    again = trust.bundle_for_tools(ca_pem, nested, TRUSTED_BEFORE)
    assert sorted(names(again.read_bytes())) == ["CN=Corporate", "CN=Ours", "CN=System"]


class Verifying:
    """A pyOpenSSL client that shakes hands in memory with a server of a given certificate."""

    def __init__(self, folder: Path, root: Ca) -> None:
        self.folder = folder
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context.set_verify(SSL.VERIFY_PEER, None)
        self.context.load_verify_locations(str(write(folder / "root.pem", root.pem)))

    def check(self, *parts: bytes) -> None:
        trust.check_revocation(self.context, trust.load_crls([str(write(self.folder / "crl.pem", *parts))]))

    def shake(self, issuer: Ca, certificate, key) -> None:
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        server_context.load_cert_chain(write(self.folder / "server.pem", key_pem(key), pem, issuer.pem))
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(up, down, server_side=True)
        client = SSL.Connection(self.context)
        client.set_connect_state()
        for _ in range(4):
            with_progress(client.do_handshake, SSL.WantReadError)
            _move(client, up)
            with_progress(server.do_handshake, ssl.SSLWantReadError)
            if down.pending:
                client.bio_write(down.read())
        client.do_handshake()


def with_progress(step: Callable[[], None], wants_more: type[Exception]) -> None:
    try:
        step()
    except wants_more:
        return


def _move(client: SSL.Connection, to: ssl.MemoryBIO) -> None:
    try:
        to.write(client.bio_read(65536))
    except SSL.WantReadError:
        return


def test_a_revoked_certificate_fails_and_its_sisters_pass(tmp_path: Path):
    root = Ca("Root")
    bad, good = root.server(HOST), root.server(HOST)
    Verifying(tmp_path, root).shake(root, *bad)
    client = Verifying(tmp_path, root)
    client.check(root.crl(bad[0]))
    client.shake(root, *good)
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        client.shake(root, *bad)


def test_a_revoked_intermediate_fails_too(tmp_path: Path):
    root = Ca("Root")
    middle = Ca("Middle", issuer=root)
    leaf = middle.server(HOST)
    Verifying(tmp_path, root).shake(middle, *leaf)
    client = Verifying(tmp_path, root)
    client.check(root.crl(middle.certificate))
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        client.shake(middle, *leaf)


def test_issuers_without_a_list_are_not_touched_and_other_failures_stay_failures(tmp_path: Path):
    root, other = Ca("Root"), Ca("Other")
    client = Verifying(tmp_path, root)
    client.check(other.crl())
    client.shake(root, *root.server(HOST))
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        client.shake(other, *other.server(HOST))


def test_a_list_that_has_ended_or_is_forged_fails_its_issuer(tmp_path: Path):
    root = Ca("Root")
    impostor = Ca("Root")
    for crl in (root.crl(ended=True), impostor.crl()):
        client = Verifying(tmp_path, root)
        client.check(crl)
        with pytest.raises(SSL.Error, match="certificate verify failed"):
            client.shake(root, *root.server(HOST))


def test_no_lists_change_nothing(tmp_path: Path):
    root = Ca("Root")
    client = Verifying(tmp_path, root)
    trust.check_revocation(client.context, ())
    client.shake(root, *root.server(HOST))


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_a_file_without_a_list_is_an_error(tmp_path: Path, content: bytes | None):
    file = tmp_path / "crl.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TrustError, match=r"crl\.pem"):
        trust.load_crls([str(file)])
