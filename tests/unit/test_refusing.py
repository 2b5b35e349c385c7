"""Where a refused CONNECT is answered."""

import pytest

from outward.config.settings import Limits
from outward.core.identity import Identity
from outward.core.model import Decision, DenyDelivery
from outward.core.reasons import Reason
from outward.http1.head import parse_head
from outward.proxy.refusing import answers_inside


def _asks(
    denial: DenyDelivery, target: str = "blocked.test:443", agent: str = "", identity: Identity | None = None
) -> bool:
    fields = f"User-Agent: {agent}\r\n" if agent else ""
    head = parse_head(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n".encode(), Limits())
    return answers_inside(head, Decision(denial=denial), identity or Identity())


@pytest.mark.parametrize(
    ("agent", "inside"),
    [
        ("", True),
        ("python-requests/2.34", True),
        ("curl/8.5.0", False),
        ("Wget/1.21.3", False),
        ("git/2.39.5", False),
        ("outward", False),
        ("libcurl/8.5.0", True),
    ],
)
def test_who_ends_at_a_refused_connect_is_answered_there(agent: str, inside: bool):
    assert _asks(DenyDelivery.AUTO, agent=agent) is inside
    assert _asks(DenyDelivery.INSIDE, agent=agent)
    assert not _asks(DenyDelivery.CONNECT, agent=agent)


def test_a_proxy_that_asks_for_its_own_client_is_answered_at_the_connect():
    assert not _asks(DenyDelivery.AUTO, agent="x\r\nVia: 1.1 outward")


@pytest.mark.parametrize(("port", "inside"), [(443, True), (8443, True), (22, False), (5432, False), (80, False)])
def test_where_no_tls_is_to_be_expected_nobody_waits_for_it(port: int, inside: bool):
    assert _asks(DenyDelivery.AUTO, f"blocked.test:{port}") is inside


@pytest.mark.parametrize("denial", DenyDelivery)
def test_a_stranger_gets_no_tunnel(denial: DenyDelivery):
    assert not _asks(denial, identity=Identity(refusal=Reason.UNKNOWN_CLIENT))
