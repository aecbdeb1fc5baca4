"""Access tokens of an issuer: those that hold let in whom they name, and no other does, whatever it is made of."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from server.access_refused import Refused
from server.authentication import Bearers
from server.issuer_keys import FetchedKeys, KeysInFile
from server.issuer_tokens import IssuerTokens
from server.jwks import parse_keys
from server.jwt_tokens import LEEWAY, ClaimRules
from server.principal import Principal
from server.signature_kinds import DEFAULT_ALGORITHMS
from server.watched_file import WatchedFile
from tests.security.bad_tokens import ATTACKS, EC, ED, FOR_ENCRYPTION, OTHER, PS, RSA, SECRET, SHORT
from tests.security.issuer import AUDIENCE, Issuer, Key, issuing, part


class Clock:
    """Monotonic seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def published() -> Iterator[Issuer]:
    with issuing() as issuer:
        issuer.publish(RSA, EC, ED, PS, SHORT)
        issuer.keys.append({**FOR_ENCRYPTION.jwk, "use": "enc"})
        issuer.keys.append({"kty": "oct", "kid": "oct-1", "k": part(SECRET), "alg": "HS256"})
        yield issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with published() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def lasting_issuer() -> Iterator[Issuer]:
    """One for the tests that change nothing about it."""
    with published() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def lasting_door(lasting_issuer: Issuer) -> Bearers:
    """A door to that issuer, which has its keys."""
    door = door_to(lasting_issuer, Clock())
    asyncio.run(let_in(door, RSA.sign(lasting_issuer.claims())))
    return door


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(issuer: Issuer, clock: Clock) -> Bearers:
    return door_to(issuer, clock)


def door_to(issuer: Issuer, clock: Clock, *, address: str | None = None, **more: Any) -> Bearers:  # noqa: ANN401 - rules
    algorithms = more.pop("algorithms", DEFAULT_ALGORITHMS)
    rules = ClaimRules(issuer=issuer.base, audiences=(AUDIENCE,), algorithms=algorithms, **more)
    keys = FetchedKeys(issuer.base, address or issuer.address, algorithms, clock)
    return Bearers(None, IssuerTokens(keys, rules, time.time), time.time)


async def let_in(door: Bearers, token: str) -> Principal:
    return await door.caller([(b"authorization", b"Bearer " + token.encode())])


async def name(door: Bearers, token: str) -> str:
    return (await let_in(door, token)).subject


async def refusal(door: Bearers, token: str) -> Refused:
    with pytest.raises(Refused) as raised:
        await let_in(door, token)
    return raised.value


@pytest.mark.parametrize("key", [RSA, EC, ED, PS], ids=lambda key: key.algorithm)
@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "JWT", None])
async def test_a_token_of_the_issuer_lets_in_whom_it_names(
    lasting_door: Bearers, lasting_issuer: Issuer, key: Key, kind: str | None
) -> None:
    caller = await let_in(lasting_door, key.sign(lasting_issuer.claims(), {"typ": kind}))

    assert (caller.subject, set(caller.permissions)) == ("ann", {"tenants:read", "query:read"})
    assert (caller.touches("acme-1"), caller.touches("other")) == (True, False)


@pytest.mark.parametrize(
    ("claims", "permissions"),
    [
        ({"scope": "query:read openid offline_access"}, {"query:read"}),
        ({"scope": ["audit:read", "query:read"]}, {"audit:read", "query:read"}),
        ({"scope": None, "scp": ["tenants:write"]}, {"tenants:write"}),
        ({"scope": None, "scp": "tenants:write audit:read"}, {"tenants:write", "audit:read"}),
        ({"scope": "openid", "scp": "tenants:write"}, set()),
        ({"scope": None, "permissions": ["tenants:write"]}, set()),
        ({"scope": None}, set()),
        ({"scope": {"tenants:read": True}}, set()),
        ({"scope": [["tenants:read"], 1, None]}, set()),
        ({"scope": "Tenants:Read tenants:* * tenants:read,query:read"}, set()),
    ],
)
async def test_scopes_are_permissions_by_their_names_and_what_is_none_is_passed_over(
    lasting_door: Bearers, lasting_issuer: Issuer, claims: dict[str, Any], permissions: set[str]
) -> None:
    assert (await let_in(lasting_door, RSA.sign(lasting_issuer.claims(**claims)))).permissions == permissions


@pytest.mark.parametrize(
    ("told", "touched"),
    [
        ("acme-* demo", ["acme-1", "demo"]),
        (["demo"], ["demo"]),
        (["*"], ["acme-1", "demo", "other"]),
        (None, []),
        ([], []),
        ("", []),
        ({"demo": True}, []),
        (7, []),
    ],
)
async def test_a_token_touches_the_tenants_that_it_names_and_without_any_none(
    lasting_door: Bearers, lasting_issuer: Issuer, told: object, touched: list[str]
) -> None:
    caller = await let_in(lasting_door, RSA.sign(lasting_issuer.claims(mcp_tenants=told)))

    assert [tenant for tenant in ("acme-1", "demo", "other") if caller.touches(tenant)] == touched


async def test_claims_have_other_names_where_the_operator_says_so(issuer: Issuer, clock: Clock) -> None:
    door = door_to(
        issuer, clock, scope_claim="permissions", tenants_claim="https://id.example/t", subject_claim="email"
    )
    claims = issuer.claims(
        **{"permissions": ["audit:read"], "https://id.example/t": "demo", "email": "ann@example.org", "scope": "x"}
    )

    caller = await let_in(door, RSA.sign(claims))

    assert (caller.subject, list(caller.permissions), list(caller.tenants)) == (
        "ann@example.org",
        ["audit:read"],
        ["demo"],
    )


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_token_that_does_not_hold_lets_nobody_in(
    lasting_door: Bearers, lasting_issuer: Issuer, attack: str
) -> None:
    token = ATTACKS[attack](lasting_issuer)

    refused = await refusal(lasting_door, token)

    assert (refused.status, refused.reason) == (401, "bad_token")
    assert token not in refused.message


async def test_what_a_token_points_to_is_not_looked_at(door: Bearers, issuer: Issuer) -> None:
    with issuing() as evil:
        evil.publish(OTHER)
        pointing = {"jku": evil.address, "x5u": evil.address, "kid": "rsa-9"}

        assert (await refusal(door, OTHER.sign(issuer.claims(), pointing))).reason == "bad_token"
        assert evil.asked == []


@pytest.mark.parametrize("audience", [AUDIENCE, ["https://other.example", AUDIENCE]])
async def test_a_token_may_be_for_others_too(door: Bearers, issuer: Issuer, audience: object) -> None:
    assert (await let_in(door, RSA.sign(issuer.claims(aud=audience)))).subject == "ann"


async def test_a_clock_that_is_half_a_minute_late_is_no_reason_to_refuse(door: Bearers, issuer: Issuer) -> None:
    now = int(time.time())
    assert await name(door, RSA.sign(issuer.claims(exp=now - 15, nbf=now + 15, iat=now + 15)))


async def test_a_token_without_a_keys_name_is_judged_by_the_only_key_there_is(issuer: Issuer, clock: Clock) -> None:
    nameless = Key.ec(None)
    issuer.publish(nameless)
    door = door_to(issuer, clock)

    assert await name(door, nameless.sign(issuer.claims()))
    assert (await refusal(door, Key.ec(None).sign(issuer.claims()))).reason == "bad_token"


async def test_a_key_that_says_its_algorithm_verifies_by_no_other(issuer: Issuer, clock: Clock) -> None:
    issuer.keys = [{**RSA.jwk, "alg": "PS256"}]
    door = door_to(issuer, clock)

    assert (await refusal(door, RSA.sign(issuer.claims()))).reason == "bad_token"
    assert await name(door, Key("rsa-1", "PS256", RSA.private).sign(issuer.claims()))


async def test_an_algorithm_that_the_operator_left_out_is_refused(issuer: Issuer, clock: Clock) -> None:
    door = door_to(issuer, clock, algorithms=("ES256",))

    assert await name(door, EC.sign(issuer.claims()))
    assert (await refusal(door, RSA.sign(issuer.claims()))).reason == "bad_token"


async def test_a_token_that_was_let_in_is_refused_once_it_has_expired(door: Bearers, issuer: Issuer) -> None:
    soon = int(time.time()) + 5  # long enough to be let in on a busy machine
    token = RSA.sign(issuer.claims(exp=soon - int(LEEWAY)))
    assert await name(door, token)

    async def come_and_go() -> None:
        while True:
            await let_in(door, token)
            await asyncio.sleep(0.02)

    with pytest.raises(Refused, match="expired"):
        await asyncio.wait_for(come_and_go(), 30)


async def test_a_new_key_of_the_issuer_is_fetched_when_a_token_names_it(
    door: Bearers, issuer: Issuer, clock: Clock
) -> None:
    new = Key.ec("ec-2")
    await let_in(door, RSA.sign(issuer.claims()))
    issuer.publish(RSA, new)
    clock.now += 11

    assert await name(door, new.sign(issuer.claims()))


async def test_a_key_that_is_withdrawn_opens_nothing_more_not_even_for_who_was_in(
    door: Bearers, issuer: Issuer, clock: Clock
) -> None:
    token = RSA.sign(issuer.claims())
    assert await name(door, token)
    issuer.publish(EC)
    clock.now += 11
    await refusal(door, RSA.sign(issuer.claims(), {"kid": "unknown"}))  # has the keys fetched

    assert (await refusal(door, token)).reason == "bad_token"


async def test_invented_names_of_keys_do_not_have_the_issuer_asked_each_time(door: Bearers, issuer: Issuer) -> None:
    for number in range(20):
        await refusal(door, OTHER.sign(issuer.claims(), {"kid": f"invented-{number}"}))

    assert issuer.asked == ["/keys"]


async def test_while_the_issuer_was_never_reached_nobody_is_called_a_liar(
    issuer: Issuer, door: Bearers, clock: Clock
) -> None:
    issuer.answers = False
    refused = await refusal(door, RSA.sign(issuer.claims()))
    assert (refused.status, refused.reason) == (503, "unavailable")

    issuer.answers = True
    clock.now += 11
    assert await name(door, RSA.sign(issuer.claims()))


@pytest.mark.parametrize("broken", [{"answers": False}, {"keys": []}, {"keys": "none"}, {"keys": [{"kty": "RSA"}]}])
async def test_keys_that_were_fetched_once_are_used_while_the_issuer_is_away_or_broken(
    issuer: Issuer, door: Bearers, clock: Clock, broken: dict[str, Any]
) -> None:
    await let_in(door, RSA.sign(issuer.claims()))
    vars(issuer).update(broken)
    clock.now += 11
    await refusal(door, RSA.sign(issuer.claims(), {"kid": "unknown"}))

    assert await name(door, RSA.sign(issuer.claims(jti="another")))


async def test_the_keys_are_where_the_issuers_metadata_says(issuer: Issuer, clock: Clock) -> None:
    door = discovering(issuer, clock)

    assert await name(door, RSA.sign(issuer.claims()))
    assert issuer.asked == ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/keys"]


async def test_the_keys_may_be_in_a_file_that_changes(issuer: Issuer, tmp_path: Path) -> None:
    path, new = tmp_path / "keys.json", Key.ec("ec-2")
    path.write_text(json.dumps({"keys": [RSA.jwk]}))
    rules = ClaimRules(issuer=issuer.base, audiences=(AUDIENCE,), algorithms=DEFAULT_ALGORITHMS)
    file = WatchedFile(path, parse_keys)
    door = Bearers(None, IssuerTokens(KeysInFile(file), rules, time.time), time.time)
    token = RSA.sign(issuer.claims())
    assert await name(door, token)

    path.write_text(json.dumps({"keys": [new.jwk]}))
    await file._look()

    assert await name(door, new.sign(issuer.claims()))
    assert (await refusal(door, token)).reason == "bad_token"
    assert issuer.asked == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://ann@{host}/keys"},
        {"jwks_uri": None},
        {"jwks_uri": ["x"]},
    ],
)
async def test_metadata_that_is_not_the_issuers_or_names_no_safe_place_is_not_believed(
    issuer: Issuer, clock: Clock, metadata: dict[str, Any]
) -> None:
    host = issuer.base.removeprefix("http://")
    issuer.metadata |= {name: str(told).format(host=host) if told else told for name, told in metadata.items()}

    assert (await refusal(discovering(issuer, clock), RSA.sign(issuer.claims()))).reason == "unavailable"
    assert "/keys" not in issuer.asked


def discovering(issuer: Issuer, clock: Clock) -> Bearers:
    rules = ClaimRules(issuer=issuer.base, audiences=(AUDIENCE,), algorithms=DEFAULT_ALGORITHMS)
    keys = FetchedKeys(issuer.base, None, DEFAULT_ALGORITHMS, clock)
    return Bearers(None, IssuerTokens(keys, rules, time.time), time.time)
