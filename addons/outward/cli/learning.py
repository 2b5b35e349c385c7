"""What a run in report mode meets, written down as the policy that it needs: `learn`, and `run --report --write`."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import click

from outward.cli.suggest import PolicyFiles, drafts_of, host_named, told_of
from outward.cli.suggestions import ProposalText
from outward.cli.write import Drafts, store
from outward.config.discovery import Choice
from outward.config.loaded import Loaded
from outward.config.places import FILE_NAME
from outward.core.addresses import Address
from outward.core.evidence import Demand, Evidence
from outward.core.model import Question, Verdict
from outward.core.policy import Policy
from outward.core.reasons import Reason
from outward.core.rules import Rules
from outward.core.suggest import question_about
from outward.dns.resolver import ABSENT
from outward.records.events.demands import REASONS
from outward.records.events.values import Event

MOST = 20_000  # kinds of request
_LEFT = 10


class Lessons:
    """Collects what was asked for and blocked, or would have been.

    Attributes:
        heard: whether anything used the proxy.
        asked: how often, by question.
        met: the addresses behind names.
        shut: whether an address was refused that is not public.
        lost: hosts whose names do not exist.
        more: how many events found no room.
    """

    def __init__(self) -> None:
        self.heard = False
        self.asked: dict[Question, int] = {}
        self.met: defaultdict[Question, frozenset[Address]] = defaultdict(frozenset)
        self.shut = False
        self.lost: set[str] = set()
        self.more = 0

    def add(self, event: Event) -> None:
        """Take an event."""
        self.heard = True
        reason = event.would_reason if event.would_deny else event.reason
        is_shut = event.reason is Reason.ADDRESS_NOT_PUBLIC
        is_asked = reason in REASONS and (event.would_deny or event.verdict is not Verdict.ALLOW)
        question = question_about(
            event.group, event.host, event.port, method=event.method, path=event.path, scheme=event.scheme
        )
        if question is None or not (is_asked or is_shut or event.verdict is Verdict.ALLOW):
            return
        if ABSENT in (event.detail or ""):  # misspelt, or asked for to see whether there is a network
            if len(self.lost) < MOST:
                self.lost.add(question.host.name)
            return
        known = question in self.asked or question in self.met
        if not known and max(len(self.asked), len(self.met)) >= MOST:
            self.more += is_asked or is_shut
            return
        self.shut = self.shut or is_shut
        if is_asked or is_shut:
            self.asked[question] = self.asked.get(question, 0) + 1
        if event.address is not None:
            self.met[question] |= {ip_address(event.address)}

    def demands(self) -> Iterator[Demand]:
        """Yield what was asked for."""
        yield from (Demand(question, Evidence(count)) for question, count in self.asked.items())


def bare(loaded: Loaded) -> Loaded:
    """Return the starter policy without what it allows, so that the entries are what the command needs alone."""
    policy = loaded.policy
    if policy is None:
        return loaded
    groups = {path: replace(group, allow=Rules()) for path, group in policy.groups.items()}
    return replace(loaded, policy=replace(policy, groups=groups))


class Learning:
    """Learns the policy of one run.

    Attributes:
        loaded: the configuration to run with.
        lessons: what the run meets.
    """

    def __init__(self, path: Path | None, choice: Choice, loaded: Loaded, group: str, include: tuple[str, ...]) -> None:
        """Prepare, and end the verb before the command runs if what it needs could not be written.

        Args:
            path: the file to write; None means the one that holds the group, or a new one in this folder.
            choice: the files in force.
            loaded: what they hold.
            group: path of the command's group.
            include: hosts to write although they are left out otherwise.
        """
        self.loaded = loaded if choice.file else bare(loaded)
        self.lessons = Lessons()
        self._choice, self._include = choice, frozenset(map(host_named, include))
        self._drafts = Drafts(drafts_of(loaded, choice) if choice.file else ())
        draft = self._drafts.of(group)
        self._path = path or (draft.path if draft else choice.file or Path(FILE_NAME))
        if choice.file is None and self._path.exists():
            raise click.UsageError(f"{self._path} is not in force here: name it with --config too")
        if choice.file and self._path.resolve() not in {each.path.resolve() for each in self._drafts.all}:
            raise click.UsageError(f"{self._path} is no file of the configuration: name it with --config")

    def write(self, status: int) -> Iterator[str]:
        """Write what was met into the policy file, and yield what a person should know.

        Args:
            status: the command's exit status; one that failed has not shown all that it needs.

        Raises:
            click.ClickException: it cannot be written; the file stays as it was.
        """
        found = PolicyFiles(self._choice, self.loaded, self.loaded.policy or Policy(), self._drafts)
        told = told_of(found, self.lessons.demands(), self._include, met=self.lessons.met)
        if status:
            yield f"the command failed (exit status {status}): what it needs after that is not learnt; run it again"
        if told.proposed.proposals or self._choice.file:
            yield store(self._path, told.proposed.proposals, found.drafts, self.loaded, self._choice, exact=True)
        else:
            yield "there is nothing to allow: no file was written, and the starter policy goes on to hold"
        if not self.lessons.heard:
            yield "nothing used the proxy; without --jail, a program that knows none goes past it and is not seen"
        yield from _left_out(told)
        lost = sorted(self.lessons.lost - {question.host.name for question in self.lessons.asked})
        if lost:
            more = f" and {len(lost) - _LEFT} more" if len(lost) > _LEFT else ""
            yield f"left out, since the name does not exist: {', '.join(lost[:_LEFT])}{more}"
        if self.lessons.shut:
            yield "addresses that are not public stayed closed in this run: run it again"
        if self.lessons.more:
            yield f"{self.lessons.more} requests more than could be kept: run it again"


def _left_out(told: ProposalText) -> Iterator[str]:
    left = told.proposed.left_out
    for each in left[:_LEFT]:
        include = f"; --include {each.host.name} writes it" if each.named else ""
        yield f"left out: {each.host.name}: {each.why}{include}"
    if len(left) > _LEFT:
        yield f"and {len(left) - _LEFT} more left out"
