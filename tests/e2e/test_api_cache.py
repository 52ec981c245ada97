"""``examples/api-cache.conf`` before two instances of an API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Connection, get
from tests.support.origins import Origin, Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import TOP, fill, proxy, wait_until

pytestmark = pytest.mark.e2e


@dataclass
class Api:
    """The proxy's port and the two instances behind it."""

    port: int
    instances: tuple[Origin, Origin]
    folder: Path

    def count(self, target: str) -> int:
        """How often *target* was asked of either instance."""
        return sum(instance.count(target) for instance in self.instances)


def start_conf(folder: Path, listen: int, first: int, second: int) -> str:
    """The example with these ports and paths."""
    return fill(
        (TOP / "examples" / "api-cache.conf").read_text(),
        {
            "/run/cacheproxy": folder,
            "/var/log/cacheproxy": folder,
            "/var/cache/cacheproxy/api": folder / "cache",
            "127.0.0.1:9001": f"127.0.0.1:{first}",
            "127.0.0.1:9002": f"127.0.0.1:{second}",
            "server_name api.example.com;": "server_name localhost;",
            "listen 80;": f"listen {listen};",
        },
    )


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Two instances; ``/broken`` is broken on the first."""
    folder = tmp_path_factory.mktemp("api")

    def answer(seen: Seen, name: str) -> bytes:
        if seen.target == "/broken" and name == "first":
            return reply(b"{}", "503 Service Unavailable", Content_Type="application/json")
        if seen.target.startswith("/missing"):
            return reply(b"{}", "404 Not Found", Content_Type="application/json")
        body = json.dumps({"instance": name, "language": seen.get("Accept-Language")})
        return reply(body.encode(), Content_Type="application/json")

    listen = free_port()
    with (
        origin(lambda seen: answer(seen, "first")) as first,
        origin(lambda seen: answer(seen, "second")) as second,
    ):
        conf = start_conf(folder, listen, first.port, second.port)
        with proxy(folder, conf, ports=(listen,)):
            yield Api(listen, (first, second), folder)


def test_prefix_is_replaced_and_answer_kept(api: Api) -> None:
    """``proxy_pass http://api/`` maps /v1/x to /x; the second question is a HIT."""
    first, second = get(api.port, "/v1/thing?a=1"), get(api.port, "/v1/thing?a=1")
    assert (first.get("X-Cache"), second.get("X-Cache")) == ("MISS", "HIT")
    assert first.body == second.body
    assert api.count("/thing?a=1") == 1


def test_query_and_language_are_part_of_the_key(api: Api) -> None:
    """Different questions have different answers."""
    get(api.port, "/v1/keyed?a=1")
    assert get(api.port, "/v1/keyed?a=2").get("X-Cache") == "MISS"
    german = get(api.port, "/v1/keyed?a=1", Accept_Language="de")
    assert german.get("X-Cache") == "MISS"
    assert json.loads(german.body)["language"] == "de"


def test_404_is_kept_and_marked(api: Api) -> None:
    """``proxy_cache_valid 404`` with ``add_header … always``."""
    responses = [get(api.port, "/v1/missing") for _ in range(2)]
    assert [(r.status, r.get("X-Cache")) for r in responses] == [(404, "MISS"), (404, "HIT")]


def test_refresh_bypasses_and_replaces(api: Api) -> None:
    """``proxy_cache_bypass``: the client that insists is asked for anew, and the copy replaced."""
    get(api.port, "/v1/refresh")
    assert get(api.port, "/v1/refresh", X_Refresh="1").get("X-Cache") == "BYPASS"
    assert get(api.port, "/v1/refresh").get("X-Cache") == "HIT"
    assert api.count("/refresh") == 2


def test_answers_to_a_token_are_not_kept(api: Api) -> None:
    """RFC 9111 §3.5 and ``proxy_no_cache``: nobody else gets what a token was given."""
    get(api.port, "/v1/token", Authorization="Bearer secret")
    assert get(api.port, "/v1/token").get("X-Cache") == "MISS"


def test_both_instances_get_work(api: Api) -> None:
    """Round robin over the upstream's servers, connections kept."""
    with Connection(api.port) as connection:
        for number in range(20):
            assert connection.ask(f"/v1/spread?{number}").status == 200
    assert all(
        any(seen.target.startswith("/spread") for seen in instance.requests)
        for instance in api.instances
    )
    assert all(instance.connections < 10 for instance in api.instances)


def test_the_other_instance_answers(api: Api) -> None:
    """``proxy_next_upstream http_503``: a broken instance is not noticed."""
    bodies = [get(api.port, "/v1/broken", Accept_Language=str(n)) for n in range(4)]
    assert {response.status for response in bodies} == {200}
    assert {json.loads(response.body)["instance"] for response in bodies} == {"second"}


def test_health_and_unknown_are_answered_here(api: Api) -> None:
    """``return`` with a text has the default type and asks no instance."""
    health = get(api.port, "/health")
    assert (health.status, json.loads(health.body)) == (200, {"status": "ok"})
    assert health.get("Content-Type") == "application/json"
    unknown = get(api.port, "/v2/thing")
    assert (unknown.status, json.loads(unknown.body)) == (404, {"error": "no such resource"})


def test_log_lines_are_json(api: Api) -> None:
    """``escape=json``: a line parses whatever the client sent."""
    get(api.port, '/v1/logged?"quoted\\"', User_Agent='"')
    log = api.folder / "api.log"
    wait_until(lambda: log.exists() and "logged" in log.read_text(), "the request is logged")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    (record,) = [record for record in records if "logged" in record["request"]]
    assert record["status"] == "200"
    assert record["cache"] == "MISS"
    assert record["upstream"] in {f"127.0.0.1:{instance.port}" for instance in api.instances}
    assert float(record["seconds"]) >= 0


def test_no_instance_is_502(tmp_path: Path) -> None:
    """With nobody listening the client gets 502 at once, marked by ``always``."""
    listen = free_port()
    conf = start_conf(tmp_path, listen, free_port(), free_port())
    with proxy(tmp_path, conf, ports=(listen,)):
        response = get(listen, "/v1/thing")
    assert response.status == 502
    assert response.get("X-Cache") == "MISS"
