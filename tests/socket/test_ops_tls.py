"""TLS on the ops port, and plain HTTP there for this machine alone unless it is said."""

import select
import shutil
import socket
import ssl
from types import SimpleNamespace

import httpx
import pytest
import trustme
from cryptography import x509

from harness.process import Served, outward
from harness.waiting import PATIENCE, wait_for
from outward.config.values import web_origin
from outward.ops.access import Access
from outward.ops.origins import Origins
from outward.ops.server import CONNECTIONS
from outward.ops.web import OpsRequest, Problem

TOKEN = "owt_test-all-0123456789"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Run a proxy whose ops port speaks TLS, with two certificates at hand."""
    folder = tmp_path_factory.mktemp("ops-tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("one", "two"):
        (folder / name).mkdir()
        issued = ca.issue_cert("127.0.0.1", "outward.example.com")
        issued.private_key_pem.write_to_path(folder / name / "tls.key")
        issued.cert_chain_pems[0].write_to_path(folder / name / "tls.crt")
    for name in ("tls.key", "tls.crt"):
        shutil.copy(folder / "one" / name, folder / name)
    config = folder / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0, state: '{folder}/state'}}\n"
        "admin: {tls: {cert: tls.crt, key: tls.key}, urls: ['https://outward.example.com']}\n"
        "groups: {a: {allow: [example.com]}}\nclients: [{group: a, anyone: true}]\n"
    )
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    running = Served(config, context, OUTWARD_ADMIN_TOKEN=TOKEN)
    host, port = running.ops
    yield SimpleNamespace(
        folder=folder,
        ops=running.ops,
        context=context,
        client=httpx.Client(base_url=f"https://{host}:{port}", verify=context, timeout=PATIENCE),
    )
    running.end()


def shown(served) -> int:
    with (
        socket.create_connection(served.ops, PATIENCE) as sock,
        served.context.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
    ):
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number


def test_page_and_probe_speak_tls_and_cookies_never_leave_it(served):
    """The cookie has the prefix that browsers guard; plain HTTP gets nothing, not even a redirect."""
    answer = served.client.post("/login", data={"token": TOKEN})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-outward_session=")
    assert "; Secure" in cookie
    assert "; HttpOnly" in cookie
    assert "Domain" not in cookie
    assert served.client.get("/groups").status_code == 200
    unprefixed = {"Cookie": cookie.partition(";")[0].removeprefix("__Host-")}
    assert (
        httpx.get(
            f"{served.client.base_url}/groups", headers=unprefixed, verify=served.context, timeout=PATIENCE
        ).status_code
        == 401
    )
    assert served.client.get("/readyz").json()["ready"]
    with pytest.raises(httpx.HTTPError):
        httpx.get("http://{}:{}/healthz".format(*served.ops), timeout=PATIENCE)
    done = outward("health", "--ops", "{}:{}".format(*served.ops))
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_never_ends_a_handshake_keeps_nobody_out(served):
    """Silent connections hold places, and give them up to others."""
    silent = [socket.create_connection(served.ops, PATIENCE) for _ in range(300)]
    answer = httpx.get(f"{served.client.base_url}/healthz", verify=served.context, timeout=PATIENCE)
    assert answer.status_code == 200
    wait_for(lambda: len(select.select(silent, [], [], 0)[0]) >= len(silent) - CONNECTIONS)
    for sock in silent:
        sock.close()


def test_the_certificate_is_replaced_without_a_restart(served):
    """The new one is shown, its end is a metric, and a half of it changes nothing."""
    first = shown(served)
    shutil.copy(served.folder / "two" / "tls.key", served.folder / "tls.key")
    wait_for(lambda: "admin.tls" in served.client.get("/readyz").text)
    assert shown(served) == first
    shutil.copy(served.folder / "two" / "tls.crt", served.folder / "tls.crt")
    wait_for(lambda: shown(served) != first)
    wait_for(lambda: "admin.tls" not in served.client.get("/readyz").text)
    ends = x509.load_pem_x509_certificate(
        (served.folder / "two" / "tls.crt").read_bytes()
    ).not_valid_after_utc.timestamp()
    line = next(each for each in served.client.get("/metrics").text.splitlines() if each.startswith("outward_ops_cert"))
    assert float(line.split()[1]) == ends


def asked(host: str, peer: str, *, secure: bool = False, **fields: str) -> OpsRequest:
    return OpsRequest("GET", "/login", (("host", host), *fields.items()), b"", peer, secure)


@pytest.mark.parametrize(
    ("host", "peer", "secure", "passes"),
    [
        ("127.0.0.1:9090", "127.0.0.1", False, True),
        ("localhost:9090", "::1", False, True),
        ("localhost:9090", "::ffff:127.0.0.1", False, True),
        ("10.0.0.5:9090", "10.0.0.7", False, False),
        ("10.0.0.5:9090", "10.0.0.7", True, True),
        ("outward.example.com", "10.0.0.7", False, True),  # TLS ends in front: the operator has listed it so
        ("OUTWARD.example.com:443", "10.0.0.7", False, True),
        ("outward.example.com:9090", "10.0.0.7", False, False),
        ("plain.example.com:9090", "10.0.0.7", False, True),  # plain is meant: it is listed so
        ("plain.example.com", "10.0.0.7", False, False),
        ("127.0.0.1:9090", "10.0.0.7", False, False),
        ("127.0.0.1:9090", "", False, False),
    ],
)
def test_plain_http_is_for_this_machine_unless_it_is_said(host, peer, secure, passes):
    """A token on the wire is anybody's; what a client writes into a field changes nothing."""
    access = Access((), dict, Origins(["https://outward.example.com", "http://plain.example.com:9090"]))
    for fields in ({}, {"authorization": "Bearer x"}, {"x-forwarded-proto": "https", "forwarded": "proto=https"}):
        request = asked(host, peer, secure=secure, **fields)
        if passes:
            access.screen(request)
            continue
        with pytest.raises(Problem) as refused:
            access.screen(request)
        assert refused.value.status == 403
        assert "admin.tls" in refused.value.detail


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Outward.example.com:443/", "https://outward.example.com"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("http://[::1]:9090", "http://[::1]:9090"),
        *((text, None) for text in ("https://x@y", "https://x/y", "https://x?y", "https://x#y", "ftp://x", "https://")),
    ],
)
def test_an_address_is_written_as_browsers_write_it(text, origin):
    if origin is None:
        with pytest.raises(ValueError, match="without a path"):
            web_origin(text)
    else:
        assert web_origin(text) == origin
        assert Origins([origin]).of(asked(origin.partition("://")[2], "10.0.0.7")) == origin


@pytest.mark.parametrize("sign", ["#", "?", "/", "\\", "#x", "/#"])
def test_a_host_with_more_behind_it_is_no_listed_address(sign):
    assert Origins(["https://outward.example.com"]).of(asked(f"outward.example.com{sign}", "10.0.0.7")) is None


def test_cookies_are_secure_behind_tls_that_is_listed_and_nowhere_because_a_field_says_so():
    origins = Origins(["https://outward.example.com"])
    assert origins.secure(asked("outward.example.com", "10.0.0.7"))
    assert not origins.secure(asked("127.0.0.1", "127.0.0.1", **{"x-forwarded-proto": "https"}))
    assert origins.secure(asked("127.0.0.1", "127.0.0.1", secure=True))
