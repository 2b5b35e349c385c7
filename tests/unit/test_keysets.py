"""Key sets: fetched from where the policy says, read strictly, and kept no longer than a day."""

import http.server
import json
import threading

import pytest
from joserfc.jwk import ECKey, RSAKey

from harness.waiting import wait_for
from outward.proxy.keyfetch import KeyReader
from outward.proxy.keysets import MAX_BYTES, RETRY, STALE, KeySetError, KeySets, parse_keys

RSA = RSAKey.generate_key(2048, {"kid": "gitlab-1", "use": "sig"})


EC = ECKey.generate_key("P-256", {"kid": "k8s-1"})


WEAK = RSAKey.generate_key(1024, {"kid": "weak"})


def read_source(name: str) -> bytes:
    """Read without a loop: what is asked here needs no name resolved."""
    return KeyReader(None, None, None)(name)


def key_set(*keys) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class Issuer(http.server.BaseHTTPRequestHandler):
    """An issuer's key endpoint that counts how often it is asked."""

    keys = b""
    status = 200
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "/keys2")
        self.end_headers()
        self.wfile.write(self.keys)

    def log_message(self, *args):
        pass


@pytest.fixture
def issuer():
    handler = type("Handler", (Issuer,), {"asked": [], "keys": key_set(EC)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    server.server_close()


def test_an_unknown_key_id_fetches_again_but_not_often(issuer):
    """A rotated key is found without a restart, and made-up key ids cannot make the proxy flood its issuer."""
    handler, url = issuer
    clock = [0.0]
    keysets = KeySets(read_source, clock=lambda: clock[0])
    keysets.want([url])
    wait_for(lambda: keysets.get(url))
    assert len(handler.asked) == 1
    for _ in range(100):
        keysets.refresh(url)
    source = keysets._sources[url]
    assert not source.wanted
    clock[0] = RETRY
    handler.keys = key_set(RSA)
    for _ in range(100):
        keysets.refresh(url)
    wait_for(lambda: keysets.get(url).keys[0].kid == "gitlab-1")
    assert len(handler.asked) == 2
    keysets.want(())


def test_an_issuer_that_is_away_keeps_its_last_keys_for_a_day():
    """Then nobody is let in on keys of unknown age."""
    clock = [0.0]
    keysets = KeySets(read=lambda _name: key_set(EC), clock=lambda: clock[0])
    keysets.want(["x"])
    wait_for(lambda: keysets.get("x"))

    def away(name):
        raise OSError("away")

    keysets._read = away
    clock[0] = STALE - 1
    keysets._load("x", keysets._sources["x"])
    assert keysets.get("x") is not None
    clock[0] = STALE + 1
    assert keysets.get("x") is None


@pytest.mark.parametrize(("status", "keys"), [(302, b""), (500, b""), (404, b"")])
def test_an_answer_other_than_200_is_no_key_set(issuer, status, keys):
    """A redirect is not followed: keys come from where the policy says."""
    handler, url = issuer
    handler.status, handler.keys = status, keys
    with pytest.raises(KeySetError, match=f"status {status}"):
        read_source(url)
    assert handler.asked == ["/keys"]


def test_plain_http_is_for_loopback_only():
    """Keys that anyone on the way could replace are no keys."""
    with pytest.raises(KeySetError, match="https"):
        read_source("http://issuer.example/keys")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1, null, {}]}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "gitlab-1"}]}',
        json.dumps({"keys": [EC.as_dict(private=False)] * 101}).encode(),
        b" " * (MAX_BYTES + 1),
        json.dumps({"keys": [{**EC.as_dict(private=False), "use": "enc"}]}).encode(),
        key_set(WEAK),
    ],
)
def test_what_is_no_key_set_is_refused(raw):
    """Bounded, public, asymmetric, strong enough, and meant for signatures."""
    with pytest.raises(KeySetError):
        parse_keys(raw)


def test_one_odd_key_does_not_spoil_a_set():
    """RFC 7517 5: members that are not understood are ignored."""
    raw = json.dumps({"keys": [{"kty": "future"}, EC.as_dict(private=False)]}).encode()
    assert [key.kid for key in parse_keys(raw).keys] == ["k8s-1"]
