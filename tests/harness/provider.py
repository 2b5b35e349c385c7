"""A provider of identities on loopback, for what no honest one would do: it checks what a real one checks, and says what it is told."""

import json
import secrets
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from joserfc import jws
from joserfc.jwk import KeySet, RSAKey

SECRET = "the client's secret, long enough for HS256 too"
CLIENT = "outward page"


class Provider:
    """A running provider.

    Attributes:
        issuer: its URL.
        claims: laid over those of each ID token; None takes one away.
        sign: makes the token of claims; replace it to forge.
        response: laid over the answer to each exchange.
        asked: paths that were asked for.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.claims: dict[str, Any] = {}
        self.words: dict[str, Any] = {}
        self.down = False
        self.answers = threading.Event()  # cleared, it answers nobody
        self.answers.set()
        self._codes: dict[str, dict[str, str]] = {}
        self.rotate()
        self.sign = self.signed
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self, b"")

            def do_POST(self) -> None:
                provider.answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rotate(self) -> None:
        """Sign by another key, and forget the old one."""
        self.key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})

    def signed(self, claims: dict[str, Any], key: Any = None, **header: str) -> str:
        header = {"alg": "RS256", "kid": self.key.kid} | header
        return jws.serialize_compact(header, json.dumps(claims).encode(), key or self.key, algorithms=[header["alg"]])

    def code(self, page: str) -> tuple[str, SimpleNamespace]:
        """Be the person who signs in at a URL of this provider: return the code, and the URL's parameters."""
        assert page.startswith(f"{self.issuer}/authorize?")
        asked = dict(parse_qsl(urlsplit(page).query, strict_parsing=True))
        assert asked["code_challenge_method"] == "S256"
        assert asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        return code, SimpleNamespace(**asked)

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.asked.append(handler.path)
        self.answers.wait(60)
        if self.down:
            status, said = 500, {}
        elif handler.path == "/token":
            status, said = self._exchange(handler.headers.get("Authorization", ""), body)
        elif handler.path == "/keys":
            status, said = 200, KeySet([self.key]).as_dict(private=False)
        else:
            status, said = (
                200,
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                }
                | self.words,
            )
        data = json.dumps(said).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _exchange(self, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Take a code once, from who began, with the verifier of its challenge."""
        form = {name: value for name, [value] in parse_qs(body.decode(), strict_parsing=True).items()}
        client, _, secret = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if (unquote(client), unquote(secret)) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form["code"], None)
        challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if asked is None or (asked["redirect_uri"], asked["code_challenge"]) != (form["redirect_uri"], challenge):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "u-1",
            "email": "ada@example.com",
            "groups": ["platform"],
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
        } | self.claims
        return 200, {"id_token": self.sign({name: value for name, value in claims.items() if value is not None})}
