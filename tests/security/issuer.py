"""A small real issuer: it publishes keys over HTTP, and signs what a test has it sign."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Claims: TypeAlias = dict[str, Any]
AUDIENCE: Final = "https://mcp.example/postgres/mcp"


class Key:
    """A key with a name, which signs by one algorithm."""

    def __init__(self, kid: str | None, algorithm: str, private: PrivateKey) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private = private
        self._by = get_default_algorithms()[algorithm]

    @classmethod
    def rsa(cls, kid: str | None, algorithm: str = "RS256", bits: int = 2048) -> "Key":
        return cls(kid, algorithm, rsa.generate_private_key(65537, bits))

    @classmethod
    def ec(cls, kid: str | None) -> "Key":
        return cls(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def ed(cls, kid: str | None) -> "Key":
        return cls(kid, "EdDSA", ed25519.Ed25519PrivateKey.generate())

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as it is published."""
        told: dict[str, Any] = self._by.to_jwk(self.private.public_key(), as_dict=True)
        return {**told, **({} if self.kid is None else {"kid": self.kid})}

    @property
    def pem(self) -> bytes:
        public = self.private.public_key()
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, claims: Claims | bytes, header: Mapping[str, Any] | None = None) -> str:
        """Return a token; the header says what it should, but for what is given."""
        told: dict[str, Any] = {"alg": self.algorithm, "typ": "at+jwt", "kid": self.kid, **(header or {})}
        return self.sign_raw({name: value for name, value in told.items() if value is not None}, claims)

    def sign_raw(self, header: Mapping[str, Any] | bytes, claims: Claims | bytes) -> str:
        signed = f"{part(header)}.{part(claims)}"
        return f"{signed}.{part(self._by.sign(signed.encode(), self.private))}"


class Issuer:
    """What is published: `document` at `address`, and the metadata that names it."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.keys: list[dict[str, Any]] = []
        self.answers = True
        self.metadata: Claims = {"issuer": base, "jwks_uri": f"{base}/keys"}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"{self.base}/keys"

    def publish(self, *keys: Key) -> None:
        self.keys = [key.jwk for key in keys]

    def claims(self, **more: Any) -> Claims:  # noqa: ANN401 - any JSON; None takes a claim away
        now = int(time.time())
        told = {"iss": self.base, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 300}
        told |= {"scope": "tenants:read query:read", "mcp_tenants": ["acme-*"], **more}
        return {name: value for name, value in told.items() if value is not None}


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Run an issuer on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        issuer: ClassVar[Issuer]

        def do_GET(self) -> None:
            self.issuer.asked.append(self.path)
            documents = {"/keys": {"keys": self.issuer.keys}}
            documents["/.well-known/openid-configuration"] = self.issuer.metadata
            told = documents.get(self.path)
            body = json.dumps(told).encode()
            self.send_response(503 if not self.issuer.answers else 200 if told else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield Handler.issuer
        finally:
            server.shutdown()
            thread.join()


def hmac_signed(header: Mapping[str, Any], claims: Claims, secret: bytes) -> str:
    """Return a token signed by HS256, as whoever knows a published key could."""
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def part(told: Mapping[str, Any] | bytes) -> str:
    """Return a part of a token; bytes stay as they are."""
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()
