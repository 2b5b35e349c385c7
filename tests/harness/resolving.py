"""A resolver that asks stub name servers, by a clock of the test."""

from collections.abc import Callable

import pytest

from harness.dns_stub import DnsStub
from outward.core.reasons import Reason
from outward.dns.nameservers import Nameservers
from outward.dns.resolver import ResolveError, Resolver


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def made(*stubs: DnsStub, timeout: float = 3.0, patience: float = 0.2, clock: Callable[[], float] | None = None):
    """A resolver that asks the stubs, each try `patience` seconds long."""
    servers = tuple(stub.address for stub in stubs)
    subject = Resolver(servers, {}, timeout, clock or Clock())
    subject._nameservers = Nameservers(servers, timeout=patience, attempts=2)
    return subject


async def refused(subject: Resolver, name: str) -> Reason:
    with pytest.raises(ResolveError) as caught:
        await subject.resolve(name)
    return caught.value.reason


def texts(addresses: object) -> list[str]:
    return sorted(str(each) for each in addresses)  # the stub's library shuffles
