"""A long list of names under `outward serve`: refused with the line that says so, and read again when it changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.process import Served
from harness.waiting import wait_for

LENGTH = 50_000


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A proxy that allows everything but a list."""
    (tmp_path / "names.txt").write_text("# blocked\n" + "".join(f"host-{n}.bad.test\n" for n in range(LENGTH)))
    config = tmp_path / "outward.yaml"
    config.write_text(
        "version: 1\n"
        f"server: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{tmp_path}/state'}}\n"
        "sets: {blocked: {file: names.txt}}\n"
        "groups: {dev: {allow: ['*'], deny: ['@blocked']}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    served = Served(config)
    yield served
    served.end()


def refused(served: Served, host: str) -> bool:
    """Tell whether a connection is refused by policy; what is allowed fails later, for want of an address."""
    return served.answer(host).startswith("HTTP/1.1 403 ")


def place(served: Served, host: str) -> tuple[str, int]:
    """Return the file and line that denied a host last, as its record says."""

    def found() -> list[dict[str, Any]]:
        return [each for each in served.events if each["host"] == host and each["reason"] == "denied_by_rule"]

    rule = wait_for(found)[-1]["rule"]
    return Path(rule["file"]).name, rule["line"]


def test_a_name_of_a_long_list_is_refused_with_its_line(served: Served) -> None:
    """Its neighbours are not."""
    assert refused(served, "host-41.bad.test")
    assert place(served, "host-41.bad.test") == ("names.txt", 43)
    assert not refused(served, "host-50000.bad.test")
    assert not refused(served, "x.host-41.bad.test")


def test_a_changed_list_is_taken_up_and_a_broken_one_is_not(served: Served, tmp_path: Path) -> None:
    """The last good one stays in force until the file is mended."""
    names = tmp_path / "names.txt"
    assert not refused(served, "late.bad.test")
    names.write_text(names.read_text() + "late.bad.test\n")
    wait_for(lambda: refused(served, "late.bad.test"))
    assert place(served, "late.bad.test") == ("names.txt", LENGTH + 2)
    names.write_text("not a name\n")
    wait_for(lambda: "not a host name" in served.readiness()["checks"]["reload"])
    assert refused(served, "late.bad.test")
    names.write_text("other.test\n")
    wait_for(lambda: refused(served, "other.test"))
    assert not refused(served, "late.bad.test")
