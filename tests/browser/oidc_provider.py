"""A small OpenID provider (Core 1.0, code flow with PKCE) for tests, which believes the cookie `who` of the browser.

python tests/browser/oidc_provider.py        prints its issuer; a new key at every start
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

CLIENT_ID, CLIENT_SECRET = "studio", "a-secret-between-the-two"
KEY_ID = "key-1"
LIFETIME_S = 300


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Key:
    """An RSA key that signs what the provider says (RS256, RFC 7515)."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def signed(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
        text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{text}.{base64url(self._key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"

    def public(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        n, e = (base64url(value.to_bytes((value.bit_length() + 7) // 8, "big")) for value in (numbers.n, numbers.e))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": n, "e": e}


class Provider(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.key = Key()
        self.grants: dict[str, dict[str, str]] = {}  # code -> what was asked for with it

    def about(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0."""
        places = ("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint")
        paths = ("/authorize", "/token", "/jwks", "/logout")
        return {
            "issuer": self.issuer,
            **{place: self.issuer + path for place, path in zip(places, paths, strict=True)},
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def claims(self, grant: dict[str, str]) -> dict[str, Any]:
        who = grant["who"]
        now = int(time.time())
        return {
            "iss": self.issuer,
            "sub": f"{who}-subject",
            "aud": CLIENT_ID,
            "nonce": grant["nonce"],
            "iat": now,
            "exp": now + LIFETIME_S,
            "name": f"{who} Surname",
            "email": f"{who}@hospital.example",
        }


class Answer(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/.well-known/openid-configuration":
            self._json(self.server.about())
        elif url.path == "/jwks":
            self._json({"keys": [self.server.key.public()]})
        elif url.path == "/authorize":
            self._authorize(asked)
        elif url.path == "/logout":
            self._go(asked["post_logout_redirect_uri"])
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        grant = self.server.grants.pop(asked.get("code", ""), None)  # a code is good for once
        if grant is None or not self._is_client() or not _fits(grant, asked):
            self._json({"error": "invalid_grant"}, 400)
            return
        token = self.server.key.signed(self.server.claims(grant))
        self._json({"access_token": secrets.token_hex(16), "token_type": "Bearer", "id_token": token})

    def _authorize(self, asked: dict[str, str]) -> None:
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("who")
        is_whole = {"state", "nonce", "redirect_uri", "code_challenge"} <= set(asked)
        if not is_whole or cookie is None or asked.get("client_id") != CLIENT_ID or "openid" not in asked["scope"]:
            self.send_error(400)
            return
        code = secrets.token_hex(16)
        self.server.grants[code] = {**asked, "who": cookie.value}
        self._go(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    def _is_client(self) -> bool:
        said = self.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(said).decode() == f"{CLIENT_ID}:{CLIENT_SECRET}"

    def _go(self, place: str) -> None:
        self.send_response(302)
        self.send_header("Location", place)
        self.end_headers()

    def _json(self, value: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _fits(grant: dict[str, str], asked: dict[str, str]) -> bool:
    """Whether it is asked by who began (PKCE, RFC 7636)."""
    digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
    return base64url(digest) == grant["code_challenge"] and asked.get("redirect_uri") == grant["redirect_uri"]


if __name__ == "__main__":
    provider = Provider()
    print(provider.issuer, flush=True)  # noqa: T201 - what the test waits for
    provider.serve_forever()
