"""The certificate authority: its files, its rotation, and leaves that real TLS stacks believe."""

import contextlib
import datetime as dt
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.pki import DAY, Ca, key_pem, write
from harness.process import outward
from harness.waiting import PATIENCE
from outward.core.names import canonical_host
from outward.proxy import ca, castore
from outward.proxy.ca import Authority, AuthorityError, Leaf
from outward.proxy.trust import bundle_for_tools, extend_bundles

HOSTS = ["www.example.com", "192.0.2.1", "[2001:db8::1]", ".".join(["a" * 60] * 4), "xn--mnchen-3ya.example"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def handshake(leaf: Leaf, trusted: Path, host: str, folder: Path) -> None:
    """Shake hands in memory with Python's own, strict TLS client; raises where it does not believe the leaf."""
    secret = write(folder / "leaf.pem", key_pem(leaf.key), leaf.chain_pem)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(secret)
    client_context = ssl.create_default_context(cafile=trusted)
    client_context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=host)
    server = server_context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    client.do_handshake()


def test_key_and_folder_are_for_the_owner_alone_and_no_key_is_in_the_certificate(tmp_path: Path):
    state = tmp_path / "deep" / "state"
    authority = Authority(state)
    assert (mode(state), mode(state / "ca-key.pem"), mode(authority.pem)) == (0o700, 0o600, 0o644)
    assert b"PRIVATE" not in authority.pem.read_bytes()
    assert authority.pem == state / "ca.pem"
    assert x509.load_pem_x509_certificate(authority.pem.read_bytes()) == authority.certificate
    assert sorted(each.name for each in state.iterdir()) == ["ca-key.pem", "ca.lock", "ca.pem"]


def test_the_same_ca_is_found_again(tmp_path: Path):
    assert Authority(tmp_path).certificate == Authority(tmp_path).certificate


def test_processes_that_start_together_agree_on_one_ca(tmp_path: Path):
    state = tmp_path / "state"
    code = "import sys; from pathlib import Path; from outward.proxy.ca import Authority; print(Authority(Path(sys.argv[1])).certificate.serial_number)"
    start = [sys.executable, "-c", code, str(state)]
    with contextlib.ExitStack() as stack:
        together = [stack.enter_context(subprocess.Popen(start, stdout=subprocess.PIPE)) for _ in range(4)]
        serials = {int(process.communicate(timeout=PATIENCE)[0]) for process in together}
    assert serials == {Authority(state).certificate.serial_number}


@pytest.mark.parametrize("host", HOSTS)
def test_a_leaf_is_believed_for_its_host_and_for_no_other(tmp_path: Path, host: str):
    authority = Authority(tmp_path)
    name = canonical_host(host)
    handshake(authority.leaf(name), authority.pem, name.name, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority.leaf(name), authority.pem, "other.example.com", tmp_path)


def test_openssl_believes_a_leaf_strictly(tmp_path: Path):
    authority = Authority(tmp_path)
    leaf = write(tmp_path / "leaf.pem", authority.leaf(canonical_host("www.example.com")).chain_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", authority.pem, leaf]
    assert subprocess.run(command, capture_output=True, check=True).stdout.endswith(b"OK\n")


def test_no_key_does_two_jobs(tmp_path: Path):
    authority = Authority(tmp_path)
    root = serialization.load_pem_private_key((tmp_path / "ca-key.pem").read_bytes(), None)
    one, two = (authority.leaf(canonical_host(host)) for host in ("a.example.com", "b.example.com"))
    assert one.key is two.key
    assert one.key.public_key() == one.certificate.public_key() != root.public_key()
    assert one.key != Authority(tmp_path).leaf(canonical_host("a.example.com")).key


def test_what_the_root_and_its_leaves_may_do(tmp_path: Path):
    authority = Authority(tmp_path)
    root = authority.certificate
    leaf = authority.leaf(canonical_host("www.example.com")).certificate
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= ca.LEAF_LIFE + castore.SKEW
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)


def test_leaves_are_kept_within_a_bound_the_least_used_going_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ca, "LEAVES", 3)
    authority = Authority(tmp_path)
    hosts = [canonical_host(f"h{n}.example.com") for n in range(4)]
    first, second = authority.leaf(hosts[0]), authority.leaf(hosts[1])
    authority.leaf(hosts[2])
    assert authority.leaf(hosts[0]) is first
    authority.leaf(hosts[3])
    assert len(authority._leaves) == 3
    assert authority.leaf(hosts[0]) is first
    assert authority.leaf(hosts[1]) is not second


def test_a_leaf_is_replaced_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority = Authority(tmp_path)
    host = canonical_host("www.example.com")
    monkeypatch.setattr(ca, "LEAF_LIFE", ca.LEAF_RENEW)
    short = authority.leaf(host)
    monkeypatch.undo()
    long = authority.leaf(host)
    assert long is not short
    assert authority.leaf(host) is long


def test_the_next_root_is_published_before_it_signs_and_no_handshake_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Two gateways share the folder; clients hold the bundle of the announcement, or of after the change."""
    state, host = tmp_path / "state", canonical_host("www.example.com")
    monkeypatch.setattr(castore, "ROOT_LIFE", castore.RENEW_BEFORE + dt.timedelta(seconds=1))
    one, two = Authority(state), Authority(state)
    old = one.certificate
    monkeypatch.undo()
    monkeypatch.setattr(castore, "RENEW_BEFORE", castore.RENEW_BEFORE + DAY)
    for gateway in (one, two, one):
        assert not gateway.refresh()
        assert gateway.certificate == old
    announced = x509.load_pem_x509_certificates(one.pem.read_bytes())
    assert (announced[0], len(announced)) == (old, 2)
    assert mode(state / "ca-next.pem") == 0o600
    before = write(tmp_path / "before.pem", one.pem.read_bytes())
    handshake(one.leaf(host), before, host.name, tmp_path)
    monkeypatch.setattr(castore, "ANNOUNCE", dt.timedelta(0))
    assert one.refresh()
    assert "clients must trust the new certificate" in caplog.text
    assert set(x509.load_pem_x509_certificates(one.pem.read_bytes())) == set(announced)
    for gateway in (one, two):  # the second has not looked yet
        for trusted in (before, one.pem):
            handshake(gateway.leaf(host), trusted, host.name, tmp_path)
    assert two.refresh()
    assert not one.refresh()
    assert one.certificate == two.certificate == announced[1]
    assert Authority(state).certificate == announced[1]
    for trusted in (before, one.pem):
        handshake(two.leaf(host), trusted, host.name, tmp_path)
    monkeypatch.setattr(castore, "RENEW_BEFORE", dt.timedelta(0))
    assert not one.refresh()
    assert len(x509.load_pem_x509_certificates(one.pem.read_bytes())) == 2
    assert not (state / "ca-next.pem").exists()


def root(folder: Path, name: str, key: ec.EllipticCurvePrivateKey | None = None):
    """Write an operator's CA, always of one subject: its certificate, its two files and its key."""
    ca = Ca("Outward CA")
    ca.key = key or ca.key
    constraints, usage = x509.BasicConstraints(ca=True, path_length=None), castore.key_usage(ca=True)
    made = ca.sign(ca.name, ca.key, constraints, usage)
    files = write(folder / f"{name}.crt", castore.pem_of(made)), write(folder / f"{name}.key", key_pem(ca.key))
    return made, files, ca.key


def test_a_renewal_that_keeps_the_key_breaks_no_agent(tmp_path: Path):
    """What cert-manager does with `rotationPolicy: Never`: agents and gateways from before and after, side by side."""
    host, gateways, agents = canonical_host("www.example.com"), {}, {}
    _, _, key = root(tmp_path, "any")
    for name, its_key in (("before", key), ("after", key), ("another key", None)):
        certificate, files, _ = root(tmp_path, name, its_key)
        gateways[name] = Authority(tmp_path / f"state {name}", files)
        agents[name] = write(tmp_path / f"{name}.pem", castore.pem_of(certificate))
    assert gateways["before"].certificate != gateways["after"].certificate
    for agent in ("before", "after"):
        for gateway in ("before", "after"):
            handshake(gateways[gateway].leaf(host), agents[agent], host.name, tmp_path)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(gateways["another key"].leaf(host), agents[agent], host.name, tmp_path)


def test_a_bundle_of_both_believes_gateways_on_either_side_of_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A ConfigMap of trust-manager, the file of `outward env`, and `ca.pem` itself, whichever gateway answers."""
    host, now = canonical_host("www.example.com"), dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    old, new = castore._make_root(keys[0], now - 10 * DAY), castore._make_root(keys[1], now)
    system = write(tmp_path / "system.pem", Ca("a public root").pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    current = write(tmp_path / "ca.crt", castore.pem_of(old)), write(tmp_path / "ca.key", key_pem(keys[0]))
    running = Authority(tmp_path / "state", current)
    ours = bundle_for_tools(running.pem)
    assert running.others() == ([], [])
    write(current[0], castore.pem_of(new))
    write(current[1], key_pem(keys[1]))
    assert not running.refresh()
    extend_bundles(running.pem)
    started = Authority(tmp_path / "state of a new pod", current)
    mapped = write(tmp_path / "configmap.pem", system.read_bytes(), castore.pem_of(old, new))  # sources, joined
    assert (running.certificate, started.certificate) == (old, new)
    for agent in (mapped, ours, running.pem):
        for gateway in (running, started):
            handshake(gateway.leaf(host), agent, host.name, tmp_path)
    public = x509.load_pem_x509_certificate(system.read_bytes())
    assert {public, old, new} <= set(x509.load_pem_x509_certificates(ours.read_bytes()))
    assert running.others() == ([new.not_valid_after_utc.timestamp()], [])


def test_a_key_that_others_can_read_is_closed_and_one_of_somebody_else_refused(tmp_path: Path):
    Authority(tmp_path)
    key = tmp_path / "ca-key.pem"
    key.chmod(0o644)
    Authority(tmp_path)
    assert mode(key) == 0o600
    moved = key.rename(tmp_path / "elsewhere.pem")
    key.symlink_to(moved)
    with pytest.raises(AuthorityError, match="belongs to somebody else"):
        Authority(tmp_path)


def test_a_key_file_that_cannot_be_read_is_an_error_and_never_replaced(tmp_path: Path):
    Authority(tmp_path)
    key = write(tmp_path / "ca-key.pem", b"-----BEGIN PRIVATE KEY-----\nbroken\n")
    with pytest.raises(AuthorityError, match="no CA can be read"):
        Authority(tmp_path)
    assert b"broken" in key.read_bytes()


class TestOperator:
    """A CA that the operator provides."""

    @staticmethod
    def test_its_chain_is_sent_and_its_root_is_what_clients_trust(tmp_path: Path):
        root = Ca("Root")
        middle = Ca("Middle", issuer=root)
        files = (write(tmp_path / "tls.crt", middle.pem, root.pem), write(tmp_path / "tls.key", key_pem(middle.key)))
        authority = Authority(tmp_path / "state", files)
        leaf = authority.leaf(canonical_host("www.example.com"))
        assert leaf.chain == (middle.certificate,)
        assert authority.pem.read_bytes() == root.pem
        assert not (tmp_path / "state" / "ca-key.pem").exists()

    @staticmethod
    def test_changed_files_are_published_then_sign_and_bad_ones_leave_the_ca_in_force(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        first, second = Ca("First"), Ca("Second")
        files = (write(tmp_path / "tls.crt", first.pem), write(tmp_path / "tls.key", key_pem(first.key)))
        authority = Authority(tmp_path / "state", files)
        assert not authority.refresh()
        write(files[0], second.pem)
        with pytest.raises(AuthorityError, match="no CA certificate for the key"):
            authority.refresh()
        assert authority.certificate == first.certificate
        write(files[1], key_pem(second.key))
        assert not authority.refresh()  # published, and does not sign yet
        both = x509.load_pem_x509_certificates(authority.pem.read_bytes())
        assert set(both) == {first.certificate, second.certificate}
        assert authority.certificate == first.certificate
        assert Authority(tmp_path / "state", files).certificate == second.certificate  # holds no other key
        assert set(x509.load_pem_x509_certificates(authority.pem.read_bytes())) == set(both)
        monkeypatch.setattr(ca, "ANNOUNCE", dt.timedelta(0))
        assert authority.refresh()
        assert authority.certificate == second.certificate
        assert not authority.refresh()
        assert set(x509.load_pem_x509_certificates(authority.pem.read_bytes())) == set(both)

    @staticmethod
    def test_an_rsa_key_signs_too(tmp_path: Path):
        operator = Ca("Curve")
        operator.key = rsa.generate_private_key(65537, 2048)
        operator.certificate = operator.sign(operator.name, operator.key, x509.BasicConstraints(ca=True, path_length=0))
        files = (write(tmp_path / "tls.crt", operator.pem), write(tmp_path / "tls.key", key_pem(operator.key)))
        leaf = Authority(tmp_path / "state", files).leaf(canonical_host("www.example.com"))
        leaf.certificate.verify_directly_issued_by(operator.certificate)

    @staticmethod
    def test_one_that_has_ended_or_is_no_ca_is_refused(tmp_path: Path):
        ended = Ca("Ended", ends=dt.datetime.now(dt.UTC) - DAY)
        leaf, key = Ca("Good").server("www.example.com")
        pem = leaf.public_bytes(serialization.Encoding.PEM)
        for certificate, secret, why in ((ended.pem, ended.key, "tls.crt ended at"), (pem, key, "no CA")):
            files = (write(tmp_path / "tls.crt", certificate), write(tmp_path / "tls.key", key_pem(secret)))
            with pytest.raises(AuthorityError, match=why):
                Authority(tmp_path / "state", files)

    @staticmethod
    @pytest.mark.parametrize("verb", ["ca", "env"])
    @pytest.mark.parametrize(("state", "said"), [("state", "ended at"), ("/dev/null/state", "server.state")])
    def test_verbs_that_show_it_say_what_is_wrong_with_it(tmp_path: Path, verb: str, state: str, said: str):
        """Not with a traceback, which `eval "$(outward env)"` would swallow with its last line."""
        ended = Ca("Ended", ends=dt.datetime.now(dt.UTC) - DAY)
        files = (write(tmp_path / "tls.crt", ended.pem), write(tmp_path / "tls.key", key_pem(ended.key)))
        names = "" if state.startswith("/") else f", ca: {{cert: {files[0]}, key: {files[1]}}}"
        config = tmp_path / "outward.yaml"
        config.write_text(f"version: 1\nserver: {{state: {tmp_path / state}{names}}}\n")
        done = outward(verb, "--config", config)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        assert said in done.stderr
