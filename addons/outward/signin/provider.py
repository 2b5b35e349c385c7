"""The provider of identities: what it says of itself, its keys, and a code's exchange for an ID token.

Everything is asked as key sets are: by `upstream.trust`, `upstream.dns` and `upstream.internal`, without redirects. For
threads.
"""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from joserfc.jwk import KeySet

from outward.config.admin import is_safe
from outward.config.settings import Oidc
from outward.files import read_regular
from outward.proxy.keyfetch import Reply
from outward.proxy.keysets import RETRY, URL_EVERY, parse_keys
from outward.signin.idtoken import UnsignedError, verified

DISCOVERED = 3600.0  # seconds that the provider's own words count
_MAX_SECRET = 65_536
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class ProviderError(Exception):
    """The provider does not answer, or not as it should; the message is for the log and shows no secret."""


class SignInRefusedError(Exception):
    """The provider refuses the code: it is used, old, or another sign-in's."""


class Ask(Protocol):
    """Asks a URL; see `proxy.keyfetch.KeyReader.ask`."""

    def __call__(self, url: str, body: bytes | None = None, fields: Mapping[str, str] = ...) -> Reply:
        """Return the answer."""


@dataclass(frozen=True, slots=True)
class _Words:
    """What the provider says of itself (OpenID Connect Discovery 1.0)."""

    authorization: str
    token: str
    jwks: str
    basic: bool
    names_itself: bool
    read: float


class Provider:
    """One provider; remembers its words and keys for a while."""

    def __init__(self, oidc: Oidc, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask nothing yet."""
        self._oidc, self._ask, self._clock = oidc, ask, clock
        self._words: _Words | None = None
        self._keys: tuple[KeySet, float] | None = None

    @property
    def names_itself(self) -> bool:
        """Whether its answers always carry `iss` (RFC 9207)."""
        return self._discovered().names_itself

    def page(self, **parameters: str) -> str:
        """Return where a person signs in.

        Raises:
            ProviderError: the provider does not say.
        """
        target = self._discovered().authorization
        return f"{target}{'&' if '?' in target else '?'}{urlencode(parameters)}"

    def claims(self, code: str, *, redirect: str, verifier: str, nonce: str, now: float) -> Mapping[str, Any]:
        """Exchange a code, and return the verified claims of the ID token.

        Raises:
            ProviderError: the provider does not answer, or not as it should.
            RefusedError: it refuses the code.
            UnverifiedError: what it answers is not to be believed.
        """
        token = self._exchanged(code, redirect, verifier)
        issuer, client_id = self._oidc.issuer, self._oidc.client_id
        check = partial(verified, token, issuer=issuer, client_id=client_id, nonce=nonce, now=now)
        try:
            return check(self._keyset(URL_EVERY))
        except UnsignedError:
            return check(self._keyset(RETRY))  # the provider may sign by a new key

    def _exchanged(self, code: str, redirect: str, verifier: str) -> str:
        words, fields, client_id = self._discovered(), dict(_FORM), self._oidc.client_id
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        secret = self._secret()
        if secret is not None and words.basic:  # RFC 6749 2.3.1
            pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
            fields["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client_id} | ({} if secret is None else {"client_secret": secret})
        reply = self._asked(words.token, urlencode(form).encode(), fields)
        answer = _object(reply)
        if reply.status == 400 and answer.get("error") == "invalid_grant":
            raise SignInRefusedError
        if reply.status != 200 or not isinstance(answer.get("id_token"), str):
            said = str(answer.get("error", "no ID token"))[:60]
            raise ProviderError(f"the exchange was answered with status {reply.status}: {said}")
        return str(answer["id_token"])

    def _secret(self) -> str | None:
        if self._oidc.client_secret_file is None:
            return None
        try:
            return read_regular(self._oidc.client_secret_file, _MAX_SECRET).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ProviderError("`admin.oidc.client_secret_file` cannot be read") from error

    def _keyset(self, age: float) -> KeySet:
        """Return the provider's keys, read at most some seconds ago."""
        if self._keys is None or self._clock() - self._keys[1] > age:
            reply = self._asked(self._discovered().jwks)
            try:
                self._keys = parse_keys(reply.body if reply.status == 200 else b""), self._clock()
            except ValueError as error:
                raise ProviderError(f"its keys cannot be read: {error}") from error
        return self._keys[0]

    def _discovered(self) -> _Words:
        if self._words is not None and self._clock() - self._words.read < DISCOVERED:
            return self._words
        reply = self._asked(f"{self._oidc.issuer.removesuffix('/')}/.well-known/openid-configuration")
        said = _object(reply)
        if reply.status != 200 or said.get("issuer") != self._oidc.issuer:
            raise ProviderError(f"`{self._oidc.issuer}` does not say that it is that issuer: status {reply.status}")
        urls = [said.get(f"{name}") for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        if not all(isinstance(url, str) and self._may_be_asked(url) for url in urls):
            raise ProviderError("one of its addresses is missing, or is not `https`")
        methods = said.get("token_endpoint_auth_methods_supported")
        basic = not isinstance(methods, list) or "client_secret_basic" in methods
        names = said.get("authorization_response_iss_parameter_supported") is True
        self._words = _Words(str(urls[0]), str(urls[1]), str(urls[2]), basic, names, self._clock())
        return self._words

    def _may_be_asked(self, url: str) -> bool:
        """Tell whether a provider may lead to an address: to this machine only if it is there itself."""
        local = self._oidc.issuer.startswith("http:")
        return url.isprintable() and " " not in url and (url.startswith("https://") or (local and is_safe(url)))

    def _asked(self, url: str, body: bytes | None = None, fields: Mapping[str, str] = _FORM) -> Reply:
        try:
            return self._ask(url, body, fields)
        except Exception as error:  # whatever keeps it from being asked: names, addresses, TLS, time
            raise ProviderError(f"{url.partition('?')[0]}: {str(error) or type(error).__name__}") from error


def _object(reply: Reply) -> Mapping[str, Any]:
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
