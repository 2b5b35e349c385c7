"""Every line that `check` names as a cure loads, allows what was written, and allows nothing beside it."""

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from outward.config.load import load_text
from outward.config.loaded import Loaded
from outward.core.decide import decide
from outward.core.model import DEFAULT_PORTS, Question
from outward.core.names import canonical_host

HOSTS = {"a.example": "a.example", "A.example.": "a.example", "*.a.example": "x.a.example", "9.9.9.9": "9.9.9.9"}
BESIDE = ("a.example", "x.a.example", "b.example", "example", "9.9.9.9", "9.9.9.8")
SCHEMES = ("", "http://", "https://", "ws://", "wss://")
PORTS = ("", ":80", ":443", ":8443")
PATHS = {
    "": None,
    "/": None,
    "/*": None,
    "/x": "/x",
    "/x/*": "/x/y",
    "/x/**": "/x/y/z",
    "/x?q=1": "/x",
    "/@s%2fp": "/@s%2fp",
}
_NAMED = re.compile(r"write (?:the host alone: )?`(.+)`$")


def loaded(entry: str) -> Loaded:
    text = f"version: 1\ngroups:\n  g:\n    allow:\n      - {entry}\nclients: [{{group: g, anyone: true}}]\n"
    return load_text(text, env={}, machine={})


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SCHEMES), st.sampled_from(list(HOSTS)), st.sampled_from(PORTS), st.sampled_from(list(PATHS)))
def test_a_cure_allows_what_was_written_and_nothing_beside_it(scheme: str, host: str, port: str, path: str) -> None:
    """Neighbours in host, port and path; a host without a port stands for both usual ones."""
    before = loaded(json.dumps(f"{scheme}{host}{port}{path}"))
    cures = [found[1] for each in before.findings if (found := _NAMED.match(each.help))]
    if before.ok or not cures:
        return
    after = loaded(cures[0] if cures[0].startswith("{") else json.dumps(cures[0]))
    assert after.policy is not None, (cures[0], after.findings)
    ports = {int(port[1:])} if port else DEFAULT_PORTS
    meant, seen = HOSTS[host], PATHS[path]
    for number in ports:
        assert decide(after.policy, Question("g", canonical_host(meant), number, "GET", seen or "/")).allowed
    for other in BESIDE:
        for number in (80, 443, 8443):
            for asked in ("/", "/x", "/x/y", "/z", "/xx"):
                question = Question("g", canonical_host(other), number, "GET", asked)
                inside = seen is None or asked == seen or ("*" in path and asked.startswith("/x/"))
                if other != meant or number not in ports or not inside:
                    assert not decide(after.policy, question).allowed, (cures[0], question)
