"""The administrator's side of a running proxy: run-time state from the start, the application once somebody asks.

Owns their lifetimes. The application's modules are imported on its first request, so that they cost no start-up time.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from outward.config.settings import AdminDoor, SecretEntry, Settings
from outward.core.policy import Policy
from outward.ops.access import Access
from outward.ops.origins import Origins
from outward.ops.principals import Token, from_environment, token_file
from outward.ops.rotation import Rotation
from outward.ops.stream import Stream
from outward.ops.web import OpsRequest, Response
from outward.ops.who import SignIn
from outward.records.database import Database, migrate, open_database, open_listener
from outward.records.state.live import State
from outward.records.state.runtime_settings import CHANNEL, StoredToken

if TYPE_CHECKING:
    from outward.ops.admin import Admin
    from outward.records.audit.chain import Chain
    from outward.records.audit.verify import ChainReport


class Administration:
    """State, stream and application of one proxy.

    Attributes:
        door: signs people in at a provider, if there is one; set it before `start`, and at each reload.
        state: what administrators set at run time; the search governor asks it.
        stream: shows events to those who watch; feed it from the loop.
        secrets: returns what the configuration in force says of its secrets; never their values.
    """

    def __init__(
        self, settings: Settings, policy: Callable[[], Policy], environ: Mapping[str, str] = os.environ
    ) -> None:
        """Read the environment's tokens; opens nothing.

        Args:
            settings: where the records are, and how the page is reached.
            policy: returns the policy in force.
            environ: holds `OUTWARD_ADMIN_TOKEN` and `OUTWARD_ADMIN_TOKEN_FILE`.

        Raises:
            TokenError: a token is too short, or the file holds none.
            OSError: the token's file cannot be read.
        """
        self._environ = environ
        self._settings, self._policy = settings, policy
        self.state = State(policy(), self._connect, self._chain, lambda: open_listener(settings.records_url, CHANNEL))
        self._known: tuple[Mapping[str, StoredToken], Mapping[str, Token]] = ({}, {})
        self.stream = Stream()
        self.secrets: Callable[[], tuple[SecretEntry, ...]] = lambda: settings.secrets
        self._access = Access(from_environment(environ), self._stored, Origins(settings.admin.urls))
        self._access.oidc, self._access.used = settings.admin.oidc, self.state.used
        self.door: SignIn | None = None
        self._admin: Admin | None = None
        self._building = asyncio.Lock()

    async def start(self) -> None:
        """Read the run-time state, without holding up the loop."""
        await asyncio.to_thread(self.state.start)

    def watch_token(self, rotation: Rotation) -> None:
        """Have the token's file taken up when it changes, if there is one."""
        file = token_file(self._environ)
        if file is not None:
            rotation.add("admin token", lambda: (file,), lambda: self._access.use(from_environment(self._environ)))

    def use(self, policy: Policy, door: AdminDoor) -> None:
        """Follow a reload."""
        self.state.policy = policy
        self._access.origins, self._access.oidc = Origins(door.urls), door.oidc

    def origins(self) -> Origins:
        """Return the addresses that the page is reached at now."""
        return self._access.origins

    async def __call__(self, request: OpsRequest) -> Response:
        """Answer one request of an administrator."""
        async with self._building:
            if self._admin is None:
                self._admin = await asyncio.to_thread(self._build)
        return await self._admin(request)

    def close(self) -> None:
        """End threads and connections."""
        self.state.close()
        if self._admin is not None:
            self._admin.close()

    def _build(self) -> "Admin":
        from outward.ops.admin import Admin  # noqa: PLC0415 - see the module

        return Admin(
            policy=self._policy,
            state=self.state,
            connect=lambda: open_database(self._settings.records_url, self._settings.state),
            check_chain=self._verify,
            access=self._access,
            stream=self.stream,
            door=lambda: self.door,
            now=time.time,
            secrets=self.secrets,
        )

    def _connect(self) -> Database:
        database = open_database(self._settings.records_url, self._settings.state)
        migrate(database)
        return database

    def _chain(self) -> "Chain":
        from outward.records.audit.chain import Chain  # noqa: PLC0415 - cryptography is not needed before the first change

        return Chain(self._settings.state)

    def _verify(self, database: Database, after: "ChainReport | None") -> "ChainReport":
        from outward.records.audit.verify import verify  # noqa: PLC0415 - as above

        return verify(database, self._settings.state, after=after, signatures=False)

    def _stored(self) -> Mapping[str, Token]:
        """Return the tokens by digest; made anew only if one of them has changed: people who sign in are many."""
        kept, known = self.state.tokens, self._known
        if known[0] is not kept:
            known = self._known = kept, {sha256: _token(each) for sha256, each in kept.items()}
        return known[1]


def _token(kept: StoredToken) -> Token:
    return Token(
        kept.id,
        kept.sha256,
        kept.scope,
        kept.name,
        kept.expires,
        kept.revoked,
        kept.role,
        session=kept.held is not None,
        hats=kept.held or (),
        issuer=kept.issuer,
    )
