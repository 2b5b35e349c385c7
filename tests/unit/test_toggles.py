"""The toggle in force: run-time values over the file's, under its locks."""

import pytest

from outward.core.model import WebSearch
from outward.core.policy import Group, Policy
from outward.core.toggles import Toggle, effective

ON, OFF = Toggle(True), Toggle(False)


def policy(**settings: dict[str, object]) -> Policy:
    """Compile `acme`, `acme/b`, `acme/b/c` from explicit `enabled` and `locked` values, as the loader does."""
    groups: dict[str, Group] = {}
    parent, inherited = None, WebSearch()
    for path in ("acme", "acme/b", "acme/b/c"):
        own = settings.get(path.rpartition("/")[2], {})
        enabled, decided_by, locked_by = inherited.enabled, inherited.decided_by, inherited.locked_by
        if "enabled" in own and locked_by is None:
            enabled, decided_by = own["enabled"], path
        if own.get("locked") and locked_by is None:
            locked_by = path
        inherited = WebSearch(enabled=enabled, decided_by=decided_by, locked_by=locked_by)
        parent = groups[path] = Group(path, parent=parent, web_search=inherited)
    return Policy(groups=groups)


@pytest.mark.parametrize(
    ("settings", "toggles", "enabled", "decided_by"),
    [
        ({}, {}, False, None),
        ({"acme": {"enabled": True}}, {}, True, "acme"),
        # A run-time value lies over the file's, at the same group and from an ancestor.
        ({"acme": {"enabled": True}}, {"acme": OFF}, False, "acme"),
        ({}, {"acme": ON}, True, "acme"),
        ({"c": {"enabled": False}}, {"acme/b/c": ON}, True, "acme/b/c"),
        # The nearest explicit value wins, wherever it was set.
        ({"b": {"enabled": False}}, {"acme": ON}, False, "acme/b"),
        ({"acme": {"enabled": False}}, {"acme/b": ON}, True, "acme/b"),
        ({}, {"acme": ON, "acme/b": OFF}, False, "acme/b"),
        ({"c": {"enabled": True}}, {"acme": OFF, "acme/b": OFF}, True, "acme/b/c"),
        # A lock beats what is set at or below it.
        ({"acme": {"enabled": False, "locked": True}}, {"acme": ON, "acme/b/c": ON}, False, "acme"),
        ({"b": {"enabled": True, "locked": True}}, {"acme/b": OFF, "acme/b/c": OFF}, True, "acme/b"),
        # A lock without a value of its own holds the inherited one, which may be set above the lock.
        ({"b": {"locked": True}}, {"acme": ON, "acme/b/c": OFF}, True, "acme"),
        ({"acme": {"enabled": False}, "b": {"locked": True}}, {"acme/b/c": ON}, False, "acme"),
    ],
)
def test_the_value_in_force(settings, toggles, enabled, decided_by):
    """A table of cases, judged at the lowest group."""
    found = effective(policy(**settings), "acme/b/c", toggles)
    assert (found.enabled, found.decided_by) == (enabled, decided_by)


def test_a_group_that_does_not_exist_has_no_search():
    """Whatever was set for it once."""
    assert not effective(policy(), "acme/gone", {"acme/gone": ON}).enabled
