"""What a REDIS_URL means."""

import pytest

from registry.errors import InvalidInput
from registry.redis_url import RedisUrl, read
from tests.tables import table


@table(
    ("text", "meant"),
    [
        ("redis://r", RedisUrl(kind="server", addresses=(("r", 6379),))),
        (
            "redis://u:p%40s%2Fs@r:7000/3",
            RedisUrl(kind="server", addresses=(("r", 7000),), username="u", password="p@s/s", database=3),
        ),
        ("redis://:p@[fe80::1%25eth0]", RedisUrl(kind="server", addresses=(("fe80::1%eth0", 6379),), password="p")),
        ("unix://:p@/run/r%20s?db=2", RedisUrl(kind="server", path="/run/r s", password="p", database=2)),
        (
            "rediss://r?ssl_cert_reqs=none&ssl_check_hostname=false",
            RedisUrl(
                kind="server", addresses=(("r", 6379),), tls={"ssl_cert_reqs": "none", "ssl_check_hostname": False}
            ),
        ),
        (
            "redis+sentinel://u:p@a,b:1/my-service/2?sentinel_username=s&sentinel_password=x%26y",
            RedisUrl(
                kind="sentinel",
                addresses=(("a", 26379), ("b", 1)),
                username="u",
                password="p",
                database=2,
                service="my-service",
                sentinel_username="s",
                sentinel_password="x&y",
            ),
        ),
        ("redis+sentinel://a/s?tls=false", RedisUrl(kind="sentinel", addresses=(("a", 26379),), service="s")),
        (
            "redis+cluster://a,[::1]:7000?tls=true",
            RedisUrl(kind="cluster", addresses=(("a", 6379), ("::1", 7000)), tls={}),
        ),
    ],
)
def test_every_part_of_a_url_means_what_the_document_says(text: str, meant: RedisUrl) -> None:
    assert read(text) == meant


def test_a_url_that_cannot_be_used_is_refused_without_any_of_it() -> None:
    with pytest.raises(InvalidInput, match="REDIS_URL must end with the service's name") as refused:
        read("redis+sentinel://:hunter2@h:26379")

    assert "hunter2" not in str(refused.value)
