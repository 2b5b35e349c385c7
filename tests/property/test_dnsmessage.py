"""The DNS codec against somebody else's, and against bytes that nobody's would write."""

from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outward.dns.message import MAX_ALIASES, MessageError, RecordType, read_answer, wire_name, write_question

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=6).map(".".join)
IDENTS = st.integers(0, 0xFFFF)
KINDS = st.sampled_from(RecordType)


@given(NAMES, IDENTS, KINDS)
def test_a_question_reads_as_what_was_asked(name: str, ident: int, kind: RecordType):
    message = dns.message.from_wire(write_question(ident, wire_name(name), kind))
    (question,) = message.question
    assert (message.id, question.name.to_text(), question.rdtype) == (ident, f"{name}.", kind)
    assert message.flags == dns.flags.RD


@st.composite
def answers(draw: st.DrawFn):
    """An answer as dnspython writes it, compressed, with its aliases and a record that nobody asked for."""
    kind = draw(KINDS)
    chain = draw(st.lists(NAMES, min_size=1, max_size=MAX_ALIASES + 3, unique=True))
    texts = draw(st.lists(st.ip_addresses(v=4 if kind is RecordType.A else 6).map(str), max_size=5, unique=True))
    ttls = draw(st.lists(st.integers(0, 2**31 - 1), min_size=len(chain), max_size=len(chain)))
    query = dns.message.make_query(f"{chain[0]}.", kind.name)
    response = dns.message.make_response(query)
    for (owner, target), ttl in zip(pairwise(chain), ttls, strict=False):
        response.answer.append(dns.rrset.from_text(f"{owner}.", ttl, "IN", "CNAME", f"{target}."))
    response.answer.append(dns.rrset.from_text(f"{draw(NAMES)}.", 1, "IN", "TXT", "noise"))
    if texts:
        response.answer.append(dns.rrset.from_text(f"{chain[-1]}.", ttls[-1], "IN", kind.name, *texts))
    response.set_rcode(draw(st.sampled_from([dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL])))
    return kind, chain, texts, ttls, response


@given(answers())
def test_an_answer_reads_as_it_was_meant(answer):
    kind, chain, texts, ttls, response = answer
    read = read_answer(response.to_wire(), response.id, wire_name(chain[0]), kind)
    assert read.rcode == response.rcode()
    if len(chain) > MAX_ALIASES + 1 or not texts:
        assert read.addresses == ()
    else:
        assert sorted(map(str, read.addresses)) == sorted(texts)
        assert read.ttl == min(ttls)
        assert all(isinstance(each, IPv4Address if kind is RecordType.A else IPv6Address) for each in read.addresses)


@given(answers(), st.data())
def test_a_damaged_answer_is_an_answer_or_a_message_error_and_never_anything_else(answer, data: st.DataObject):
    kind, chain, _, _, response = answer
    wire = bytearray(response.to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(wire)))
    for damaged in (wire, wire[:cut]):
        try:
            read_answer(bytes(damaged), response.id, wire_name(chain[0]), kind)
        except MessageError:
            continue


@given(st.binary(max_size=600), KINDS)
def test_random_bytes_are_no_answer(data: bytes, kind: RecordType):
    with pytest.raises(MessageError):
        read_answer(data, 0x1234, wire_name("www.example.test"), kind)


@pytest.mark.parametrize(
    "owner",
    [b"\xc0\x22", b"\xc0\x24", b"\xff\xff", b"\x40aaaa", b"\x80a", b"\x3faa", b"\x01a" * 128 + b"\0"],
    ids=["itself", "forward", "far", "reserved 01", "reserved 10", "cut label", "too long"],
)
def test_owner_names_that_lead_nowhere_are_refused(owner: bytes):
    name = wire_name("www.example.test")
    head = b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0" + name + b"\0\1\0\1"
    assert len(head) == 0x22
    record = b"\0\1\0\1\0\0\1\0\0\4\x7f\0\0\1"
    with pytest.raises(MessageError):
        read_answer(head + owner + record, 0x1234, name, RecordType.A)


def test_a_chain_of_pointers_is_cut_short():
    name = wire_name("www.example.test")
    head = b"\x12\x34\x81\x80\0\1\0\2\0\0\0\0" + name + b"\0\1\0\1"
    pointers = b"\xc0\x0c" + b"".join((0xC000 | 0x22 + 11 + 2 * n).to_bytes(2) for n in range(40))
    text = b"\0\0\x10\0\1\0\0\0\1" + len(pointers).to_bytes(2) + pointers
    last = (0xC000 | 0x22 + 11 + 80).to_bytes(2) + b"\0\1\0\1\0\0\1\0\0\4\x7f\0\0\1"
    with pytest.raises(MessageError, match="pointer"):
        read_answer(head + text + last, 0x1234, name, RecordType.A)


def test_a_record_that_ends_behind_the_message_is_refused():
    name = wire_name("www.example.test")
    head = b"\x12\x34\x81\x80\0\1\0\2\0\0\0\0" + name + b"\0\1\0\1"
    address, text = b"\xc0\x0c\0\1\0\1\0\0\1\0\0\4\xc0\0\2\1", b"\0\0\x10\0\1\0\0\0\1\0"
    assert read_answer(head + address + text + b"\2\1a", 0x1234, name, RecordType.A).addresses
    with pytest.raises(MessageError, match="behind"):
        read_answer(head + address + text + b"\3\1a", 0x1234, name, RecordType.A)


def test_the_root_and_the_longest_name_fit():
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    wire = wire_name(longest)
    assert len(wire) == 255
    answer = read_answer(
        b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0" + wire + b"\0\1\0\1\xc0\x0c\0\1\0\1\0\0\1\0\0\4\xc0\0\2\1",
        0x1234, wire, RecordType.A,
    )  # fmt: skip
    assert [str(each) for each in answer.addresses] == ["192.0.2.1"]
