"""Proxy tokens: found by their digest, and credentials without control characters."""

import base64
import hashlib
from ipaddress import ip_address

import pytest

from outward.core.identity import Presented, credential_of, identify, read_secret
from outward.core.model import ClientEntry, Credential, Place
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason


def entry(token: str, group: str, line: int) -> ClientEntry:
    return ClientEntry(
        Credential.TOKEN, Place("f", line), group=group, token_sha256=hashlib.sha256(token.encode()).hexdigest()
    )


def test_a_token_is_found_by_its_digest_and_the_first_entry_counts() -> None:
    policy = Policy(
        groups={"a": Group("a"), "b": Group("b")}, clients=(entry("t", "a", 1), entry("t", "b", 2), entry("u", "b", 3))
    )
    groups = [
        identify(policy, Presented(ip_address("192.0.2.1"), f"Bearer {token}")).group for token in ("t", "u", "x")
    ]
    assert groups == ["a", "b", None]
    assert identify(policy, Presented(ip_address("192.0.2.1"), "Bearer x")).refusal is Reason.BAD_CREDENTIALS


@pytest.mark.parametrize("character", ["\0", "\n", "\r", "\x1f", "\x7f", "\x85", "\x1b"])
@pytest.mark.parametrize("form", ["a{}b:token", "token-name:a{}b"])
def test_control_characters_are_in_neither_part_of_credentials(character: str, form: str) -> None:
    value = base64.b64encode(form.format(character).encode()).decode()
    assert read_secret(f"Basic {value}") is None


def test_other_scripts_and_spaces_are() -> None:
    found = read_secret("Basic " + base64.b64encode("Ünï 名:pass word".encode()).decode())
    assert found is not None
    assert (found.conversation, found.token) == ("Ünï 名", "pass word")


@pytest.mark.parametrize(
    ("made", "subject", "label"),
    [
        (
            ClientEntry(Credential.JWT, Place("f", 1), group="a", issuer="https://ci.example"),
            "u:7",
            "jwt:https://ci.example:u:7",
        ),
        (
            ClientEntry(Credential.JWT, Place("f", 1), group="a", issuer="https://ci.example"),
            7,
            "jwt:https://ci.example:7",
        ),
        (
            ClientEntry(Credential.CERTIFICATE, Place("f", 1), group="a", certificate="bot.example"),
            None,
            "certificate:bot.example",
        ),
        (ClientEntry(Credential.ANYONE, Place("f", 1), group="a"), None, "anyone"),
    ],
)
def test_what_opt_ins_are_bound_to_is_one_label_for_each_credential(made: ClientEntry, subject: object, label: str):
    assert credential_of(made, subject) == label


def test_the_label_of_a_token_holds_neither_the_token_nor_its_digest():
    made = entry("t", "a", 1)
    label = credential_of(made)
    assert label.startswith("token:")
    assert made.token_sha256 is not None
    assert made.token_sha256[:16] not in label
    assert credential_of(entry("t", "b", 9)) == label != credential_of(entry("u", "a", 1))
