"""What a service tells of itself on `/readyz`: checks, which must hold, and notes, which make nothing unready."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from outward.builders.parts import ServiceParts

if TYPE_CHECKING:
    from outward.ops.health import Check
    from outward.records.sending.export import Export

_SHOWN = 5  # subtrees that a note names


def checks_of(parts: ServiceParts, *, carried: bool) -> "Mapping[str, Check]":
    """Return what must hold for the proxy to be ready.

    Args:
        parts: of the service.
        carried: whether somebody else's listeners carry the connections.
    """
    judge, recorder = parts.judge, parts.recorder
    checks: dict[str, Check] = {
        "policy": lambda: None if judge.policy.groups else "the policy has no groups",
        "recorder": lambda: recorder.problem,
    }
    if carried:
        return checks | {"listener": lambda: None if parts.governor else "requests are not judged yet"}
    return checks | {
        "ca": lambda: None if parts.inspection else "the CA is not loaded",
        "listener": lambda: None if parts.gate else "the proxy does not listen yet",
        "draining": lambda: "no new connections" if parts.gate and parts.gate.stopping else None,
    }


def notes_of(parts: ServiceParts, kept_back: Callable[[], Sequence[str]]) -> "Mapping[str, Check]":
    """Return what makes nothing unready: the last good policy stays in force, records wait.

    Args:
        parts: of the service.
        kept_back: returns what confined files are not in force as they are.
    """
    judge, recorder = parts.judge, parts.recorder
    notes: dict[str, Check] = {
        "reload": lambda: parts.reloader.problem if parts.reloader else None,
        "subtrees": lambda: _summed_up(kept_back()),
        "store": lambda: recorder.away,
        "records": lambda: recorder.losing,
        "jwks": lambda: judge.verifier.problem if judge.verifier else None,
        "clock": lambda: recorder.clock_problem,
        "webhooks": lambda: parts.webhooks.problem if parts.webhooks else None,
        "rotation": lambda: parts.rotation.problem,
        "audit_anchor": lambda: recorder.anchor.problem if recorder.anchor else None,
    }
    notes |= {f"export_{each.name}": partial(_problem_of, each) for each in recorder.exports}
    stream = recorder.stream
    return notes if stream is None else notes | {"audit_stream": lambda: stream.problem}


def _summed_up(told: Sequence[str]) -> str | None:
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more if told else None


def _problem_of(export: "Export") -> str | None:
    return export.problem
