"""A real uWSGI: a Django project behind ``examples/uwsgi.conf``, and a Flask app on a port."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import make_certificate
from tests.support.client import get
from tests.support.ports import free_port
from tests.support.processes import TOP, environment, fill, proxy
from tests.support.uwsgi import UWSGI, uwsgi

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(UWSGI is None, reason="uWSGI is not installed"),
]

PROJECT = TOP / "examples" / "django_project"
FLASK = TOP / "examples" / "flask_app"


@pytest.fixture(scope="module")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the proxy, which runs the example's configuration."""
    folder = tmp_path_factory.mktemp("uwsgi")
    variables = {"DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "project.settings"}
    for command in (["migrate", "--verbosity=0"], ["collectstatic", "--noinput", "--verbosity=0"]):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=PROJECT,
            env=environment(**variables),
            check=True,
            stdout=subprocess.DEVNULL,
        )
    (folder / "media").mkdir()
    (folder / "media" / "upload.txt").write_text("uploaded\n")
    listen = free_port()
    # A UNIX socket's path may have 107 bytes; pytest's folders can be longer.
    with tempfile.TemporaryDirectory(prefix="cp") as short:
        socket = Path(short) / "mysite.sock"
        conf = fill(
            (TOP / "examples" / "uwsgi.conf").read_text(),
            {
                "/run/cacheproxy": folder,
                "/var/log/cacheproxy": folder,
                "/var/cache/cacheproxy/uwsgi": folder / "cache",
                "/srv/mysite/": f"{folder}/",
                "unix:///run/uwsgi/mysite.sock;": f"unix://{socket};",
                "server_name example.com;": "server_name localhost;",
                "listen 80;": f"listen {listen};",
            },
        )
        with (
            uwsgi(folder, "project.wsgi", PROJECT, bind=socket, env=variables),
            proxy(folder, conf, ports=(listen,)),
        ):
            yield listen


@pytest.fixture(scope="module")
def flask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a proxy before the Flask app."""
    folder = tmp_path_factory.mktemp("flask")
    port, listen = free_port(), free_port()
    conf = f"""
        error_log {folder}/error.log info;
        http {{
            access_log {folder}/access.log;
            uwsgi_cache_path {folder}/cache keys_zone=flask:1m;
            server {{
                listen 127.0.0.1:{listen};
                client_max_body_size 10m;
                include uwsgi_params;
                location / {{
                    uwsgi_pass uwsgi://127.0.0.1:{port};
                    uwsgi_cache flask;
                    add_header X-Proxy-Cache $upstream_cache_status;
                }}
                location /echo {{
                    uwsgi_pass 127.0.0.1:{port};
                    uwsgi_request_buffering off;
                }}
                location /stream/ {{
                    uwsgi_pass $scheme_less;
                    uwsgi_buffering off;
                }}
            }}
            map $host $scheme_less {{ default 127.0.0.1:{port}; }}
        }}
    """
    with uwsgi(folder, "app:app", FLASK, bind=port), proxy(folder, conf, ports=(listen,)):
        yield listen


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Two ports of a proxy before the Flask app over TLS: one trusts its certificate."""
    folder = tmp_path_factory.mktemp("suwsgi")
    made = make_certificate(folder, "localhost")
    (folder / "other").mkdir()
    other = make_certificate(folder / "other", "localhost")
    port, trusting, distrusting = free_port(), free_port(), free_port()
    servers = "".join(
        f"""
        server {{
            listen 127.0.0.1:{listen};
            include uwsgi_params;
            uwsgi_ssl_verify on;
            uwsgi_ssl_name localhost;
            uwsgi_ssl_trusted_certificate {trusted.certificate};
            location / {{ uwsgi_pass suwsgi://127.0.0.1:{port}; }}
        }}
        """
        for listen, trusted in ((trusting, made), (distrusting, other))
    )
    tls = ("--suwsgi-socket", f"127.0.0.1:{port},{made.certificate},{made.key}")
    with (
        uwsgi(folder, "app:app", FLASK, bind=free_port(), arguments=tls),
        proxy(
            folder,
            f"error_log {folder}/error.log info;\nhttp {{ {servers} }}",
            ports=(trusting, distrusting),
        ),
    ):
        yield trusting, distrusting


def test_tls_to_the_application(encrypted: tuple[int, int]) -> None:
    """``suwsgi://``: with a certificate that is trusted; with another one 502."""
    body = bytes(range(256)) * 500
    trusting, distrusting = encrypted
    assert httpx.post(f"http://localhost:{trusting}/echo", content=body).content == body
    assert get(distrusting, "/").status == 502


def test_page_of_django(django: int) -> None:
    """The application answers, and what it says of itself fits the client's request."""
    assert "<title>" in httpx.get(f"http://localhost:{django}/").text
    url = f"http://localhost:{django}/headers"
    seen = httpx.get(url, headers={"X-Any": "one"}).json()
    assert seen["scheme"] == "http"
    assert seen["host"] == f"localhost:{django}"
    assert seen["absolute"] == f"http://localhost:{django}/here"
    assert seen["headers"]["X-Any"] == "one"
    forged = {"X-Forwarded-Proto": "https"}
    assert httpx.get(url, headers=forged).json()["scheme"] == "http"


def test_static_files_and_uploads_come_from_the_disk(django: int) -> None:
    """``alias`` without a slash, as the guides write it."""
    response = get(django, "/static/pages/site.css")
    assert response.body == (PROJECT / "pages/static/pages/site.css").read_bytes()
    assert response.get("Cache-Control") == "max-age=3600"
    assert get(django, "/media/upload.txt").body == b"uploaded\n"


def test_pages_are_kept_for_everybody_but_not_for_who_is_logged_in(django: int) -> None:
    """``uwsgi_cache`` with ``uwsgi_cache_bypass`` and ``uwsgi_no_cache``."""
    first, second = get(django, "/page/one"), get(django, "/page/one")
    assert [r.get("X-Proxy-Cache") for r in (first, second)] == ["MISS", "HIT"]
    assert first.body == second.body
    own = get(django, "/page/one", Cookie="sessionid=x")
    assert own.get("X-Proxy-Cache") == "BYPASS"
    assert own.body != first.body


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_uploads_arrive_whole(django: int, size: int) -> None:
    """With their length declared, and chunked."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    expected = {"size": size, "sha256": hashlib.sha256(body).hexdigest()}
    url = f"http://localhost:{django}/upload"
    assert httpx.post(url, content=body).json() == expected
    pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
    assert httpx.post(url, content=pieces).json() == expected


def test_form_needs_its_token(django: int) -> None:
    """403 and its page are Django's own."""
    response = httpx.post(f"http://localhost:{django}/form/", data={"text": "no token"})
    assert response.status_code == 403
    assert "CSRF" in response.text


def test_missing_page_is_the_applications(django: int) -> None:
    """404, and a redirect for a missing slash that names this host."""
    assert get(django, "/none").status == 404
    response = httpx.get(f"http://localhost:{django}/form", follow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (301, "/form/")


def test_flask_decides_what_is_stored(flask: int) -> None:
    """RFC 9111 §3: public pages are reused, private ones and those that say nothing are not."""
    statuses = {
        path: [get(flask, path).get("X-Proxy-Cache") for _ in range(2)]
        for path in ("/cached", "/private", "/")
    }
    assert statuses == {
        "/cached": ["MISS", "HIT"],
        "/private": ["MISS", "MISS"],
        "/": ["MISS", "MISS"],
    }


@pytest.mark.parametrize("size", [0, 1, 20_000, 3_000_000])
def test_bodies_pass_both_ways(flask: int, size: int) -> None:
    """What is posted comes back unchanged, passed on as it comes or collected."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    url = f"http://localhost:{flask}/echo"
    assert httpx.post(url, content=body).content == body
    pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
    assert httpx.post(url, content=pieces).content == body


def test_stream_passes_unbuffered(flask: int) -> None:
    """A body without length, to the end of uWSGI's connection."""
    response = get(flask, "/stream/3")
    assert response.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_conditional_requests(flask: int) -> None:
    """The stored ETag answers 304 here."""
    tag = get(flask, "/cached").get("ETag")
    assert tag
    assert get(flask, "/cached", If_None_Match=tag).status == 304


def test_head(flask: int) -> None:
    """No body, stored or not."""
    for path in ("/cached", "/private"):
        response = httpx.head(f"http://localhost:{flask}{path}")
        assert (response.status_code, response.content) == (200, b"")
        assert int(response.headers["Content-Length"]) > 0
