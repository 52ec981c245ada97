"""A real Flask app under gunicorn on a UNIX socket behind ``examples/flask.conf``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.client import Connection, get
from tests.support.ports import free_port
from tests.support.processes import TOP, fill, gunicorn, proxy

pytestmark = pytest.mark.e2e

APP = TOP / "examples" / "flask_app"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The proxy's port, with the app behind it."""
    folder = tmp_path_factory.mktemp("flask")
    listen = free_port()
    # A UNIX socket's path may have 107 bytes; pytest's folders can be longer.
    with tempfile.TemporaryDirectory(prefix="cp") as short:
        socket = Path(short) / "app.sock"
        conf = fill(
            (TOP / "examples" / "flask.conf").read_text(),
            {
                "/run/cacheproxy": folder,
                "/var/log/cacheproxy": folder,
                "/var/cache/cacheproxy/flask": folder / "cache",
                "/run/flask/app.sock": socket,
                "root /srv/flask;": f"root {APP};",
                "server_name example.com;": "server_name localhost;",
                "listen 80;": f"listen {listen};",
            },
        )
        with gunicorn(folder, "app:app", APP, bind=socket), proxy(folder, conf, ports=(listen,)):
            yield listen


def made(port: int, path: str, **more: str) -> tuple[int, str | None]:
    """How often the app had made the page, and the cache's status."""
    response = get(port, path, **more)
    assert response.status == 200
    return httpx.Response(200, content=response.body).json()["made"], response.get("X-Proxy-Cache")


def test_only_what_the_app_marks_is_stored(port: int) -> None:
    """RFC 9111 §3: public pages are reused, private ones are not."""
    first, second = made(port, "/cached"), made(port, "/cached")
    assert (first[1], second[1]) == ("MISS", "HIT")
    assert first[0] == second[0]
    first, second = made(port, "/private"), made(port, "/private")
    assert (first[1], second[1]) == ("MISS", "MISS")
    assert first[0] != second[0]


def test_without_cache_control_nothing_is_stored(port: int) -> None:
    """No ``proxy_cache_valid`` and no freshness from the app: each request is a MISS."""
    assert [get(port, "/").get("X-Proxy-Cache") for _ in range(2)] == ["MISS", "MISS"]


def test_conditional_request_is_answered_by_the_cache(port: int) -> None:
    """RFC 9111 §4.3.2: a validator that matches the stored ETag gets 304 without the app."""
    tag = get(port, "/cached").get("ETag")
    assert tag
    response = get(port, "/cached", If_None_Match=tag)
    assert response.status == 304
    assert response.get("ETag") == tag
    assert response.get("X-Proxy-Cache") == "HIT"


def test_variants_are_told_apart(port: int) -> None:
    """RFC 9111 §4.1: each Accept-Language has its own copy."""
    german = made(port, "/negotiated", Accept_Language="de")
    english = made(port, "/negotiated", Accept_Language="en")
    assert german[0] != english[0]
    assert made(port, "/negotiated", Accept_Language="de") == (german[0], "HIT")
    assert made(port, "/negotiated", Accept_Language="en") == (english[0], "HIT")


def test_static_folder_is_served_directly(port: int) -> None:
    """``root`` with ``expires 1h``."""
    response = get(port, "/static/app.css")
    assert response.status == 200
    assert response.body == (APP / "static" / "app.css").read_bytes()
    assert response.get("Cache-Control") == "max-age=3600"
    assert response.get("Content-Type") == "text/css"


def test_forwarded_fields_at_the_app(port: int) -> None:
    """The quartet of ``proxy_set_header`` arrives."""
    seen = httpx.get(f"http://localhost:{port}/headers").json()["headers"]
    assert seen["Host"] == f"localhost:{port}"
    assert seen["X-Real-Ip"] == seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["X-Forwarded-Proto"] == "http"


@pytest.mark.parametrize("size", [0, 1, 20_000, 3_000_000])
def test_bodies_pass_both_ways(port: int, size: int) -> None:
    """What is posted comes back unchanged, with known length and chunked."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    url = f"http://localhost:{port}/echo"
    assert httpx.post(url, content=body).content == body
    pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
    assert httpx.post(url, content=pieces).content == body


def test_events_pass_unbuffered(port: int) -> None:
    """``proxy_buffering off``: a stream without length arrives complete and framed."""
    with Connection(port) as connection:
        response = connection.ask("/stream/3")
        assert response.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert connection.ask("/static/app.css").status == 200


def test_errors_of_the_app_pass(port: int) -> None:
    """405 with its Allow field is the app's own answer."""
    response = get(port, "/echo")
    assert response.status == 405
    assert "POST" in (response.get("Allow") or "")
