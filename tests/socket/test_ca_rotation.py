"""An operator's CA is replaced while `serve` runs under traffic: the new one is published, and not one request fails."""

import signal
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.process import Served
from harness.waiting import PATIENCE, wait_for
from harness.web import Web


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Web]:
    running = Web(tmp_path)
    yield running
    running.close()


def put(folder: Path, ca: trustme.CA) -> None:
    """Put a CA where the configuration names it: the two files one after the other, as an operator does."""
    ca.private_key_pem.write_to_path(folder / "ca.key")
    (folder / "ca.key").chmod(0o600)
    ca.cert_pem.write_to_path(folder / "ca.crt")


def der(ca: trustme.CA) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ca.cert_pem.bytes().decode())


@pytest.fixture
def first(tmp_path: Path) -> trustme.CA:
    put(tmp_path, ca := trustme.CA())
    return ca


@pytest.fixture
def config(tmp_path: Path, first: trustme.CA, origin: Web) -> Path:
    config = tmp_path / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0, state: '{tmp_path}/state',"
        " ca: {cert: ca.crt, key: ca.key}}\n"
        f"upstream: {{trust: [{origin.ca.name}], internal: [127.0.0.1/32], dns: {{hosts: {{origin.test: [127.0.0.1]}}}}}}\n"
        f"groups: {{bots: {{allow: [{{host: origin.test, ports: [{origin.port}], methods: [GET]}}]}}}}\n"
        "clients: [{group: bots, anyone: true}]\n"
    )
    return config


@pytest.mark.parametrize("hup", [False, True], ids=["by its content", "at a HUP"])
def test_a_new_ca_is_published_at_once_and_signs_after_a_restart(
    config: Path, first: trustme.CA, origin: Web, hup: bool
) -> None:
    published, second = config.parent / "state" / "ca.pem", trustme.CA()
    stop, statuses, served = threading.Event(), [], Served(config)

    def trusting(bundle: bytes) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=bundle.decode())
        assert context.get_ca_certs()
        return context

    def asked(proxy: tuple[str, int], context: ssl.SSLContext) -> int | str:
        try:
            with httpx.Client(proxy="http://{}:{}".format(*proxy), verify=context, timeout=PATIENCE) as client:
                return client.get(f"{origin.url}/").status_code
        except httpx.HTTPError as error:
            return str(error)

    before = trusting(published.read_bytes())  # an agent reads its bundle when it starts, and never again

    def traffic() -> None:
        while not stop.is_set():
            statuses.append(asked(served.proxy, before))

    client = threading.Thread(target=traffic)
    client.start()
    try:
        wait_for(lambda: len(statuses) > 2)
        put(config.parent, second)
        if hup:
            served.signal(signal.SIGHUP)
        wait_for(lambda: der(second) in in_bundle(published))
        assert der(first) in in_bundle(published)
        seen = len(statuses)
        wait_for(lambda: len(statuses) > seen + 2)
        assert asked(served.proxy, trusting(published.read_bytes())) == 200
    finally:
        stop.set()
        client.join()
        served.end()
    assert set(statuses) == {200}

    started = Served(config)
    try:
        assert asked(started.proxy, trusting(published.read_bytes())) == 200
        assert asked(started.proxy, trusting(second.cert_pem.bytes())) == 200, "the new one signs now"
    finally:
        started.end()


def in_bundle(path: Path) -> list[bytes]:
    """Return the certificates of a bundle."""
    found = x509.load_pem_x509_certificates(path.read_bytes())
    return [each.public_bytes(Encoding.DER) for each in found]
