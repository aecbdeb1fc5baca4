"""Tokens that must let nobody in, each with what is wrong with it, and the keys that sign them."""

import json
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from server.jwt_tokens import BYTES_AT_MOST
from tests.security.issuer import AUDIENCE, Issuer, Key, hmac_signed, part

RSA: Final = Key.rsa("rsa-1")
EC: Final = Key.ec("ec-1")
ED: Final = Key.ed("ed-1")
OTHER: Final = Key.rsa("rsa-1")
"""Somebody else's, under a name of the issuer's."""
PS: Final = Key("ps-1", "PS256", Key.rsa("x").private)
FOR_ENCRYPTION: Final = Key.rsa("enc-1")
SHORT: Final = Key.rsa("short-1", bits=1024)
SECRET: Final = b"published by mistake, and known to all the world"

Make: TypeAlias = Callable[[Issuer], str]
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _raw(issuer: Issuer, more: bytes, **claims: Any) -> bytes:  # noqa: ANN401 - any JSON
    """Return claims as text, with something behind them that no encoder would write."""
    return json.dumps(issuer.claims(**claims)).encode()[:-1] + b", " + more + b"}"


def _swapped(issuer: Issuer, **claims: Any) -> str:  # noqa: ANN401 - any JSON
    header, _, signature = RSA.sign(issuer.claims()).split(".")
    return f"{header}.{part(issuer.claims(**claims))}.{signature}"


ATTACKS: Final[dict[str, Make]] = {
    "nobody signed it": lambda issuer: f"{part({'alg': 'none'})}.{part(issuer.claims())}.",
    "nobody signed it, in capitals": lambda issuer: f"{part({'alg': 'NONE'})}.{part(issuer.claims())}.AA",
    "nobody signed it, by the issuer's key": lambda issuer: RSA.sign(issuer.claims(), {"alg": "none"}),
    "the signature is cut off": lambda issuer: RSA.sign(issuer.claims()).rpartition(".")[0] + ".",
    "the signature is one byte": lambda issuer: RSA.sign(issuer.claims()).rpartition(".")[0] + ".AA",
    "signed with the public key as a secret": lambda issuer: hmac_signed(
        {"alg": "HS256", "kid": "rsa-1"}, issuer.claims(), RSA.pem
    ),
    "signed with the published document as a secret": lambda issuer: hmac_signed(
        {"alg": "HS256", "kid": "rsa-1"}, issuer.claims(), json.dumps(RSA.jwk).encode()
    ),
    "signed with a secret that was published": lambda issuer: hmac_signed(
        {"alg": "HS256", "kid": "oct-1"}, issuer.claims(), SECRET
    ),
    "signed with nothing as a secret": lambda issuer: hmac_signed({"alg": "HS256"}, issuer.claims(), b""),
    "somebody else's key under a known name": lambda issuer: OTHER.sign(issuer.claims()),
    "a name of no key": lambda issuer: RSA.sign(issuer.claims(), {"kid": "rsa-2"}),
    "the name of another key": lambda issuer: RSA.sign(issuer.claims(), {"kid": "ec-1"}),
    "no name where there are several keys": lambda issuer: RSA.sign(issuer.claims(), {"kid": None}),
    "a name that is a path": lambda issuer: RSA.sign(issuer.claims(), {"kid": "../../../../dev/null"}),
    "a name that is no text": lambda issuer: RSA.sign(issuer.claims(), {"kid": ["rsa-1"]}),
    "a name that is a number": lambda issuer: RSA.sign(issuer.claims(), {"kid": 1}),
    "an elliptic curve's signature by an RSA key": lambda issuer: RSA.sign(issuer.claims(), {"alg": "ES256"}),
    "an algorithm that is not allowed": lambda issuer: Key("rsa-1", "RS512", RSA.private).sign(issuer.claims()),
    "a signature of zeros": lambda issuer: f"{EC.sign(issuer.claims()).rpartition('.')[0]}.{part(bytes(64))}",
    "a signature of zeros in ASN.1": lambda issuer: (
        f"{EC.sign(issuer.claims()).rpartition('.')[0]}.{part(bytes.fromhex('3006020100020100'))}"
    ),
    "a signature of the curve's order": lambda issuer: (
        f"{EC.sign(issuer.claims()).rpartition('.')[0]}." + part((_ORDER.to_bytes(32)) * 2)
    ),
    "an empty signature of an Edwards curve": lambda issuer: (
        f"{ED.sign(issuer.claims()).rpartition('.')[0]}.{part(bytes(64))}"
    ),
    "a key that it brings along": lambda issuer: OTHER.sign(issuer.claims(), {"kid": None, "jwk": OTHER.jwk}),
    "a key that it brings along under a known name": lambda issuer: OTHER.sign(issuer.claims(), {"jwk": OTHER.jwk}),
    "a chain that it brings along": lambda issuer: OTHER.sign(issuer.claims(), {"x5c": [part(OTHER.pem)]}),
    "a key that is for encryption": lambda issuer: FOR_ENCRYPTION.sign(issuer.claims()),
    "a key that is too short": lambda issuer: SHORT.sign(issuer.claims()),
    "something that must be understood": lambda issuer: RSA.sign(issuer.claims(), {"crit": ["exp"], "exp": 1}),
    "nothing that must be understood": lambda issuer: RSA.sign(issuer.claims(), {"crit": []}),
    "an unencoded payload": lambda issuer: RSA.sign(issuer.claims(), {"b64": False, "crit": ["b64"]}),
    "an ID token": lambda issuer: RSA.sign(issuer.claims(aud="client-7")),
    "a logout token": lambda issuer: RSA.sign(issuer.claims(), {"typ": "logout+jwt"}),
    "a DPoP proof": lambda issuer: RSA.sign(issuer.claims(), {"typ": "dpop+jwt"}),
    "a kind that is no text": lambda issuer: RSA.sign(issuer.claims(), {"typ": 1}),
    "another issuer": lambda issuer: RSA.sign(issuer.claims(iss="https://evil.example")),
    "the issuer with a slash more": lambda issuer: RSA.sign(issuer.claims(iss=issuer.base + "/")),
    "several issuers": lambda issuer: RSA.sign(issuer.claims(iss=[issuer.base])),
    "no issuer": lambda issuer: RSA.sign(issuer.claims(iss=None)),
    "another audience": lambda issuer: RSA.sign(issuer.claims(aud="https://other.example")),
    "other audiences": lambda issuer: RSA.sign(issuer.claims(aud=["https://other.example", AUDIENCE + "/x"])),
    "no audience": lambda issuer: RSA.sign(issuer.claims(aud=None)),
    "an empty list of audiences": lambda issuer: RSA.sign(issuer.claims(aud=[])),
    "an audience that is an object": lambda issuer: RSA.sign(issuer.claims(aud={AUDIENCE: 1})),
    "an audience within another": lambda issuer: RSA.sign(issuer.claims(aud=f"x{AUDIENCE}x")),
    "expired": lambda issuer: RSA.sign(issuer.claims(exp=int(time.time()) - 31)),
    "never expires": lambda issuer: RSA.sign(issuer.claims(exp=None)),
    "expires never, as a word": lambda issuer: RSA.sign(issuer.claims(exp="never")),
    "expires when it is no number": lambda issuer: RSA.sign(_raw(issuer, b'"exp": NaN', exp=None)),
    "expires at infinity": lambda issuer: RSA.sign(_raw(issuer, b'"exp": Infinity', exp=None)),
    "expires beyond all numbers": lambda issuer: RSA.sign(_raw(issuer, b'"exp": 1e999', exp=None)),
    "expires after more digits than Python reads": lambda issuer: RSA.sign(
        _raw(issuer, b'"exp": ' + b"9" * 4400, exp=None)
    ),
    "expires in a list": lambda issuer: RSA.sign(issuer.claims(exp=[int(time.time()) + 60])),
    "does not hold yet": lambda issuer: RSA.sign(issuer.claims(nbf=int(time.time()) + 60)),
    "is of the future": lambda issuer: RSA.sign(issuer.claims(iat=int(time.time()) + 60)),
    "names nobody": lambda issuer: RSA.sign(issuer.claims(sub=None)),
    "names an empty name": lambda issuer: RSA.sign(issuer.claims(sub="")),
    "names a number": lambda issuer: RSA.sign(issuer.claims(sub=7)),
    "names whoever is at the command line": lambda issuer: RSA.sign(issuer.claims(sub="cli:root")),
    "names two lines": lambda issuer: RSA.sign(issuer.claims(sub="ann\nby root")),
    "names a very long name": lambda issuer: RSA.sign(issuer.claims(sub="a" * 201)),
    "has a tenant that is none": lambda issuer: RSA.sign(issuer.claims(mcp_tenants=["acme|.*"])),
    "says its name twice": lambda issuer: RSA.sign(_raw(issuer, b'"sub": "root"')),
    "says its audience twice": lambda issuer: RSA.sign(_raw(issuer, f'"aud": "{AUDIENCE}"'.encode(), aud="other")),
    "says its algorithm twice": lambda issuer: RSA.sign_raw(
        b'{"alg": "none", "alg": "RS256", "kid": "rsa-1"}', issuer.claims()
    ),
    "is a list": lambda _: RSA.sign(b"[]"),
    "is no JSON": lambda _: RSA.sign(b"{"),
    "is no text": lambda _: RSA.sign(b"\xff\xfe"),
    "is nested deeply": lambda issuer: RSA.sign(_raw(issuer, b'"x": ' + b"[" * 200 + b"]" * 200)),
    "has a header that is nested deeply": lambda issuer: RSA.sign_raw(b"[" * 4000, issuer.claims()),
    "has a header that is a list": lambda issuer: RSA.sign_raw(b'["alg"]', issuer.claims()),
    "has a header that is no JSON": lambda issuer: RSA.sign_raw(b"\x00", issuer.claims()),
    "is in a token of its own": lambda issuer: RSA.sign(RSA.sign(issuer.claims()).encode(), {"cty": "JWT"}),
    "is encrypted": lambda _: ".".join([part({"alg": "RSA-OAEP", "enc": "A256GCM"}), *["AAAA"] * 4]),
    "has padding": lambda issuer: RSA.sign(issuer.claims()) + "==",
    "has a line at its end": lambda issuer: RSA.sign(issuer.claims()) + ".\n",
    "has four parts": lambda issuer: RSA.sign(issuer.claims()) + ".AAAA",
    "has one part": lambda _: "AAAA",
    "is huge": lambda issuer: RSA.sign(issuer.claims(x="a" * BYTES_AT_MOST)),
    "another payload under the signature": lambda issuer: _swapped(issuer, sub="root"),
    "another header over the signature": lambda issuer: (
        f"{part({'alg': 'RS256', 'kid': 'rsa-1'})}.{RSA.sign(issuer.claims()).partition('.')[2]}"
    ),
}
