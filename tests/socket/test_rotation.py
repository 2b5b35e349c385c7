"""Certificates, keys and tokens that are replaced while traffic flows: not one request fails, and nothing half is used."""

import shutil
import ssl
import threading
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography import x509

from harness.doorway import OPENED, SPIFFE, connect
from harness.process import Echo, Served, outward
from harness.waiting import PATIENCE, wait_for

OLD, NEW = "owt_the-old-one-0123", "owt_the-new-one-0123"


@pytest.fixture
def pki(tmp_path):
    """A CA of the proxy's certificate, with two certificates in two folders, and one of its clients."""
    server, clients = trustme.CA(), trustme.CA()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        issued = server.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(folder / "tls.key")
        issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
        clients.cert_pem.write_to_path(folder / "clients.pem")
    return tmp_path, server, clients, None


@pytest.fixture
def echo():
    origin = Echo()
    yield origin
    origin.close()


@pytest.fixture
def served(tmp_path, pki, echo):
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "tokens").write_text(OLD)
    for name in ("tls.key", "tls.crt", "clients.pem"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    config = tmp_path / "outward.yaml"
    config.write_text(
        "version: 1\n"
        f"server:\n  listen: 127.0.0.1:0\n  ops: 127.0.0.1:0\n  state: '{tmp_path}/state'\n"
        "  tls: {cert: tls.crt, key: tls.key, client_ca: clients.pem}\n"
        "upstream:\n  internal: [127.0.0.1/32]\n  dns: {hosts: {origin.test: [127.0.0.1]}}\n"
        f"groups:\n  bots:\n    allow: [{{host: origin.test, ports: [{echo.port}], tls: false}}]\n"
        f"clients:\n  - {{group: bots, certificate: '{SPIFFE}'}}\n  - {{group: bots, certificate: bot.example}}\n"
    )
    running = Served(config, OUTWARD_ADMIN_TOKEN_FILE=str(tmp_path / "tokens"))
    yield running
    running.end()


def serial(folder: Path) -> int:
    return x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes()).serial_number


def shown(served, pki, port) -> int:
    """Open a tunnel, and return the serial number of the certificate that the proxy shows for it."""
    sock, answer = connect(served, pki, port, issuer=pki[2], identity="bot.example")
    with sock:
        assert answer.startswith(OPENED)
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        return x509.load_der_x509_certificate(sock.getpeercert(binary_form=True)).serial_number


def test_a_listeners_certificate_is_swapped_under_traffic(served, pki, echo):
    """By the swap of a symlink above the files; connections that are open go on."""
    folder = pki[0]
    sock, answer = connect(served, pki, echo.port, issuer=pki[2], identity="bot.example")
    assert answer.startswith(OPENED)
    assert shown(served, pki, echo.port) == serial(folder / "one")
    (folder / "..next").symlink_to("two")
    (folder / "..next").replace(folder / "..data")
    wait_for(lambda: shown(served, pki, echo.port) == serial(folder / "two"))
    sock.sendall(b"still")
    assert sock.recv(5) == b"still"
    sock.close()
    ends = x509.load_pem_x509_certificate((folder / "two" / "tls.crt").read_bytes()).not_valid_after_utc.timestamp()
    metrics = served.get("/metrics")[1]
    line = next(each for each in metrics.splitlines() if each.startswith("outward_server_certificate_expiry"))
    assert float(line.split()[1]) == ends
    assert "outward_client_ca_expiry_timestamp_seconds" in metrics


def test_halves_and_strangers_leave_the_last_good_in_force(served, pki, echo):
    """A key beside another one's certificate, a half-written file, none at all: told, and mended by the next change."""
    folder = pki[0]

    def told() -> str:
        return served.get("/readyz")[1]

    shutil.copy(folder / "two" / "tls.key", folder / "one" / "tls.key")
    wait_for(lambda: "server.tls" in told())
    assert served.get("/readyz")[0] == 200
    assert shown(served, pki, echo.port) == serial(folder / "one")
    whole = (folder / "two" / "tls.crt").read_bytes()
    (folder / "one" / "tls.crt").write_bytes(whole[: len(whole) // 2])
    (folder / "one" / "tls.key").unlink()
    assert shown(served, pki, echo.port) != serial(folder / "two")
    shutil.copy(folder / "two" / "tls.key", folder / "one" / "tls.key")
    (folder / "one" / "tls.crt").write_bytes(whole)
    wait_for(lambda: shown(served, pki, echo.port) == serial(folder / "two"))
    wait_for(lambda: "server.tls" not in told())


def test_an_admin_token_is_rotated_without_one_refused_request(served, tmp_path):
    """The file holds the old and the new one while one takes over from the other."""
    url = "http://{}:{}/api/v1/groups".format(*served.ops)
    stop, statuses, token = threading.Event(), [], [OLD]

    def ask(secret: str) -> int:
        return httpx.get(url, headers={"Authorization": f"Bearer {secret}"}, timeout=PATIENCE).status_code

    def traffic() -> None:
        while not stop.is_set():
            statuses.append(ask(token[0]))

    reader = threading.Thread(target=traffic)
    reader.start()
    page = httpx.Client(base_url=url.removesuffix("/api/v1/groups"), timeout=PATIENCE)
    assert page.post("/login", data={"token": OLD}).status_code == 303
    (tmp_path / "tokens").write_text(f"{OLD}\n{NEW}\n")
    wait_for(lambda: ask(NEW) == 200)
    assert page.get("/api/v1/groups").status_code == 200
    token[0] = NEW
    asked = len(statuses)
    wait_for(lambda: len(statuses) > asked + 1)
    (tmp_path / "tokens").write_text(NEW)
    wait_for(lambda: ask(OLD) == 401)
    wait_for(lambda: page.get("/api/v1/groups").status_code == 401)
    (tmp_path / "tokens").write_text("x")  # too short: the last good one stays
    wait_for(lambda: "admin token" in served.get("/readyz")[1])
    stop.set()
    reader.join()
    assert set(statuses) == {200}
    assert NEW not in served.log
    assert ask(NEW) == 200


@pytest.mark.parametrize("secret", ["x", "fifteen-letters"])
def test_a_short_admin_token_is_refused_by_check_and_at_start(tmp_path, secret):
    config = tmp_path / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{state: '{tmp_path}/state', listen: 127.0.0.1:0, ops: 127.0.0.1:0}}\n"
        "groups: {a: {allow: [example.com]}}\nclients: [{group: a, anyone: true}]\n"
    )
    (tmp_path / "token").write_text(secret)
    for more in ({"OUTWARD_ADMIN_TOKEN": secret}, {"OUTWARD_ADMIN_TOKEN_FILE": str(tmp_path / "token")}):
        for verb, status in (("check", 3), ("serve", 1)):
            done = outward(verb, "--config", config, **more)
            assert done.returncode == status, done.stdout + done.stderr
            assert "at least 16 characters" in done.stdout + done.stderr
            assert secret == "x" or secret not in done.stdout + done.stderr


def test_roots_that_openssl_refuses_are_an_error_of_check_and_of_start(tmp_path):
    """A PEM block whose content is no certificate: else the first destination would find out."""
    (tmp_path / "roots.pem").write_text("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n")
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context(cafile=tmp_path / "roots.pem")
    config = tmp_path / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{state: '{tmp_path}/state', listen: 127.0.0.1:0, ops: 127.0.0.1:0}}\n"
        "upstream: {trust: [system, roots.pem]}\n"
        "groups: {a: {allow: [example.com]}}\nclients: [{group: a, anyone: true}]\n"
    )
    for verb in ("check", "serve"):
        done = outward(verb, "--config", config)
        assert done.returncode == 3
        assert "roots.pem" in done.stdout + done.stderr
