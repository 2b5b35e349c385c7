"""Roots that destinations are verified by change while `serve` runs: read beside the loop, and never half or refused ones used."""

import ssl

import httpx
import pytest
import trustme

from harness.process import Served
from harness.waiting import PATIENCE, wait_for
from harness.web import Web


@pytest.fixture
def origin(tmp_path):
    running = Web(tmp_path)
    yield running
    running.close()


@pytest.fixture
def served(tmp_path, origin):
    (tmp_path / "roots.pem").write_bytes(origin.ca.read_bytes())
    config = tmp_path / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0, state: '{tmp_path}/state'}}\n"
        "upstream: {trust: [roots.pem], internal: [127.0.0.1/32], dns: {hosts: {origin.test: [127.0.0.1]}}}\n"
        f"groups: {{bots: {{allow: [{{host: origin.test, ports: [{origin.port}], methods: [GET]}}]}}}}\n"
        "clients: [{group: bots, anyone: true}]\n"
    )
    running = Served(config)
    yield running
    running.end()


def asked(served, tmp_path, origin) -> int:
    """The status of a request on a connection of its own."""
    context = ssl.create_default_context(cafile=str(tmp_path / "state" / "ca.pem"))
    with httpx.Client(proxy="http://{}:{}".format(*served.proxy), verify=context, timeout=PATIENCE) as client:
        return client.get(f"{origin.url}/").status_code


def note(served) -> str:
    return served.readiness()["checks"]["rotation"]


def failing(served) -> bool:
    return served.metric("outward_rotation_failing") == 1


def test_roots_are_taken_up_and_refused_ones_are_told_while_the_last_good_stay(served, tmp_path, origin):
    roots, other = tmp_path / "roots.pem", trustme.CA()
    assert asked(served, tmp_path, origin) == 200
    roots.write_bytes(other.cert_pem.bytes())
    wait_for(lambda: asked(served, tmp_path, origin) == 502)
    roots.write_bytes(other.cert_pem.bytes() + origin.ca.read_bytes())
    wait_for(lambda: asked(served, tmp_path, origin) == 200)

    roots.write_text("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n")
    wait_for(lambda: "upstream.trust: " in note(served))
    assert failing(served)
    wait_for(lambda: "upstream.trust: the new files cannot be used" in served.log)
    assert served.get("/readyz")[0] == 200
    assert asked(served, tmp_path, origin) == 200

    roots.write_bytes(origin.ca.read_bytes())
    wait_for(lambda: note(served) == "ok")
    assert not failing(served)
    assert asked(served, tmp_path, origin) == 200


def test_a_long_bundle_fails_no_request(served, tmp_path, origin):
    """Where loops are watched, it may hold none up either."""
    more = b"".join(trustme.CA().cert_pem.bytes() for _ in range(20)) * 50
    (tmp_path / "roots.pem").write_bytes(more + origin.ca.read_bytes())
    for _ in range(3):
        assert asked(served, tmp_path, origin) == 200
    wait_for(lambda: "upstream.trust: the new files are in force" in served.log)
    assert asked(served, tmp_path, origin) == 200
