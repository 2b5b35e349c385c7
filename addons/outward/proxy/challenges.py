"""Challenges: 407s that wait to be recorded until it is clear that nobody answers them.

Many clients (git, for one) send no credentials before they are asked for them. What asks them is no refusal then: it is
taken back, and the answer has its id. One that nobody answers in time is recorded like every refusal. The answer comes
on the same connection or on another one: it is the same question, asked from the same address by the same program.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from outward.records.events.values import MAX_AGENT, MAX_PATH, Event

PATIENCE = 2.0  # seconds that a client has to answer: a program does at once, or never
OF_SOURCE = 64  # of one source that wait at a time; a further one is recorded at once
ALL = 4096  # of all sources

type _Question = tuple[object, ...]


@dataclass(slots=True, eq=False)
class _Held:
    event: Event
    question: _Question
    until: float


class Challenges:
    """The challenges that may still be answered."""

    def __init__(self, unanswered: Callable[[Event], None], patience: float) -> None:
        """Begin with none.

        Args:
            unanswered: called once for each that nobody has answered.
            patience: seconds that a client has to answer; from the first challenge on a running loop is needed.
        """
        self._unanswered = unanswered
        self._patience = patience
        self._held: dict[_Held, None] = {}  # the oldest first
        self._by_question: dict[_Question, list[_Held]] = {}
        self._of_source: dict[str | None, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, event: Event) -> bool:
        """Keep a challenge that was told; False where there is no room for it."""
        count = self._of_source.get(event.client, 0)
        if self._closed or count >= OF_SOURCE or len(self._held) >= ALL:
            return False
        loop = asyncio.get_running_loop()
        held = _Held(event, _question(event), loop.time() + self._patience)
        self._held[held] = None
        self._of_source[event.client] = count + 1
        self._by_question.setdefault(held.question, []).append(held)
        if self._timer is None:
            self._timer = loop.call_at(held.until, self._sweep)
        return True

    def answered(self, event: Event) -> Event | None:
        """Give up and return the challenge that an event answers; None where there is none."""
        found = self._by_question.get(_question(event)) if self._held else None
        return self._drop(found[0]) if found else None

    def close(self) -> None:
        """Hold none any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._held:
            self._unanswered(self._drop(next(iter(self._held))))

    def _drop(self, held: _Held) -> Event:
        del self._held[held]
        same = self._by_question[held.question]
        same.remove(held)
        if not same:
            del self._by_question[held.question]
        left = self._of_source[held.event.client] - 1
        if left:
            self._of_source[held.event.client] = left
        else:
            del self._of_source[held.event.client]
        return held.event

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._held:
            held = next(iter(self._held))
            if held.until > loop.time():
                self._timer = loop.call_at(held.until, self._sweep)
                break
            self._unanswered(self._drop(held))


def _question(event: Event) -> _Question:
    path, agent = (event.path or "")[:MAX_PATH], (event.user_agent or "")[:MAX_AGENT]  # settled ones are cut
    return event.client, event.host, event.port, event.method, event.scheme, path, agent
