"""What holds a secret does not show it when somebody formats it: in a message, a debugger, an assertion."""

from pathlib import Path
from typing import Final

import pytest

from registry import redis_url
from registry.inputs import from_dsn, from_fields
from registry.secrets import DataKey, MasterKeys, Secret, new_master_key
from registry.signing import Signer
from server.backing import Backing
from server.embedded.sample import SampleLogin
from server.settings import Settings
from server.tenant_messages import RegisterTenant
from tests.security.leaks import Planted, found

PASSWORD: Final = Planted.at("password", "a/{}@b")
URL: Final = f"redis://user:{PASSWORD.core}@h:6379/0"
SENTINELS: Final = f"redis+sentinel://u:{PASSWORD.core}@h/s?sentinel_username=u&sentinel_password={PASSWORD.core}"
KEY_LINE: Final = new_master_key("one")
KEYS: Final = MasterKeys.parse(KEY_LINE)
SECRET: Final = Secret(PASSWORD.text)

HOLDERS: Final[dict[str, object]] = {
    "a secret": SECRET,
    "settings": Settings(redis_url=URL, key_file=Path("k")),
    "backing": Backing(URL, KEYS),
    "a Redis URL": redis_url.read(URL),
    "a URL of Sentinels": redis_url.read(SENTINELS),
    "a registration": from_fields(host="h", database="d", user="u", password=SECRET),
    "a registration by DSN": from_dsn(Secret(f"postgresql://u:{PASSWORD.core}@h/d")),
    "a tool's arguments": RegisterTenant(tenant_id="t", dsn=SECRET, password=SECRET),
    "the sample's login": SampleLogin(host="h", port=1, database="d", user="u", password=PASSWORD.text),
    "master keys": KEYS,
    "a signer": Signer([("one", PASSWORD.text.encode())]),
    "a data key": DataKey("one", PASSWORD.core.encode()[:16]),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_what_holds_a_secret_does_not_show_it(name: str) -> None:
    holder = HOLDERS[name]
    key = KEY_LINE.partition(":")[2]

    shown = "".join((repr(holder), str(holder), f"{holder}", f"{[holder]}", repr({"in": (holder,)}))).encode()

    assert found(PASSWORD, shown) == []
    assert found(Planted("key", key, key), shown) == []
    assert PASSWORD.core[:16].encode() not in shown


def test_settings_still_show_the_rest() -> None:
    assert "port=8001" in repr(Settings(redis_url=URL))
    assert "redis_url='***'" in repr(Settings(redis_url=URL))
    assert "redis_url=None" in repr(Settings())
