"""The canonicaliser: one spelling of each host, and no guess about anything else."""

import json
from pathlib import Path

import pytest

from outward.core.names import (
    MAX_NAME,
    Host,
    MalformedHostError,
    canonical_host,
    is_local_name,
    parse_authority,
    parse_port,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"
LONG = ".".join(["a" * 60] * 4)  # 243 octets


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"),
        ("a_b.example.com", "a_b.example.com"),
        ("r3---sn-x.example.com", "r3---sn-x.example.com"),
        ("xn--fa-hia.de", "xn--fa-hia.de"),
        ("XN--FA-HIA.de", "xn--fa-hia.de"),
        ("faß.de", "xn--fa-hia.de"),
        ("FAß.de.", "xn--fa-hia.de"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("r3---x.bücher.example.", "r3---x.xn--bcher-kva.example"),
        ("ａllowed.example", "allowed.example"),
        ("a\u00adb.example", "ab.example"),
        ("localhost", "localhost"),
        ("1.2.3.4", "1.2.3.4"),
        ("[2001:0db8:0:0::1]", "2001:db8::1"),
        ("[::ffff:0:0:1]", "::ffff:0:0:1"),
        (f"{LONG}.{'b' * 9}", f"{LONG}.{'b' * 9}"),
        (f"{LONG}.{'b' * 9}.", f"{LONG}.{'b' * 9}"),
    ],
)
def test_each_host_has_one_canonical_form(text: str, name: str) -> None:
    assert canonical_host(text).name == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        "a.b..",
        ".a.b",
        "-a.example",
        "a-.example",
        "a" * 64 + ".example",
        f"{LONG}.{'b' * 10}",
        f"{LONG}.{'b' * 10}.",
        "a" * 300,
        "a b.example",
        " a.example",
        "a.example\n",
        "a\x00.example",
        "a%2eexample",
        "user@a.example",
        "a.example/",
        "a.example:80",
        "a,b.example",
        "*.example",
        "0",
        "127.1",
        "0177.0.0.1",
        "0x7f000001",
        "2130706433",
        "127.0.0.1.",
        "127.000.0.1",
        "1.2.3.256",
        "1.2.3.4.5",
        "a.0x",
        "a.09",
        "::1",
        "[::1",
        "[::1]x",
        "[]",
        "[a.example]",
        "[[::1]]",
        "[::1%lo]",
        "[::1%25lo]",
        "[v1.a]",
        "[::ffff:127.0.0.1]",
        "[1.2.3.4]",
        "xn--.example",
        "xn--a.example",
        "xn--zzzzzzzz.example",
        "a。example",
        "é..example",
        "é\u200dx.example",
        "a℀.example",
        "evil.example／.example",
        "\u0661\u0662\u0667.0.0.1",
        "é" * 80 + ".example",
        "\ud800.example",
    ],
)
def test_whatever_is_odd_is_refused_and_not_repaired(text: str) -> None:
    with pytest.raises(MalformedHostError):
        canonical_host(text)


def test_addresses_keep_their_parsed_form_and_ipv6_is_bracketed_again() -> None:
    host = canonical_host("[::1]")
    assert host.address is not None
    assert (str(host), str(canonical_host("1.2.3.4")), str(canonical_host("A.b"))) == ("[::1]", "1.2.3.4", "a.b")


@pytest.mark.parametrize("text", ["1", "80", "65535"])
def test_ports_are_plain_decimal(text: str) -> None:
    assert parse_port(text) == int(text)


@pytest.mark.parametrize(
    "text", ["", "0", "080", "+80", " 80", "80 ", "8_0", "٨٠", "²", "65536", "65979", "1e2", "99999999"]
)
def test_other_ports_are_refused(text: str) -> None:
    with pytest.raises(MalformedHostError):
        parse_port(text)


def test_authorities_split_at_the_port() -> None:
    assert parse_authority("a.example:8443", None) == (Host("a.example"), 8443)
    assert parse_authority("a.example", 80) == (Host("a.example"), 80)
    assert parse_authority("[::1]:443", None)[1] == 443
    assert parse_authority("[::1]", 443)[0].name == "::1"


@pytest.mark.parametrize(
    "text", ["a.example", "[::1]", "a.example:", "a.example:1:2", ":80", "u@a.example:80", "::1:80"]
)
def test_an_authority_without_a_port_or_with_more_than_that_is_refused_where_one_is_needed(text: str) -> None:
    with pytest.raises(MalformedHostError):
        parse_authority(text, None)


@pytest.mark.parametrize(
    "name",
    ["localhost", "localhost6", "a.localhost", "db", "kubernetes.default.svc", "x.svc.cluster.local", "a.home.arpa",
     "metadata.google.internal", "metadata.goog", "host.docker.internal", "printer.local"],
)  # fmt: skip
def test_names_that_mean_something_only_nearby(name: str) -> None:
    assert is_local_name(name)


@pytest.mark.parametrize("name", ["example.com", "local.example", "internal.example.com", "public.test"])
def test_public_names(name: str) -> None:
    assert not is_local_name(name)


def _data(name: str) -> list[dict[str, object]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the shared test data ({name}) is not beside this checkout")
    return [case for case in json.loads(path.read_text(encoding="utf-8")) if isinstance(case, dict)]


# Where the URL standard accepts a host and we do not, it is for one of these reasons, and no other.
STRICTER = {
    "not a host name": "empty labels, hyphens at a label's end, symbols and over-long labels: no DNS name (RFC 1035)",
    "the host name is longer than 253 octets": "no DNS name (RFC 1035)",
    "an empty label in the host name": "no DNS name (RFC 1035)",
    "a dot of another script in the host name": "one label to a byte matcher, two to a browser: write a plain dot",
    "the host name is not valid under IDNA 2008": "symbols, emoji and stray joiners that UTS 46 lets through (RFC 5892)",
    "an A-label that is not valid under IDNA 2008": "the same names in their encoded form",
}


def accepted(text: str) -> str | MalformedHostError:
    try:
        return canonical_host(text).name
    except MalformedHostError as error:
        return error


@pytest.mark.parametrize("file", ["toascii.json", "IdnaTestV2.json"])
def test_no_host_that_the_url_standard_calls_a_failure_is_accepted(file: str) -> None:
    """Where both accept a host they agree on its name; where we are stricter is counted, and only so."""
    wrong, agreed = [], 0
    for case in _data(file):
        text, expected = str(case["input"]), case.get("output")
        name = accepted(text)
        if isinstance(name, MalformedHostError):
            if expected is not None and str(name) not in STRICTER:
                wrong.append((text, str(name), expected))
        elif expected is None or name != str(expected).lower().removesuffix("."):
            wrong.append((text, name, expected))
        else:
            agreed += 1
    assert wrong == []
    assert agreed > 10


def test_no_host_of_a_failing_url_is_accepted() -> None:
    """The authority of each http(s) URL that must fail is refused as an authority too, if it is what fails."""
    failing = [case for case in _data("urltestdata.json") if case.get("failure") and "base" in case]
    accepted_failures = []
    for case in failing:
        scheme, colon, rest = str(case["input"]).partition("://")
        if not colon or scheme.lower() not in ("http", "https"):
            continue
        authority = rest
        for end in "/?#\\":
            authority = authority.partition(end)[0]
        try:
            parse_authority(authority, 80)
        except MalformedHostError:
            continue
        accepted_failures.append(case["input"])
    assert accepted_failures == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a" * 300, "the host name is longer than 253 octets"),
        ("-a.example", "not a host name"),
        ("ü..example", "an empty label in the host name"),
        ("\N{SNOWMAN}.example", "the host name is not valid under IDNA 2008"),
        ("a_b.bücher.example", "the host name is not valid under IDNA 2008"),
        ("a。b.example", "a dot of another script in the host name"),
        ("xn--a.example", "an A-label that is not valid under IDNA 2008"),
        ("1.2.3", "a number where a name or a dotted-decimal address should be"),
        ("1.2.3.4.", "a number where a name or a dotted-decimal address should be"),
        ("1.2.3.256", "not an IPv4 address"),
        ("[::1", "not an IPv6 literal"),
        ("[fe80::1%25eth0]", "not an IPv6 literal"),
        ("[v1.a]", "not an IPv6 literal"),
        ("[::ffff:1.2.3.4]", "an IPv4 address in IPv6 form: write the IPv4 address"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, what: str) -> None:
    """Whoever wrote the rule reads it beside the line."""
    with pytest.raises(MalformedHostError) as refused:
        canonical_host(text)
    assert str(refused.value) == what


def test_a_refused_authority_says_what_is_wrong() -> None:
    for text, what in (("a.example:0", "not a port from 1 to 65535"), ("a.example", "a port is missing")):
        with pytest.raises(MalformedHostError) as refused:
            parse_authority(text, None)
        assert str(refused.value) == what


def test_lengths_are_those_of_the_dns() -> None:
    assert MAX_NAME == 253
