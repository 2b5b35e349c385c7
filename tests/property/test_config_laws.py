"""Laws of the loader: it never raises, it fails closed, and what it accepts is canonical."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from outward.config.load import load_text
from outward.config.patterns import PatternError, parse_pattern
from outward.core.model import PatternKind
from outward.core.names import canonical_host

_KEYS = st.sampled_from(
    [
        "version",
        "groups",
        "sets",
        "clients",
        "allow",
        "deny",
        "ceiling",
        "web_search",
        "host",
        "server",
        "include",
        "dev",
    ]
)
_SCALARS = st.one_of(
    st.text(max_size=12), st.sampled_from(["1", "*", "*.com", "@developer", "a.example", "null", "true"])
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
_HOSTS = st.text(alphabet="aB0.*-_:/[]@%ü\u0430 \n", max_size=20)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_whatever_the_bytes_are_loading_ends_with_findings_or_a_policy(data: bytes | str):
    loaded = load_text(data, env={}, machine={})
    assert loaded.ok is (loaded.policy is not None)
    assert loaded.settings is not None or not loaded.ok


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_KEYS, _TREES, max_size=6))
def test_whatever_the_document_says_loading_ends_with_findings_or_a_policy(document: dict[str, object]):
    loaded = load_text(json.dumps({"version": 1} | document), env={}, machine={})
    assert loaded.ok is (loaded.policy is not None)
    assert loaded.settings is not None or not loaded.ok


@given(_HOSTS)
def test_a_pattern_that_is_accepted_reads_the_same_again(text: str):
    try:
        pattern, port = parse_pattern(text, public_suffix=True)
    except PatternError:
        return
    host = f"[{pattern}]" if ":" in str(pattern) and "/" not in str(pattern) else str(pattern)
    assert parse_pattern(host, public_suffix=True) == (pattern, None)
    assert port is None or 0 < port < 65_536
    if pattern.kind in (PatternKind.EXACT, PatternKind.BELOW):
        assert canonical_host(pattern.value).name == pattern.value
