"""What the examples of the vendors' own SDKs send passes: the shapes of their requests, without their words.

A line of `usual.jsonl` is a method, a host, a path and a body, whose words, models and addresses are stand-ins.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.governing import POLICY, Desk

BUCKETS = "      - {host: storage.googleapis.com, paths: ['/**']}\n"
REQUESTS = [json.loads(line) for line in (Path(__file__).parent / "usual.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("host", sorted({host for _, host, _, _ in REQUESTS}))
def test_what_the_examples_of_an_sdk_send_passes(host: str) -> None:
    desk = Desk(POLICY.replace("allow:\n", "allow:\n" + BUCKETS, 1))
    refused: list[Any] = []
    for method, to, path, body in REQUESTS:
        if to == host:
            outcome = desk.ask(host, path, body, method=method)
            refused += [(method, path, body, outcome.detail)] if outcome.deny else []
    assert not refused
