"""The jail's own name server."""

import struct

import pytest

from outward.jail import names
from outward.jail.names import ResolverNames


def query(name: str, kind: int = 1, *, flags: int = 0x0100, space: int = 1, more: bytes = b"") -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    extra = 1 if more else 0
    return struct.pack("!6H", 7, flags, 1, 0, 0, extra) + labels + b"\0" + struct.pack("!HH", kind, space) + more


def address(answer: tuple[bytes, str | None] | None) -> bytes:
    assert answer is not None
    number, flags, questions, answers, *_ = struct.unpack_from("!6H", answer[0])
    assert (number, flags, questions, answers) == (7, 0x8180, 1, 1)
    return answer[0][-4:]


def test_each_name_has_an_address_of_its_own():
    subject = ResolverNames()
    first = subject.answer(query("a.test"))
    assert address(first) == bytes((198, 18, 0, 1))
    assert address(subject.answer(query("b.test", more=b"\0\0\x29\x10\0\0\0\0\0\0\0"))) == bytes((198, 18, 0, 2))
    again = subject.answer(query("A.Test"))
    assert address(again) == address(first)
    assert [each and each[1] for each in (first, again)] == ["a.test", None]
    assert subject.name_of(bytes((198, 18, 0, 2))) == "b.test"
    assert subject.name_of(bytes((198, 18, 0, 3))) is None


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "app.localhost"])
def test_localhost_is_the_jails_own(name: str):
    found = ResolverNames().answer(query(name))
    assert address(found) == bytes((127, 0, 0, 1))
    assert found is not None
    assert found[1] is None  # nothing stands for it


@pytest.mark.parametrize("kind", [28, 65, 16, 15, 33, 12])
def test_nothing_else_is_known_of_a_name(kind: int):
    found = ResolverNames().answer(query("a.test", kind))
    assert found is not None
    assert struct.unpack_from("!6H", found[0]) == (7, 0x8180, 1, 0, 0, 0)
    assert found[0][12:] == query("a.test", kind)[12:]
    assert found[1] is None


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"x" * 11,
        query("a.test", flags=0x8180),
        query("a.test", flags=0x2800),
        query("a.test", space=3),
        query("a.test")[:-3],
        query("a b.test"),
        query("a" * 64),
        query(".".join(["a" * 60] * 5)),
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\0\0\1\0\1",
        struct.pack("!6H", 7, 0x0100, 2, 0, 0, 0) + b"\1a\0\0\1\0\1",
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
    ],
)
def test_what_is_no_question_gets_no_answer(odd: bytes):
    assert ResolverNames().answer(odd) is None


def test_the_oldest_names_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(names, "_MOST", 2)
    monkeypatch.setattr(names, "_COUNT", 3)
    subject = ResolverNames()
    given = [address(subject.answer(query(f"{name}.test"))) for name in "abcd"]
    assert [each[-1] for each in given] == [1, 2, 3, 1]
    assert [subject.name_of(each) for each in given[1:]] == [None, "c.test", "d.test"]
