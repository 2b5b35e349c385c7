"""What `outward run` says of web searches."""

from outward.cli.searched import Searched
from outward.search.evidence import Source
from outward.search.receipts import Receipt


def _heard(*receipts: Receipt) -> Searched:
    searched = Searched()
    for each in receipts:
        searched.add(each.as_json())
    return searched


def test_nothing_is_said_where_nothing_was_searched():
    assert list(_heard().text()) == []


def test_searches_queries_and_sources_are_told():
    page = Source("https://docs.example.com/a", "A page", permitted=True)
    other = Source("https://www.example.org/\x1b", None, permitted=True)
    searched = _heard(
        Receipt("one", "dev", 1, ("how to\nsearch",), (page,), (page,)),
        Receipt("two", "dev", 2, ("how to\nsearch", "more"), (page, other)),
    )
    assert list(searched.text()) == [
        "outward: searched the web 3 times",
        "  how to\\u000asearch",
        "  more",
        "  sources: docs.example.com, www.example.org",
    ]
    assert searched.as_json()["searches"] == 3
    assert "group" not in searched.as_json()


def test_a_count_alone_is_told_too():
    assert list(_heard(Receipt(None, "dev", 1, incomplete=True)).text()) == ["outward: searched the web once or more"]


def test_long_lists_are_cut():
    sources = tuple(Source(f"https://s{number}.example.com/", None, permitted=True) for number in range(10))
    lines = list(_heard(Receipt(None, "dev", 12, tuple(map(str, range(12))), sources)).text(60))
    assert "  and 2 more" in lines
    assert lines[-1].endswith("s7.example.com and 2 more")
    assert all(len(line) <= 60 for line in lines)
