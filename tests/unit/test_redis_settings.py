"""Where Redis is, as an operator says it: at once, in parts, or wrongly."""

from pathlib import Path

import pytest

from registry import redis_url
from registry.redis_node import NodeMaker
from server.given import load
from tests.settings_problems import problems_of
from tests.tables import table


@table(
    "url",
    [
        *("http://hunter2", "hunter2", "localhost:hunter2", "redis://[hunter2", "redis://:hunter2@redis:port/0"),
        *("redis://:hunter2@redis:70000/0", "redis://:hunter2@redis:0/0", "redis://u:hunter2/x@redis:6379/0"),
        *("redis://:1/hunter2@redis:6379/0", "redis://:hunter2#x@redis/0", "redis://:1?hunter2@redis/0", "redis://"),
        *("redis://redis/hunter2", "redis://redis/-1", "redis://redis/0/hunter2", "redis://redis:6379/0?hunter2=1"),
        *("redis://redis/0?socket_timeout=abc", "redis://redis/0?ssl_cert_reqs=none"),
        *("redis://:hunter2 @redis/0", "redis://:hunter2\n@redis/0", "redis://:@hunter2$@/0", "redis://[::1/0"),
        *("rediss://redis/0?ssl_cert_reqs=hunter2", "rediss://redis/0?ssl_ca_certs=/hunter2/ca.pem"),
        *("rediss://redis/0?ssl_ca_certs=", "rediss://redis/0?ssl_check_hostname=true&ssl_check_hostname=false"),
        *("redis://a,hunter2/0", "rediss://a,hunter2:6380", "redis+sentinel://hunter2", "redis+sentinel://hunter2/"),
        *(
            "redis+sentinel://h:0/s",
            "redis+sentinel://:hunter2@/s",
            "redis+sentinel://h,/s",
            "redis+sentinel://h/s/hunter2",
        ),
        *("redis+sentinel://h/hunter2!/0", "redis+sentinel://h/s?hunter2=1", "redis+sentinel://h/s?tls=hunter2"),
        *("redis+sentinel://h/s?ssl_cert_reqs=none", "redis+sentinel://h/s?tls=true&ssl_ca_certs=/hunter2"),
        *("redis+sentinel://h/s?sentinel_password=a&sentinel_password=hunter2", "redis+cluster://h:x,hunter2:70000"),
        *("redis+cluster://h/1", "redis+cluster://h/hunter2", "redis+cluster://h?sentinel_password=hunter2"),
        *("redis+cluster://h?tls=false&ssl_cert_reqs=none", "rediss+cluster://hunter2", "redis+other://hunter2"),
        *("redis+cluster://", "redis+cluster://:hunter/2@h", "redis+cluster://[hunter2", "redis+cluster://h?"),
        *("unix://hunter2/redis.sock", "unix://", "unix:///run/redis.sock?db=hunter2", "unix:///r?socket_timeout=1"),
    ],
)
def test_a_redis_url_that_cannot_be_used_is_told_at_start_without_any_of_it(url: str, key_file: Path) -> None:
    problems = problems_of({"redis_url": url, "key_file": str(key_file)})
    assert all(problem.startswith("REDIS_URL") for problem in problems)
    assert not any("hunter2" in problem for problem in problems)


@table(
    "url",
    [
        *("redis://redis", "redis://redis:6379", "redis://redis:6379/", "redis://user:p%2Fss@redis.example:6379/15"),
        *("redis://[::1]:6379/0", "redis://[fe80::1%25eth0]/0", "redis://127.0.0.1", "unix:///run/redis.sock"),
        *("unix://:p@/run/redis.sock?db=2", "rediss://redis?ssl_cert_reqs=none&ssl_check_hostname=false"),
        *("redis+sentinel://h/service", "redis+sentinel://u:p%40ss@h1:26379,h2,[::1]:1/my.service-1/2"),
        *("redis+sentinel://h/s/0?tls=true&ssl_ca_certs={ca}", "redis+sentinel://h/s?sentinel_password=p%26"),
        *("redis+cluster://h", "redis+cluster://:p@h1:6379,[::1]:7000,h3/", "redis+cluster://h/0?tls=true"),
        *("rediss://redis/0?ssl_ca_certs={ca}", "rediss://redis/0?ssl_certfile={ca}&ssl_keyfile={ca}"),
    ],
)
def test_a_redis_url_that_is_accepted_is_one_that_the_client_takes(url: str, key_file: Path) -> None:
    url = url.format(ca=key_file)
    assert load({"redis_url": url, "key_file": str(key_file)}, {}).redis_url == url
    NodeMaker(redis_url.read(url), 1, 1.0).server(("redis", 6379))._pool.make_connection()


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"REDIS_HOST": "redis"}, "redis://redis:6379/0"),
        (
            {"REDIS_HOST": "r", "REDIS_PORT": "7000", "REDIS_DB": "2", "REDIS_PASSWORD": "p@s/s:"},
            "redis://:p%40s%2Fs%3A@r:7000/2",
        ),
        ({"REDIS_HOST": "::1", "REDIS_PORT": "", "REDIS_DB": ""}, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "redis", "REDIS_URL": "redis://other"}, "redis://other"),
    ],
)
def test_redis_may_be_given_in_parts(parts: dict[str, str], url: str, key_file: Path) -> None:
    assert load({}, {**parts, "MCP_POSTGRES_KEY_FILE": str(key_file)}).redis_url == url


def test_parts_without_a_host_mean_the_embedded_redis() -> None:
    assert load({}, {"REDIS_PORT": "7000", "REDIS_PASSWORD": "p"}).redis_url is None


@pytest.mark.parametrize("port", ["no", "0", "70000", "\N{ARABIC-INDIC DIGIT SIX}", "9" * 5000])
def test_wrong_parts_of_redis_are_told_together_and_none_is_shown(key_file: Path, port: str) -> None:
    wrong = {"REDIS_HOST": "redis://:hunter2@redis", "REDIS_PORT": port, "REDIS_DB": "hunter2"}
    problems = problems_of({}, **wrong, REDIS_PASSWORD="hunter2", MCP_POSTGRES_KEY_FILE=str(key_file))
    assert [problem.split()[0] for problem in problems] == ["REDIS_HOST", "REDIS_PORT", "REDIS_DB"]
    assert not any("hunter2" in problem for problem in problems)


def test_a_redis_of_ones_own_wants_a_key_file_that_is_there(tmp_path: Path) -> None:
    (unset,) = problems_of(REDIS_URL="redis://redis")
    (missing,) = problems_of(REDIS_URL="redis://redis", MCP_POSTGRES_KEY_FILE=str(tmp_path / "none"))
    for problem in (unset, missing):
        assert problem.startswith("MCP_POSTGRES_KEY_FILE")
        assert "mcp-postgres keys new" in problem
    (folder,) = problems_of(REDIS_URL="redis://redis", MCP_POSTGRES_KEY_FILE=str(tmp_path))
    assert "folder" in folder
    (long,) = problems_of(REDIS_URL="redis://redis", MCP_POSTGRES_KEY_FILE=str(tmp_path / ("x" * 5000)))
    assert "cannot be looked at" in long
