"""Assembles a running proxy from settings and policy. Owns start, reload, drain and stop; decides nothing."""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outward.builders.errors import StartError, refused
from outward.builders.judging import (
    administration_of,
    desk_of,
    door_of,
    governor_of,
    resolver_of,
    verifier_for,
    whole,
)
from outward.builders.listening import bind, doorway_of, ops_tls_of, transparent_of
from outward.builders.records import Observed, connecting, prepare_records, watch_limits
from outward.builders.sending import anchor_of, exports_of, stream_of, traces_of, webhooks_of
from outward.config.loaded import Loaded
from outward.config.settings import Settings, TlsSettings
from outward.core.addresses import Own
from outward.core.policy import Policy, Rules
from outward.ops.health import Check, Health
from outward.ops.logs import level
from outward.ops.metrics import Metrics
from outward.ops.origins import Origins
from outward.ops.reload import Reloader
from outward.ops.rotation import Rotation
from outward.ops.server import OpsServer
from outward.proxy.challenges import PATIENCE
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge
from outward.proxy.leases import Leases
from outward.proxy.listener import ProxyListener, Vouch
from outward.proxy.local_addresses import own_addresses
from outward.proxy.parent import Parent
from outward.proxy.secrets import SecretError
from outward.records.credentials import renew
from outward.records.events.recorder import STORE_LINGER, Recorder
from outward.records.events.values import Event, Record
from outward.records.state.search_memory import SearchMemory

if TYPE_CHECKING:
    from outward.proxy.assembly import Inspection
    from outward.proxy.desk import Desk
    from outward.proxy.governance import SearchGovernor
    from outward.records.sending.export import Export
    from outward.records.sending.webhooks import Webhooks

__all__ = ["Options", "Service", "StartError"]

log = logging.getLogger(__name__)

OWN_INTERVAL = 30.0  # seconds between looks at this machine's addresses
CA_INTERVAL = 60.0  # seconds between looks at the CA's files and end
_SHOWN = 5  # subtrees that a detail names
FLUSH = 5.0  # seconds that the last records get

# Settings that are read once; the others follow a reload.
_FIXED = (
    "listen", "transparent", "ops", "state", "instance", "ca", "tls", "workers", "records_url", "retention",
    "audit_retention", "audit_anchor", "audit_stream", "export",
    "keep_allowed", "max_bytes", "spill_bytes", "webhooks", "limits",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """How a service differs from another with the same configuration.

    Attributes:
        transform: makes the policy in force from the loaded one, at every load.
        observe: sees every event that is recorded.
        load: loads the configuration anew, off the loop, given the one in force and the names of confined files that
            stay as they were; None where there is nothing to reload.
        ops: whether the ops port is opened.
        stdout: descriptor that a line is written to for each event; None for none.
        as_line: makes it; of JSON if it is None.
        lull: seconds before the engine is imported, unless it is needed sooner.
        linger: seconds that the first event of a batch waits for others; 0 writes at once.
        vouch: names that a connection without credentials proves by itself.
        receipt: sees the receipt of every request that searched the web.
        patience: seconds that a client has to answer a 407 before that is recorded.
        carried: where somebody else's listeners carry the connections and ask this service: returns the addresses and
            ports that they listen on. None opens our own.
    """

    transform: Callable[[Policy], Policy] = field(default=lambda policy: policy)
    observe: Callable[[Event], None] | None = None
    load: Callable[[Loaded, frozenset[str]], Loaded] | None = None
    ops: bool = True
    stdout: int | None = None
    as_line: Callable[[Record], bytes] | None = None
    lull: float = 0.0
    linger: float = STORE_LINGER
    vouch: Vouch | None = None
    receipt: Callable[[Mapping[str, Any]], None] | None = None
    patience: float = PATIENCE
    carried: Callable[[], list[tuple[str, int]]] | None = None


class Service:
    """A proxy and what belongs to it.

    Attributes:
        settings: those in force.
        judge: holds the policy in force.
    """

    def __init__(self, loaded: Loaded, options: Options | None = None) -> None:
        """Build the parts; opens nothing.

        Args:
            loaded: a configuration without errors.
            options: how this service differs from another with the same configuration.

        Raises:
            StartError: a setting cannot be used.
        """
        self.settings, policy = whole(loaded)
        self._options = options or Options()
        self._loaded = loaded
        self.metrics = Metrics()
        settings = self.settings
        self.recorder = Recorder(
            settings.records_url,
            settings.state,
            self.metrics,
            retention=settings.retention,
            max_bytes=settings.max_bytes,
            spill_bytes=settings.spill_bytes,
            keep_allowed=settings.keep_allowed,
            stdout=self._options.stdout,
            as_line=self._options.as_line,
            stream=stream_of(settings, self.metrics),
            exports=exports_of(settings, self.metrics),
            audit_retention=settings.audit_retention,
            anchor=anchor_of(settings, self.metrics),
            linger=self._options.linger,
            instance=settings.instance or socket.gethostname(),
        )
        self._memory = SearchMemory(connecting(settings))
        self.judge = Judge(policy, Observed(self.recorder, self._show), self.metrics, Own(), self._options.patience)
        self.administration = administration_of(self.settings, self.judge) if self._options.ops else None
        try:
            resolver = resolver_of(settings)
            self.dialer = Dialer(resolver, self.judge, settings.limits, settings.parent_proxy, settings.no_proxy)
        except ValueError as error:
            raise StartError(str(error)) from error
        self._inspection: Inspection | None = None
        self._governor: SearchGovernor | None = None
        self._ops: OpsServer | None = None
        self._gate: ProxyListener | None = None
        self._reloader: Reloader | None = None
        self._leases: Leases | None = None
        self._desk: Desk | None = None
        self._webhooks: Webhooks | None = None
        self._rotation = Rotation()
        self.judge.secrets.tell = self.recorder.audit
        if self.administration is not None:
            self.administration.secrets = lambda: self.judge.secrets.entries
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Where the proxy listens; known once it does."""
        if self._gate is None:
            raise StartError("the proxy does not listen yet")
        return self._gate.address

    @property
    def ops_address(self) -> tuple[str, int]:
        """Where health, metrics and administration are served; known once they are."""
        if self._ops is None:
            raise StartError("the ops port is not open")
        return self._ops.address

    @property
    def governor(self) -> "SearchGovernor":
        """The governance of hosted search; known once the service has started."""
        if self._governor is None:
            raise StartError("the governance of hosted search is not loaded")
        return self._governor

    async def adopt(self, listener: socket.socket, names: tuple[str, ...] = ()) -> None:
        """Serve the clients of one more listener, each of which proves these names; needs `start`."""
        if self._gate is None:
            raise StartError("the proxy does not listen yet")
        await self._gate.adopt(listener, names)

    async def capture(
        self, listener: socket.socket, names: tuple[str, ...], name_of: Callable[[str], str | None]
    ) -> None:
        """Serve what comes through one more listener from programs that know no proxy; as `adopt`.

        Args:
            listener: of a jail; the address of each connection is the one that was dialled.
            names: as for `adopt`.
            name_of: returns the name that an address stands for.
        """
        if self._gate is None:
            raise StartError("the proxy does not listen yet")
        await self._gate.capture(listener, names, name_of)

    async def start(self) -> None:
        """Open the ops port, then make everything ready, then listen.

        Raises:
            StartError: something cannot be opened; what was opened is for `stop` to close.
        """
        try:
            prepare_records(self.settings.records_url, self.settings.state)
            self.judge.secrets.use(self.settings.secrets)
            if self._options.ops:
                self.judge.traces = traces_of(self.settings, self.metrics)
                if self.judge.traces is not None:
                    self.judge.traces.start()
                health = Health(self.metrics, self._checks(), self.administration, self._notes(), self._origins)
                self._ops = OpsServer(health, self.metrics.internal_error)
                self._take_up_ops_tls()
                await bind("ops", self._ops.start, self.settings.ops)
                log.info("the ops port is open on %s port %d", *self._ops.address)
            self.recorder.start()
            self._memory.start()
            if self.administration is not None:
                self._leases = Leases(self.judge)
                self.administration.state.access.changed = self._leases.from_thread
                self._webhooks = webhooks_of(self.settings, self.metrics)
                if self._webhooks is not None:
                    self.administration.state.access.asked = self._webhooks.asked
                    self.judge.secrets.notify = self._webhooks.used
                await self.administration.start()
            watch_limits(self.metrics, self.recorder, self.settings)
            self.use(self._loaded)
            self._govern()
            await self._listen()
            self._spawn(self._warm())
        except OSError as error:
            raise refused(error) from error
        except SecretError as error:
            raise StartError(str(error)) from error
        self._rotate()
        self._spawn(self.metrics.watch_lag())
        self._spawn(every(OWN_INTERVAL, self._look_around))
        if self._options.load is not None:
            load = partial(self._load, self._options.load)
            self._reloader = Reloader(self._loaded, load, self.use, self.metrics, self.recorder.audit)
            self._spawn(self._reloader.watch())

    def _govern(self) -> None:
        """Load what judges searches, and what answers for the proxy itself."""
        told = self.recorder, self.administration, self._memory
        self._governor = governor_of(self.settings, self.judge, *told, hear=self._options.receipt)
        self.judge.desk = self._desk = desk_of(self.settings, self.judge, self.administration)

    async def _warm(self) -> None:
        """Load what the first governed requests would wait for, once the proxy is ready."""
        await asyncio.sleep(self._options.lull)
        await asyncio.to_thread(self.governor.warm)

    async def _listen(self) -> None:
        if self._options.carried is not None:
            self.governor.readers.waited_for = False
            self._look_around()
            return
        from outward.proxy.assembly import (  # noqa: PLC0415 - while it loads, the ops port answers already
            AuthorityError,
            Inspection,
            TrustError,
        )

        try:
            self._inspection = Inspection(self.settings, self.judge, self.dialer, self._governor)
        except (AuthorityError, TrustError) as error:
            raise StartError(str(error)) from error
        self._gate = ProxyListener(self.judge, self.dialer, self._inspection.engine, self.settings.limits)
        self._gate.tls, self._gate.bound = doorway_of(self.settings, self.metrics), self._look_around
        self._gate.vouch = self._options.vouch or self._gate.vouch
        await bind("proxy", self._gate.start, self.settings.listen)
        if self.settings.transparent is not None:
            await bind("transparent", transparent_of(self._gate), self.settings.transparent)
            log.info("redirected connections are taken on %s port %d", *self._gate.addresses[1])
        log.info("the proxy listens on %s port %d", *self.address)
        self._spawn(self._inspection.load(self._options.lull))
        self._spawn(every(CA_INTERVAL, self._inspection.renew))

    def _rotate(self) -> None:
        """Follow files that are replaced while the proxy runs."""
        if self.administration is not None:
            self.administration.watch_token(self._rotation)
        if self.settings.admin.tls is not None and self._ops is not None:
            self._rotation.add("admin.tls", lambda: _pem_files(self.settings.admin.tls), self._take_up_ops_tls)
        if self.settings.tls is not None:
            self._rotation.add("server.tls", lambda: _pem_files(self.settings.tls), self._take_up_tls)
        if self._inspection is not None:
            self._rotation.add("server.ca", lambda: self.settings.ca or (), self._inspection.renew)
        self._rotation.add("secrets", lambda: self.judge.secrets.files, self.judge.secrets.again)
        self._rotation.add("upstream.trust", self._trust_files, self._take_up_trust)
        self.metrics.watch("rotation_failing", lambda: float(self._rotation.failing))
        self._spawn(self._rotation.watch())

    def _take_up_ops_tls(self) -> None:
        if self._ops is not None:
            self._ops.tls = ops_tls_of(self.settings, self.metrics)

    def _origins(self) -> Origins:
        return self.administration.origins() if self.administration else Origins()

    def _take_up_tls(self) -> None:
        if self._gate is not None:
            self._gate.tls = doorway_of(self.settings, self.metrics)

    def _trust_files(self) -> list[Path]:
        return [Path(path) for path in (*self.settings.trust, *self.settings.crl) if path != "system"]

    async def _take_up_trust(self) -> None:
        if self._inspection is not None:
            await self._inspection.trust(self.settings)

    def use(self, loaded: Loaded, transform: Callable[[Policy], Policy] | None = None) -> None:
        """Put a configuration in force: at once, as a whole.

        Args:
            loaded: a configuration without errors.
            transform: replaces the option of that name from now on.

        Raises:
            StartError: the configuration has errors; nothing was changed.
            ValueError: the same, found by the one who uses a setting.
        """
        settings, policy = whole(loaded)
        if transform is not None:
            self._options = replace(self._options, transform=transform)
        policy = self._options.transform(policy)
        resolver, parent = self.dialer.resolver, self.dialer.parent
        if (settings.dns_servers, settings.dns_hosts) != (self.settings.dns_servers, self.settings.dns_hosts):
            resolver = resolver_of(settings)
        if settings.parent_proxy != self.settings.parent_proxy:
            parent = Parent.parse(settings.parent_proxy) if settings.parent_proxy else None
        if (settings.trust, settings.crl) != (self.settings.trust, self.settings.crl):
            self._rotation.ask("upstream.trust")
        if settings.secrets != self.settings.secrets:
            self.judge.secrets.use(settings.secrets)
        lasting = self._lasting(settings)
        self.judge.verifier = verifier_for(
            policy, self.judge.verifier, self.dialer, lambda: self.settings, self.metrics
        )
        if self._governor is not None:
            self._governor.use(settings)
        if settings.log_level is not None:
            level(settings.log_level)
        self.metrics.use_policy(policy)
        self.dialer.resolver, self.dialer.parent, self.dialer.direct = resolver, parent, Rules(settings.no_proxy)
        self.judge.policy = policy
        if self.administration is not None:
            if self.administration.door is None or lasting.admin.oidc != self.settings.admin.oidc:
                self.administration.door = door_of(lasting, self.dialer, lambda: self.settings)
            self.administration.use(policy, lasting.admin)
        self._loaded, self.settings = loaded, lasting

    def _lasting(self, new: Settings) -> Settings:
        """Return new settings with what is read at the start alone as it was, and tell what of that has changed."""
        old = self.settings
        changed = [name for name in _FIXED if getattr(new, name) != getattr(old, name)]
        if renew(old.records_url, new.records_url) and "records_url" in changed:
            changed.remove("records_url")
        door = new.admin
        if (door.tls is None) is not (old.admin.tls is None):
            changed.append("admin.tls")
            door = replace(door, tls=old.admin.tls)
        if changed:
            log.warning("these settings take effect at the next start: %s", ", ".join(changed))
        return replace(new, admin=door, **{name: getattr(old, name) for name in _FIXED})

    def _load(self, load: Callable[[Loaded, frozenset[str]], Loaded], restless: frozenset[str]) -> Loaded:
        """Load the configuration anew, and the tables that it names; for a thread."""
        loaded = load(self._loaded, restless)
        if loaded.ok and self._governor is not None:
            self._governor.prepare(whole(loaded)[0])
        return loaded

    def reload(self) -> None:
        """Load the configuration anew, soon, and look at the CA's files."""
        self._rotation.ask("server.ca")
        if self._reloader is not None:
            self._reloader.ask()

    async def drain(self, grace: float) -> None:
        """Become unready, stop accepting, and let open connections finish for a number of seconds."""
        if self._inspection is not None:
            self._inspection.engine.drain()
        if self._gate is not None:
            await self._gate.drain(grace)

    def _flush(self) -> None:
        """Keep what was recorded, and send what was traced. For a thread."""
        self.recorder.close(FLUSH)
        if self.judge.traces is not None:
            self.judge.traces.close(FLUSH)

    async def stop(self) -> None:
        """Close everything at once, and flush the records."""
        if self._gate is not None:
            self._gate.close()
        if self._inspection is not None:
            self._inspection.engine.close()
        for part in (self._leases, self._desk, self._webhooks):
            if part is not None:
                part.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FLUSH)
        if self._governor is not None:
            await self._governor.settle(FLUSH)
        await asyncio.to_thread(self._memory.close, FLUSH)
        self.judge.end()
        await asyncio.to_thread(self._flush)
        if self._ops is not None:
            await self._ops.close()
        if self.administration is not None:
            await asyncio.to_thread(self.administration.close)

    def tool_bundle(self, environ: Mapping[str, str], named: Iterable[Path]) -> Path:
        """Write the roots of system and caller and the CA to one file, for tools whose variable replaces the roots."""
        from outward.proxy.trust import bundle_for_tools  # noqa: PLC0415 - only `run` needs it

        if self._inspection is None:
            raise StartError("the CA is not loaded yet")
        return bundle_for_tools(self._inspection.authority.pem, environ, named)

    def _show(self, event: Event) -> None:
        """Show an event to those who watch."""
        if self._options.observe is not None:
            self._options.observe(event)
        if self.administration is not None:
            self.administration.stream.publish(event)
        if self._webhooks is not None:
            self._webhooks.met(event)

    def _checks(self) -> Mapping[str, Check]:
        checks: dict[str, Check] = {
            "policy": lambda: None if self.judge.policy.groups else "the policy has no groups",
            "recorder": lambda: self.recorder.problem,
        }
        if self._options.carried is not None:
            return checks | {"listener": lambda: None if self._governor else "requests are not judged yet"}
        return checks | {
            "ca": lambda: None if self._inspection else "the CA is not loaded",
            "listener": lambda: None if self._gate else "the proxy does not listen yet",
            "draining": lambda: "no new connections" if self._gate and self._gate.stopping else None,
        }

    def _notes(self) -> Mapping[str, Check]:
        """Return what makes nothing unready: the last good policy stays in force, records wait."""
        stream = self.recorder.stream
        notes: dict[str, Check] = {"reload": lambda: self._reloader.problem if self._reloader else None}
        notes["subtrees"] = self._kept_back
        notes["store"] = lambda: self.recorder.away
        notes["records"] = lambda: self.recorder.losing
        notes["jwks"] = lambda: self.judge.verifier.problem if self.judge.verifier else None
        notes["clock"] = lambda: self.recorder.clock_problem
        notes["webhooks"] = lambda: self._webhooks.problem if self._webhooks else None
        notes["rotation"] = lambda: self._rotation.problem
        notes["audit_anchor"] = lambda: self.recorder.anchor.problem if self.recorder.anchor else None
        notes |= {f"export_{each.name}": partial(_problem_of, each) for each in self.recorder.exports}
        return notes | ({"audit_stream": lambda: stream.problem} if stream is not None else {})

    def _kept_back(self) -> str | None:
        """Say what confined files are not in force as they are."""
        told = self._reloader.kept_back if self._reloader else self._loaded.kept_back
        more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        return "; ".join(told[:_SHOWN]) + more if told else None

    def _look_around(self) -> None:
        """Learn which addresses and listeners are this proxy's own, and so never dialled."""
        carried = self._options.carried
        addresses = carried() if carried else self._gate.addresses if self._gate else []
        addresses += [self._ops.address] if self._ops else []
        listeners = frozenset((ip_address(host), port) for host, port in addresses)
        self.judge.own = Own(own_addresses(), listeners)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _pem_files(tls: TlsSettings | None) -> list[Path]:
    return [path for path in (tls.cert, tls.key, tls.client_ca) if path] if tls else []


def _problem_of(export: "Export") -> str | None:
    return export.problem


async def every(interval: float, action: Callable[[], None]) -> None:
    """Act each time a number of seconds has passed; a failure is logged, and the next try made in its time."""
    while True:
        await asyncio.sleep(interval)
        try:
            action()
        except Exception:
            log.exception("a periodic task failed")
