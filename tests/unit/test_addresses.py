"""The table of special-purpose addresses: what may be dialled, and what never."""

from ipaddress import ip_address, ip_network

import pytest

from outward.core.addresses import METADATA, SPECIAL, Address, Own, Refusal, is_loopback, judge_address

NOBODY = Own()
EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def judge(text: str, *internal: str, port: int = 443, own: Own = NOBODY) -> Refusal | None:
    return judge_address(ip_address(text), port, tuple(ip_network(each) for each in internal), own)


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "93.184.216.34", "203.0.113.7", "198.51.100.1", "192.0.2.1", "2606:4700::1111", "2001:db8::1",
     "64:ff9b::101:101", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "223.255.255.255",
     "::ffff:1.1.1.1", "2001:200::1", "2606:4700::5efe:1.1.1.1"],
)  # fmt: skip
def test_public_addresses_may_be_dialled(text: str) -> None:
    assert judge(text) is None


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.1.1",
     "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.1.1",
     "192.175.48.1", "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
     "::", "::1", "::7f00:1", "::1.1.1.1", "::ffff:0:1.1.1.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1",
     "100::1", "100:0:0:1::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1", "2002::1",
     "2002:7f00:1::1", "2002:101:101::1", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1",
     "fec0::1", "ff02::1", "4000::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2606:4700::5efe:10.0.0.1",
     "2606:4700::200:5efe:127.0.0.1", "2001:0:101:101::"],
)  # fmt: skip
def test_special_addresses_may_not(text: str) -> None:
    assert judge(text) is not None


def test_what_nobody_has_been_given_is_told_so() -> None:
    assert judge("4000::1") == Refusal("unallocated")


@pytest.mark.parametrize("address", METADATA)
def test_metadata_services_stay_closed_whatever_is_internal(address: Address) -> None:
    assert judge_address(address, 80, EVERYTHING, NOBODY) == Refusal(METADATA[address])
    assert judge_address(address, 80, (ip_network(f"{address}"),), NOBODY) is not None


@pytest.mark.parametrize("text", [str(address) for address in METADATA if address.version == 4])
@pytest.mark.parametrize(
    "form", ["::ffff:{}", "::{}", "::ffff:0:{}", "64:ff9b::{}", "2606:4700::5efe:{}", "2606:4700::200:5efe:{}"]
)
def test_metadata_services_stay_closed_in_every_embedded_form(text: str, form: str) -> None:
    assert judge(form.format(text), "0.0.0.0/0", "::/0") is not None


@pytest.mark.parametrize("text", ["2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::", "2001:0:101:101:0:0:5601:5601"])
def test_metadata_services_stay_closed_in_tunnels(text: str) -> None:
    """6to4 carries the address in bits 16 to 47; Teredo the server plain and the client inverted (RFC 3056, 4380)."""
    assert judge(text, "::/0") is not None


def test_an_internal_network_opens_what_lies_in_it() -> None:
    assert judge("10.1.2.3", "10.0.0.0/8") is None
    assert judge("10.1.2.3", "10.2.0.0/16") is not None
    assert judge("fd12::1", "fd12::/16") is None
    assert judge("::ffff:10.1.2.3", "10.0.0.0/8") is None
    assert judge("64:ff9b::a01:203", "10.0.0.0/8") is None


def test_loopback_is_opened_only_by_an_entry_within_loopback() -> None:
    assert judge("127.0.0.9", "0.0.0.0/0", "::/0") is not None
    assert judge("::1", "::/0") is not None
    assert judge("0.0.0.0", "0.0.0.0/0") is not None
    assert judge("127.0.0.9", "127.0.0.9/32") is None
    assert judge("127.0.0.9", "127.0.0.0/8") is None
    assert judge("::1", "::1/128") is None


def test_own_addresses_are_refused_on_every_port_and_named_a_loop() -> None:
    own = Own(addresses=frozenset({ip_address("10.9.9.9")}))
    for text in ("10.9.9.9", "::ffff:10.9.9.9", "64:ff9b::a09:909"):
        refusal = judge(text, "10.0.0.0/8", port=1, own=own)
        assert refusal is not None
        assert refusal.loop


def test_own_listeners_are_refused_and_other_loopback_ports_are_not() -> None:
    own = Own(listeners=frozenset({(ip_address("127.0.0.1"), 8080)}))
    assert judge("127.0.0.1", "127.0.0.0/8", port=8080, own=own) == Refusal("the proxy's own address", loop=True)
    assert judge("127.0.0.1", "127.0.0.0/8", port=8081, own=own) is None
    assert judge("127.0.0.2", "127.0.0.0/8", port=8080, own=own) == Refusal("the proxy's own address", loop=True)
    assert judge("::1", "::1/128", port=8080, own=own) == Refusal("the proxy's own address", loop=True)
    assert judge("127.0.0.2", "127.0.0.0/8", port=8081, own=own) is None
    assert judge("0.0.0.0", port=8080, own=own) == Refusal("the proxy's own address", loop=True)


def test_a_listener_on_every_address_is_own_on_every_loopback_address() -> None:
    own = Own(listeners=frozenset({(ip_address("0.0.0.0"), 8080), (ip_address("10.0.0.9"), 9090)}))
    assert judge("127.0.0.1", "127.0.0.0/8", port=9090, own=own) is None
    assert judge("127.5.5.5", "127.0.0.0/8", port=8080, own=own) == Refusal("the proxy's own address", loop=True)
    assert judge("::1", "::1/128", port=8080, own=own) == Refusal("the proxy's own address", loop=True)


def test_an_address_with_a_zone_is_refused() -> None:
    assert judge_address(ip_address("2606:4700::1%eth0"), 443, (), NOBODY) == Refusal("an address with a zone")


def test_what_linux_dials_as_loopback_is_loopback() -> None:
    assert all(is_loopback(ip_address(text)) for text in ("127.0.0.1", "::1", "0.0.0.0", "::"))
    assert not is_loopback(ip_address("128.0.0.1"))


@pytest.mark.parametrize(("network", "what"), SPECIAL)
def test_both_ends_of_every_listed_range_are_refused(network: object, what: str) -> None:
    assert judge(str(network[0])) is not None  # type: ignore[index]
    assert judge(str(network[-1])) is not None  # type: ignore[index]
    assert what
