"""What a service is made of."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outward.builders.errors import StartError
from outward.builders.judging import administration_of, resolver_of
from outward.builders.options import Options
from outward.builders.records import Observed, connecting
from outward.builders.sending import anchor_of, exports_of, stream_of
from outward.config.settings import Settings
from outward.core.addresses import Own
from outward.core.policy import Policy
from outward.ops.metrics import Metrics
from outward.ops.rotation import Rotation
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge
from outward.proxy.leases import Leases
from outward.proxy.listener import ProxyListener
from outward.proxy.own import LateDesk
from outward.records.events.recorder import Recorder
from outward.records.events.values import Event
from outward.records.state.search_memory import SearchMemory

if TYPE_CHECKING:
    from outward.ops.administration import Administration
    from outward.ops.reload import Reloader
    from outward.ops.server import OpsServer
    from outward.proxy.assembly import Inspection
    from outward.proxy.governance import SearchGovernor
    from outward.records.sending.webhooks import Webhooks


@dataclass(slots=True)
class ServiceParts:
    """The parts of a service. Those with None are made while it starts; what is not wanted stays None.

    Attributes:
        administration: the administrator's side; None without an ops port.
        gate: the proxy's listener.
    """

    metrics: Metrics
    recorder: Recorder
    memory: SearchMemory
    judge: Judge
    dialer: Dialer
    administration: "Administration | None"
    rotation: Rotation = field(default_factory=Rotation)
    inspection: "Inspection | None" = None
    governor: "SearchGovernor | None" = None
    ops: "OpsServer | None" = None
    gate: ProxyListener | None = None
    reloader: "Reloader | None" = None
    leases: Leases | None = None
    desk: LateDesk | None = None
    webhooks: "Webhooks | None" = None


def parts_of(settings: Settings, policy: Policy, options: Options, show: Callable[[Event], None]) -> ServiceParts:
    """Make the parts that there are before anything is opened.

    Args:
        settings: all of them.
        policy: in force from the first.
        options: of the service.
        show: sees every event.

    Raises:
        StartError: a setting cannot be used.
    """
    metrics = Metrics()
    recorder = _recorder_of(settings, options, metrics)
    judge = Judge(policy, Observed(recorder, show), metrics, Own(), options.patience)
    judge.secrets.tell = recorder.audit
    administration = administration_of(settings, judge) if options.ops else None
    if administration is not None:
        administration.secrets = lambda: judge.secrets.entries
    memory = SearchMemory(connecting(settings))
    return ServiceParts(metrics, recorder, memory, judge, _dialer_of(settings, judge), administration)


def _recorder_of(settings: Settings, options: Options, metrics: Metrics) -> Recorder:
    return Recorder(
        settings.records_url,
        settings.state,
        metrics,
        retention=settings.retention,
        max_bytes=settings.max_bytes,
        spill_bytes=settings.spill_bytes,
        keep_allowed=settings.keep_allowed,
        stdout=options.stdout,
        as_line=options.as_line,
        stream=stream_of(settings, metrics),
        exports=exports_of(settings, metrics),
        audit_retention=settings.audit_retention,
        anchor=anchor_of(settings, metrics),
        linger=options.linger,
        instance=settings.instance or socket.gethostname(),
    )


def _dialer_of(settings: Settings, judge: Judge) -> Dialer:
    try:
        return Dialer(resolver_of(settings), judge, settings.limits, settings.parent_proxy, settings.no_proxy)
    except ValueError as error:
        raise StartError(str(error)) from error
