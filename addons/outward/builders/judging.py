"""What judges: the policy, the resolver, the governance of search, and who tells which client is which."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from outward.builders.errors import StartError
from outward.config.loaded import Loaded
from outward.config.settings import Settings
from outward.core.model import Credential, Decision
from outward.core.policy import Policy
from outward.dns.resolver import Resolver
from outward.ops.metrics import Metrics
from outward.proxy.dial import Dialer
from outward.proxy.judge import Judge, Verifier
from outward.proxy.own import LateDesk
from outward.proxy.parent import Parent
from outward.proxy.search_hosts import registry_for
from outward.proxy.search_settings import FileConsent
from outward.records.database import open_database
from outward.records.events.recorder import Recorder
from outward.records.state.search_memory import SearchMemory
from outward.search.tables import TableError

if TYPE_CHECKING:
    from outward.ops.administration import Administration
    from outward.proxy.assembly import Inspection
    from outward.proxy.desk import Desk
    from outward.proxy.governance import SearchGovernor
    from outward.proxy.keyfetch import KeyReader
    from outward.signin.door import Door


def whole(loaded: Loaded) -> tuple[Settings, Policy]:
    """Return the settings and the policy of a configuration.

    Raises:
        StartError: it has errors.
    """
    if loaded.settings is None or loaded.policy is None:
        raise StartError("the configuration has errors")
    return loaded.settings, loaded.policy


def resolver_of(settings: Settings) -> Resolver:
    """Make the resolver.

    Raises:
        ValueError: a server is not given by its address.
    """
    return Resolver(settings.dns_servers, settings.dns_hosts, settings.limits.resolve_timeout)


def ways_out(dialer: Dialer, old: Settings, new: Settings) -> tuple[Resolver, Parent | None]:
    """Return the resolver and the parent proxy of new settings: those of the dialer, unless the settings change them.

    Raises:
        ValueError: a setting cannot be used.
    """
    resolver, parent = dialer.resolver, dialer.parent
    if (new.dns_servers, new.dns_hosts) != (old.dns_servers, old.dns_hosts):
        resolver = resolver_of(new)
    if new.parent_proxy != old.parent_proxy:
        parent = Parent.parse(new.parent_proxy) if new.parent_proxy else None
    return resolver, parent


def administration_of(settings: Settings, judge: Judge) -> "Administration":
    """Make the administrator's side; its token comes from the environment.

    Raises:
        StartError: the file of the token cannot be read, or a token is too short.
    """
    from outward.ops.administration import Administration  # noqa: PLC0415 - as above
    from outward.ops.principals import TokenError  # noqa: PLC0415 - `run` has no such side

    try:
        return Administration(settings, lambda: judge.policy)
    except TokenError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"the file of OUTWARD_ADMIN_TOKEN_FILE cannot be read: {error.strerror}") from error


def check_tables(settings: Settings) -> None:
    """Read the tables of governed hosts once, so that one that cannot be read is told at the start.

    Raises:
        StartError: which, and why.
    """
    try:
        registry_for(settings)
    except TableError as error:
        raise StartError(f"`vendor_tables`: {error}") from error


async def governor_of(
    settings: Callable[[], Settings],
    judge: Judge,
    recorder: Recorder,
    administration: "Administration | None",
    memory: SearchMemory,
    *,
    hear: Callable[[Mapping[str, Any]], None] | None,
) -> "SearchGovernor":
    """Load the governance of hosted search; without an administrator's side nothing can be set at run time.

    Receipts are shown to who wants to `hear` of them.
    """
    await asyncio.to_thread(import_module, "outward.proxy.governance")  # which takes a while
    from outward.proxy.governance import SearchGovernor  # noqa: PLC0415 - the proxy is ready before it is loaded
    from outward.proxy.search_told import Overheard  # noqa: PLC0415 - as above

    in_force, registry = settings(), None
    while registry is None or in_force is not settings():  # a reload came while the tables were read
        in_force = settings()
        registry = await asyncio.to_thread(registry_for, in_force)
    consent = administration.state if administration else FileConsent(lambda: judge.policy)
    sinks, most = Overheard(recorder, hear) if hear else recorder, in_force.limits.body_inspect_bytes
    return SearchGovernor(judge, registry, consent, sinks, most, counts=memory.counts, machines=memory.machines)


def inspection_of(
    settings: Settings, judge: Judge, dialer: Dialer, govern: Callable[[], Awaitable["SearchGovernor"]]
) -> "Inspection":
    """Make what looks into TLS, and loads the governance of hosted search when it is needed.

    Raises:
        StartError: the CA, or the roots that destinations are held to, cannot be used.
    """
    from outward.proxy.assembly import AuthorityError, Inspection, TrustError  # noqa: PLC0415 - as above

    try:
        return Inspection(settings, judge, dialer, govern)
    except (AuthorityError, TrustError) as error:
        raise StartError(str(error)) from error


def desk_of(settings: Settings, judge: Judge, administration: "Administration | None") -> LateDesk:
    """Make what answers for the proxy itself; without an administrator's side nobody could answer a request."""
    access = administration.state.access if administration else None

    def desk() -> "Desk":
        from outward.proxy.desk import Desk  # noqa: PLC0415 - most clients never ask
        from outward.proxy.keeping import Keeping  # noqa: PLC0415 - as above

        return Desk(judge, Keeping(lambda: open_database(settings.records_url, settings.state), access))

    return LateDesk(desk, asking=access is not None)


def verifier_for(
    policy: Policy, current: Verifier | None, dialer: Dialer, settings: Callable[[], Settings], metrics: Metrics
) -> Verifier | None:
    """Return the verifier of JWTs where a policy has clients for it: the current one, if there is one.

    Args:
        policy: the one that is put in force.
        current: verifies now.
        dialer: resolves and judges where key sets are fetched from; its loop is the running one.
        settings: returns those in force, whose roots are believed.
        metrics: where the age of the keys is shown.
    """
    if not any(entry.kind is Credential.JWT for entry in policy.clients):
        return None
    from outward.proxy.credentials import JwtVerifier  # noqa: PLC0415 - slow, and few need it
    from outward.proxy.keysets import KeySets  # noqa: PLC0415 - as above

    if isinstance(current, JwtVerifier):
        verifier = current
    else:
        verifier = JwtVerifier(KeySets(_reader_of(dialer, settings)))
        metrics.watch("jwks_age_seconds", verifier.keysets.age)
        metrics.watch("jwks_failing", lambda: float(verifier.keysets.failing))
    verifier.use(policy)
    return verifier


def door_of(settings: Settings, dialer: Dialer, in_force: Callable[[], Settings]) -> "Door | None":
    """Make what signs people in at a provider of identities, where the settings name one.

    Args:
        settings: those that are put in force.
        dialer: resolves and judges where the provider is; its loop is the running one.
        in_force: returns the settings in force, whose roots are believed.
    """
    if settings.admin.oidc is None:
        return None
    from outward.signin.door import Door  # noqa: PLC0415 - slow, and few need it
    from outward.signin.provider import Provider  # noqa: PLC0415 - as above

    return Door(settings.admin.oidc, Provider(settings.admin.oidc, _reader_of(dialer, in_force).ask))


def _reader_of(dialer: Dialer, settings: Callable[[], Settings]) -> "KeyReader":
    """Return what asks the issuers of tokens, by the roots and addresses of destinations."""
    from outward.proxy.keyfetch import KeyReader, context_of  # noqa: PLC0415 - slow, and few need it
    from outward.proxy.trust import upstream_roots  # noqa: PLC0415 - as above

    return KeyReader(
        asyncio.get_running_loop(),
        lambda host, port: dialer.addresses(host, port, Decision()),
        lambda: context_of(upstream_roots(settings().trust, settings().state)),
    )
