"""Assembles a running proxy from settings and policy. Owns start, reload, drain and stop; decides nothing."""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from outward.builders.errors import StartError, refused
from outward.builders.fixed import lasting
from outward.builders.health import checks_of, notes_of
from outward.builders.judging import (
    check_tables,
    desk_of,
    door_of,
    governor_of,
    inspection_of,
    verifier_for,
    ways_out,
    whole,
)
from outward.builders.listening import bind, doorway_of, transparent_of
from outward.builders.options import Options
from outward.builders.parts import parts_of
from outward.builders.records import prepare_records, watch_limits
from outward.builders.replaced import follow, take_up_ops_tls
from outward.builders.sending import traces_of, webhooks_of
from outward.config.loaded import Loaded
from outward.core.addresses import Own
from outward.core.policy import Policy
from outward.core.rules import Rules
from outward.ops.logs import level
from outward.proxy.captured import NameOf
from outward.proxy.leases import Leases
from outward.proxy.listener import ProxyListener
from outward.proxy.local_addresses import own_addresses
from outward.proxy.search_hosts import registry_for
from outward.proxy.secrets import SecretError
from outward.records.events.values import Event

if TYPE_CHECKING:
    from outward.ops.origins import Origins
    from outward.proxy.governance import SearchGovernor

__all__ = ["Options", "Service", "StartError"]

log = logging.getLogger(__name__)

OWN_INTERVAL = 30.0  # seconds between looks at this machine's addresses
CA_INTERVAL = 60.0  # seconds between looks at the CA's files and end
FLUSH = 5.0  # seconds that the last records get


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
        self._parts = parts = parts_of(self.settings, policy, self._options, self._show)
        self.metrics, self.recorder, self.judge = parts.metrics, parts.recorder, parts.judge
        self.dialer, self.administration = parts.dialer, parts.administration
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Where the proxy listens; known once it does."""
        return self._gate.address

    @property
    def ops_address(self) -> tuple[str, int]:
        """Where health, metrics and administration are served; known once they are."""
        if self._parts.ops is None:
            raise StartError("the ops port is not open")
        return self._parts.ops.address

    @property
    def governor(self) -> "SearchGovernor":
        """The governance of hosted search; known once the service has started."""
        if self._parts.governor is None:
            raise StartError("the governance of hosted search is not loaded")
        return self._parts.governor

    @property
    def _gate(self) -> ProxyListener:
        if self._parts.gate is None:
            raise StartError("the proxy does not listen yet")
        return self._parts.gate

    async def adopt(self, listener: socket.socket, names: tuple[str, ...] = ()) -> None:
        """Serve the clients of one more listener, each of which proves these names; needs `start`."""
        await self._gate.adopt(listener, names)

    async def capture(self, sock: socket.socket, names: tuple[str, ...], name_of: NameOf) -> None:
        """Serve what comes through one more listener from programs that know no proxy; as `adopt`.

        Args:
            sock: a jail's listener, or a connection: its own address is the one that was dialled.
            names: as for `adopt`.
            name_of: returns the name that is meant where an address and a port are dialled.
        """
        await self._gate.capture(sock, names, name_of)

    async def start(self) -> None:
        """Open the ops port, then make everything ready, then listen.

        Raises:
            StartError: something cannot be opened; what was opened is for `stop` to close.
        """
        try:
            prepare_records(self.settings.records_url, self.settings.state)
            self.judge.secrets.use(self.settings.secrets)
            await self._open_ops()
            self.recorder.start()
            self._parts.memory.start()
            await self._administer()
            watch_limits(self.metrics, self.recorder, self.settings)
            self.use(self._loaded)
            check_tables(self.settings)
            await self._listen()
            self._spawn(self._warm())
        except OSError as error:
            raise refused(error) from error
        except SecretError as error:
            raise StartError(str(error)) from error
        self._tend()

    async def _open_ops(self) -> None:
        if not self._options.ops:
            return
        from outward.ops.health import Health  # noqa: PLC0415 - `run` has no such port
        from outward.ops.server import OpsServer  # noqa: PLC0415 - as above

        parts = self._parts
        self.judge.traces = traces_of(self.settings, self.metrics)
        if self.judge.traces is not None:
            self.judge.traces.start()
        checks = checks_of(parts, carried=self._options.carried is not None)
        health = Health(self.metrics, checks, self.administration, notes_of(parts, self._kept_back), self._origins)
        parts.ops = OpsServer(health, self.metrics.internal_error)
        take_up_ops_tls(parts, lambda: self.settings)
        await bind("ops", parts.ops.start, self.settings.ops)
        log.info("the ops port is open on %s port %d", *parts.ops.address)

    async def _administer(self) -> None:
        """Begin what administrators do at run time, and what tells them and others of it."""
        if self.administration is None:
            return
        parts, access = self._parts, self.administration.state.access
        parts.leases = Leases(self.judge)
        access.changed = parts.leases.from_thread
        parts.webhooks = webhooks_of(self.settings, self.metrics)
        if parts.webhooks is not None:
            access.asked = parts.webhooks.asked
            self.judge.secrets.notify = parts.webhooks.used
        await self.administration.start()

    async def _govern(self) -> "SearchGovernor":
        """Load what judges searches."""
        told = self.recorder, self.administration, self._parts.memory
        governor = await governor_of(lambda: self.settings, self.judge, *told, hear=self._options.receipt)
        self._parts.governor = governor
        return governor

    async def _warm(self) -> None:
        """Load what the first requests would wait for, once the proxy is ready."""
        parts = self._parts
        if parts.inspection is not None:
            await parts.inspection.load(self._options.lull)
        if parts.governor is not None:
            await asyncio.to_thread(parts.governor.warm)

    async def _listen(self) -> None:
        self.judge.desk = self._parts.desk = desk_of(self.settings, self.judge, self.administration)
        if self._options.carried is not None:
            (await self._govern()).readers.waited_for = False
            self._look_around()
            return
        parts = self._parts
        inspection = parts.inspection = inspection_of(self.settings, self.judge, self.dialer, self._govern)
        gate = parts.gate = ProxyListener(self.judge, self.dialer, inspection.engine, self.settings.limits)
        gate.tls, gate.bound = doorway_of(self.settings, self.metrics), self._look_around
        gate.vouch = self._options.vouch or gate.vouch
        await bind("proxy", gate.start, self.settings.listen)
        if self.settings.transparent is not None:
            await bind("transparent", transparent_of(gate), self.settings.transparent)
            log.info("redirected connections are taken on %s port %d", *gate.addresses[1])
        log.info("the proxy listens on %s port %d", *gate.address)
        self._spawn(every(CA_INTERVAL, inspection.renew))

    def _tend(self) -> None:
        """Begin what looks after things again and again."""
        parts = self._parts
        follow(parts, lambda: self.settings)
        self._spawn(parts.rotation.watch())
        self._spawn(self.metrics.watch_lag())
        self._spawn(every(OWN_INTERVAL, self._look_around))
        if self._options.load is not None:
            from outward.ops.reload import Reloader  # noqa: PLC0415 - as above

            load = partial(self._load, self._options.load)
            parts.reloader = Reloader(self._loaded, load, self.use, self.metrics, self.recorder.audit)
            self._spawn(parts.reloader.watch())

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
        resolver, parent = ways_out(self.dialer, self.settings, settings)
        if (settings.trust, settings.crl) != (self.settings.trust, self.settings.crl):
            self._parts.rotation.ask("upstream.trust")
        if settings.secrets != self.settings.secrets:
            self.judge.secrets.use(settings.secrets)
        in_force = lasting(self.settings, settings)
        self.judge.verifier = verifier_for(
            policy, self.judge.verifier, self.dialer, lambda: self.settings, self.metrics
        )
        if self._parts.governor is not None:
            self._parts.governor.use(settings)
        if settings.log_level is not None:
            level(settings.log_level)
        self.metrics.use_policy(policy)
        self.dialer.resolver, self.dialer.parent, self.dialer.direct = resolver, parent, Rules(settings.no_proxy)
        self.judge.policy = policy
        if self.administration is not None:
            if self.administration.door is None or in_force.admin.oidc != self.settings.admin.oidc:
                self.administration.door = door_of(in_force, self.dialer, lambda: self.settings)
            self.administration.use(policy, in_force.admin)
        self._loaded, self.settings = loaded, in_force

    def _load(self, load: Callable[[Loaded, frozenset[str]], Loaded], restless: frozenset[str]) -> Loaded:
        """Load the configuration anew, and the tables that it names; for a thread."""
        loaded = load(self._loaded, restless)
        if loaded.ok:
            governor, settings = self._parts.governor, whole(loaded)[0]
            (governor.prepare if governor is not None else registry_for)(settings)
        return loaded

    def reload(self) -> None:
        """Load the configuration anew, soon, and look at the CA's files."""
        self._parts.rotation.ask("server.ca")
        if self._parts.reloader is not None:
            self._parts.reloader.ask()

    async def drain(self, grace: float) -> None:
        """Become unready, stop accepting, and let open connections finish for a number of seconds."""
        if self._parts.inspection is not None:
            self._parts.inspection.engine.drain()
        if self._parts.gate is not None:
            await self._parts.gate.drain(grace)

    def _flush(self) -> None:
        """Keep what was recorded, and send what was traced. For a thread."""
        self.recorder.close(FLUSH)
        if self.judge.traces is not None:
            self.judge.traces.close(FLUSH)

    async def stop(self) -> None:
        """Close everything at once, and flush the records."""
        parts = self._parts
        if parts.gate is not None:
            parts.gate.close()
        if parts.inspection is not None:
            parts.inspection.engine.close()
        for part in (parts.leases, parts.desk, parts.webhooks):
            if part is not None:
                part.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FLUSH)
        if parts.governor is not None:
            await parts.governor.settle(FLUSH)
        await asyncio.to_thread(parts.memory.close, FLUSH)
        self.judge.end()
        await asyncio.to_thread(self._flush)
        if parts.ops is not None:
            await parts.ops.close()
        if self.administration is not None:
            await asyncio.to_thread(self.administration.close)

    def tool_bundle(self, environ: Mapping[str, str], named: Iterable[Path]) -> Path:
        """Write the roots of system and caller and the CA to one file, for tools whose variable replaces the roots."""
        from outward.proxy.trust import bundle_for_tools  # noqa: PLC0415 - only `run` needs it

        if self._parts.inspection is None:
            raise StartError("the CA is not loaded yet")
        return bundle_for_tools(self._parts.inspection.authority.pem, environ, named)

    def _show(self, event: Event) -> None:
        """Show an event to those who watch."""
        if self._options.observe is not None:
            self._options.observe(event)
        if self.administration is not None:
            self.administration.stream.publish(event)
        if self._parts.webhooks is not None:
            self._parts.webhooks.met(event)

    def _origins(self) -> "Origins":
        from outward.ops.origins import Origins  # noqa: PLC0415 - as above

        return self.administration.origins() if self.administration else Origins()

    def _kept_back(self) -> tuple[str, ...]:
        """Return what confined files are not in force as they are."""
        return (self._parts.reloader or self._loaded).kept_back

    def _look_around(self) -> None:
        """Learn which addresses and listeners are this proxy's own, and so never dialled."""
        carried, gate, ops = self._options.carried, self._parts.gate, self._parts.ops
        addresses = carried() if carried else gate.addresses if gate else []
        addresses += [ops.address] if ops else []
        listeners = frozenset((ip_address(host), port) for host, port in addresses)
        self.judge.own = Own(own_addresses(), listeners)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def every(interval: float, action: Callable[[], None]) -> None:
    """Act each time a number of seconds has passed; a failure is logged, and the next try made in its time."""
    while True:
        await asyncio.sleep(interval)
        try:
            action()
        except Exception:
            log.exception("a periodic task failed")
