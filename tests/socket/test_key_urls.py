"""Key sets by URL over real TLS: believed, resolved and refused as destinations are."""

import http.server
import json
import ssl
import threading

import pytest
import trustme
from joserfc.jwk import ECKey

from harness.process import Served
from harness.waiting import wait_for

KEY = ECKey.generate_key("P-256", {"kid": "one"})


class Keys(http.server.BaseHTTPRequestHandler):
    """Answers with a key set, to whoever asks for the name of its certificate."""

    def do_GET(self):
        self.send_response(200 if self.headers["Host"].startswith("issuer.test:") else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"keys": [KEY.as_dict(private=False)]}).encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def issuer(tmp_path):
    """A private issuer; returns its port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "private.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("issuer.test").configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("trust", "internal", "says"),
    [
        ("private.pem", "127.0.0.1/32", None),
        ("private.pem", "10.0.0.0/8", "no address of the destination may be dialled"),
        ("system", "127.0.0.1/32", "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_an_issuers_keys_are_fetched_as_destinations_are_reached(tmp_path, issuer, trust, internal, says):
    """By `upstream.trust`, `upstream.dns` and `upstream.internal`; what keeps the keys away is shown."""
    config = tmp_path / "outward.yaml"
    config.write_text(
        "version: 1\n"
        f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{tmp_path}/state'}}\n"
        f"upstream: {{trust: [{trust}], internal: [{internal}], dns: {{hosts: {{issuer.test: [127.0.0.1]}}}}}}\n"
        "groups: {bots: {allow: [example.com]}}\n"
        "clients:\n  - {group: bots, issuer: 'https://issuer.test', audience: outward,"
        f" jwks: 'https://issuer.test:{issuer}/keys'}}\n"
    )
    served = Served(config)
    try:
        wait_for(lambda: gauge(served, "failing") == float(says is not None) and tried(served, says))
        assert (says or "") in served.get("/readyz")[1]
        assert (gauge(served, "age_seconds") < 60) is (says is None)
        assert served.get("/readyz")[0] == 200
    finally:
        served.end()


def gauge(served, name) -> float:
    lines = served.get("/metrics")[1].splitlines()
    return float(next(each for each in lines if each.startswith(f"outward_jwks_{name} ")).split()[1])


def tried(served, says) -> bool:
    return gauge(served, "age_seconds") < 60 if says is None else "issuer.test:" in served.get("/readyz")[1]
