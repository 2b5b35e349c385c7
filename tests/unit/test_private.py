"""The policy of a private proxy."""

from ipaddress import ip_address

import pytest

from outward.cli.private import NoGroupError, Private, choose_group, new_token
from outward.core.identity import Presented, identify
from outward.core.model import ClientEntry, Credential, Mode, OptIn, Place, WebSearch
from outward.core.policy import Group, Policy

LOOPBACK = ip_address("127.0.0.1")
HERE = Place("outward.yaml", 1)


def policy(*paths: str, anyone: str | None = None, locked_by: str | None = None) -> Policy:
    groups = {path: Group(path, web_search=WebSearch(locked_by=locked_by)) for path in paths}
    clients = (ClientEntry(Credential.ANYONE, HERE, group=anyone),) if anyone else ()
    return Policy(groups=groups, clients=clients)


def test_only_the_holder_of_the_token_belongs_to_the_group() -> None:
    """Other users of the machine can connect to the port, and get nothing."""
    token = new_token()
    private = Private("dev", token).apply(policy("dev", anyone="dev"))
    assert identify(private, Presented(LOOPBACK, f"Bearer {token}")).group == "dev"
    stranger = identify(private, Presented(LOOPBACK))
    assert (stranger.group, stranger.challenge) == (None, True)


def test_without_a_token_anybody_belongs_to_the_group() -> None:
    """For tools that can send no credentials."""
    private = Private("dev", "").apply(policy("dev"))
    assert identify(private, Presented(LOOPBACK)).group == "dev"


def test_web_search_is_turned_on_for_the_run() -> None:
    """The flag stands for the toggle and for the opt-in."""
    private = Private("dev", "", web_search=True).apply(policy("dev"))
    assert private.groups["dev"].web_search.enabled
    assert private.clients[0].opt_in is OptIn.ASSUMED


def test_a_lock_beats_the_flag() -> None:
    """What an administrator locked stays off."""
    private = Private("dev", "", web_search=True).apply(policy("dev", locked_by="acme"))
    assert not private.groups["dev"].web_search.enabled


def test_report_mode_is_of_the_one_group() -> None:
    """Other groups keep their mode."""
    private = Private("dev", "", report=True).apply(policy("dev", "ops"))
    assert [private.groups[path].mode for path in ("dev", "ops")] == [Mode.REPORT, Mode.ENFORCE]


@pytest.mark.parametrize(
    ("given", "wanted", "chosen"),
    [
        (policy("a", "b"), "b", "b"),
        (policy("a", "b", anyone="b"), None, "b"),
        (policy("a"), None, "a"),
    ],
)
def test_the_group_is_the_wanted_one_or_the_obvious_one(given: Policy, wanted: str | None, chosen: str) -> None:
    """With one group, or one for anyone, nobody has to say which."""
    assert choose_group(given, wanted) == chosen


@pytest.mark.parametrize(("given", "wanted"), [(policy("a", "b"), None), (policy("a"), "z"), (policy(), None)])
def test_an_unclear_group_is_an_error(given: Policy, wanted: str | None) -> None:
    """A guess could give the command another group's rights."""
    with pytest.raises(NoGroupError):
        choose_group(given, wanted)


def test_tokens_differ_and_are_not_shown() -> None:
    """Each run has its own."""
    assert new_token() != new_token()
    assert "hush" not in repr(Private("dev", "hush"))
