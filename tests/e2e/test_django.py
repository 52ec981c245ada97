"""A real Django project under gunicorn behind ``examples/django.conf``."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import Certificate, make_certificate
from tests.support.client import Connection
from tests.support.ports import free_port
from tests.support.processes import TOP, Proxy, environment, fill, gunicorn, proxy, wait_until

pytestmark = pytest.mark.e2e

PROJECT = TOP / "examples" / "django_project"
PASSWORD = "correct horse"


@dataclass
class Site:
    """The application and the files it needs; proxies are started before it."""

    folder: Path
    app_port: int
    certificate: Certificate

    def proxy(self, folder: Path, http: int, https: int) -> AbstractContextManager[Proxy]:
        """The proxy with ``django.conf``, its cache and logs in *folder*."""
        conf = fill(
            (TOP / "examples" / "django.conf").read_text(),
            {
                "/run/cacheproxy": folder,
                "/var/log/cacheproxy": folder,
                "/var/cache/cacheproxy/django": folder / "cache",
                "/srv/project/static/": f"{self.folder}/static/",
                "/etc/ssl/certs/example.com.pem": self.certificate.certificate,
                "/etc/ssl/private/example.com.key": self.certificate.key,
                "server_name example.com www.example.com;": "server_name localhost;",
                "server 127.0.0.1:8000;": f"server 127.0.0.1:{self.app_port};",
                "listen 80 default_server;": f"listen {http} default_server;",
                "listen 443 ssl;": f"listen {https} ssl;",
            },
        )
        return proxy(folder, conf, ports=(http, https))

    def context(self) -> ssl.SSLContext:
        """A context that trusts the site's certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self.certificate.certificate))

    def client(self, https: int) -> httpx.Client:
        """A client with a cookie jar."""
        return httpx.Client(base_url=f"https://localhost:{https}", verify=self.context())


@dataclass
class Served:
    """A site with the proxy that most tests here share."""

    site: Site
    http: int
    https: int
    folder: Path
    running: Proxy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Migrate, make a superuser, collect static files, start gunicorn."""
    folder = tmp_path_factory.mktemp("django")
    variables = {
        "DATA_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command in (
        ["migrate", "--verbosity=0"],
        ["collectstatic", "--noinput", "--verbosity=0"],
        ["createsuperuser", "--noinput", "--username=admin", "--email=admin@example.com"],
    ):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=PROJECT,
            env=environment(**variables),
            check=True,
            stdout=subprocess.DEVNULL,
        )
    certificate = make_certificate(folder, "localhost")
    with gunicorn(folder, "project.wsgi", PROJECT, env=variables) as port:
        assert isinstance(port, int)
        yield Site(folder, port, certificate)


@pytest.fixture(scope="module")
def served(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One proxy before the site."""
    folder = tmp_path_factory.mktemp("proxy")
    http, https = free_port(), free_port()
    with site.proxy(folder, http, https) as running:
        yield Served(site, http, https, folder, running)


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    """A fresh client of the shared proxy."""
    with served.site.client(served.https) as made:
        yield made


def made(response: httpx.Response) -> int:
    """The number of the rendering that a page shows."""
    found = re.search(r'id="made">(\d+)<', response.text)
    assert found
    return int(found[1])


def token(response: httpx.Response) -> str:
    """The CSRF token of a page's form."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', response.text)
    assert found
    return found[1]


def entry(cache: Path, key: str) -> Path:
    """Where the entry of *key* lies with ``levels=1:2``."""
    digest = hashlib.md5(key.encode()).hexdigest()
    return cache / digest[-1] / digest[-3:-1] / digest


def log_in(client: httpx.Client) -> httpx.Response:
    """Log in to the admin as a browser would."""
    page = client.get("/admin/login/?next=/admin/")
    return client.post(
        "/admin/login/?next=/admin/",
        data={
            "csrfmiddlewaretoken": token(page),
            "username": "admin",
            "password": PASSWORD,
            "next": "/admin/",
        },
        headers={"Referer": str(page.url)},
        follow_redirects=True,
    )


def test_plain_http_is_sent_to_https(served: Served) -> None:
    """``return 301`` keeps the path and the query."""
    response = httpx.get(f"http://localhost:{served.http}/page/one?a=b")
    assert response.status_code == 301
    assert response.headers["Location"] == "https://localhost/page/one?a=b"


def test_admin_login_over_https_with_csrf(client: httpx.Client) -> None:
    """The whole dance of cookies, token and Referer works through the proxy."""
    response = log_in(client)
    assert response.status_code == 200
    assert response.url.path == "/admin/"
    assert "Site administration" in response.text
    assert "X-Proxy-Cache" not in response.headers


def test_post_without_the_token_is_refused(client: httpx.Client) -> None:
    """Django's 403 for a missing CSRF token is passed on, not turned into something else."""
    assert client.post("/form/", data={"text": "no token"}).status_code == 403


def test_form_stores_and_admin_shows(client: httpx.Client) -> None:
    """A POST reaches the application once, and what it stored is seen afterwards."""
    log_in(client)
    page = client.get("/form/")
    response = client.post(
        "/form/",
        data={"csrfmiddlewaretoken": token(page), "text": "written through the proxy"},
        headers={"Referer": str(page.url)},
        follow_redirects=True,
    )
    assert response.text.count("written through the proxy") == 1
    assert "written through the proxy" in client.get("/admin/pages/note/").text


def test_static_files_expire_in_30_days(client: httpx.Client) -> None:
    """``alias`` serves the file itself; ``expires 30d`` sets both fields."""
    response = client.get("/static/pages/site.css")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/css"
    assert response.content == (PROJECT / "pages/static/pages/site.css").read_bytes()
    lifetime = parsedate_to_datetime(response.headers["Expires"]) - parsedate_to_datetime(
        response.headers["Date"]
    )
    assert lifetime.days == 30
    assert response.headers.get_list("Cache-Control") == ["max-age=2592000", "public"]


def test_static_files_are_revalidated_and_ranged(client: httpx.Client) -> None:
    """A second visit costs a 304; part of a file may be asked for."""
    first = client.get("/static/admin/css/base.css", headers={"Accept-Encoding": "identity"})
    validator = {"If-None-Match": first.headers["ETag"]}
    again = client.get("/static/admin/css/base.css", headers=validator)
    assert (again.status_code, again.content) == (304, b"")
    part = client.get(
        "/static/admin/css/base.css", headers={"Range": "bytes=5-9", "Accept-Encoding": "identity"}
    )
    assert part.status_code == 206
    assert part.content == first.content[5:10]


@pytest.mark.parametrize(
    "path",
    ["/static/../db.sqlite3", "/static/%2e%2e/db.sqlite3", "/static../db.sqlite3", "/static/"],
)
def test_nothing_outside_the_static_folder(served: Served, path: str) -> None:
    """The database beside the folder cannot be had by any spelling of the path."""
    with Connection(
        served.https, context=served.site.context(), server_name="localhost"
    ) as connection:
        response = connection.ask(path)
    assert response.status in (400, 403, 404)
    assert b"SQLite" not in response.body


def test_miss_then_hit(served: Served, client: httpx.Client) -> None:
    """The second visitor is served from the zone, and the file is where nginx would put it."""
    first = client.get("/page/twice")
    second = client.get("/page/twice")
    assert first.headers["X-Proxy-Cache"] == "MISS"
    assert second.headers["X-Proxy-Cache"] == "HIT"
    assert made(first) == made(second)
    stored = entry(served.folder / "cache", f"httpslocalhost:{served.https}/page/twice")
    wait_until(stored.exists, f"{stored} exists")


def test_head_is_answered_from_the_copy(client: httpx.Client) -> None:
    """HEAD after GET is a HIT with GET's fields and no body (RFC 9110 §9.3.2)."""
    identity = {"Accept-Encoding": "identity"}
    first = client.get("/page/head", headers=identity)
    head = client.head("/page/head", headers=identity)
    assert head.status_code == 200
    assert head.headers["X-Proxy-Cache"] == "HIT"
    assert head.content == b""
    assert int(head.headers["Content-Length"]) == len(first.content)


def test_404_is_cached(client: httpx.Client) -> None:
    """``proxy_cache_valid 404 1m``: a missing page is asked for once."""
    responses = [client.get("/page/no/such") for _ in range(2)]
    assert [response.status_code for response in responses] == [404, 404]
    # add_header without "always" speaks on successes alone.
    assert all("X-Proxy-Cache" not in response.headers for response in responses)
    age = int(responses[1].headers["Age"])
    assert 0 <= age < 60


def test_gzip_with_vary(served: Served) -> None:
    """A MISS and a HIT are both compressed for who asks, and both say Vary."""
    with Connection(
        served.https, context=served.site.context(), server_name="localhost"
    ) as connection:
        plain = connection.ask("/page/gzip")
        coded = [connection.ask("/page/gzip", Accept_Encoding="gzip") for _ in range(2)]
        other = connection.ask("/page/gzip-first", Accept_Encoding="gzip")
    assert plain.get("Content-Encoding") is None
    assert plain.get("Vary") == "Accept-Encoding"
    for response in coded:
        assert response.get("Content-Encoding") == "gzip"
        assert response.get("Vary") == "Accept-Encoding"
        assert response.get("X-Proxy-Cache") == "HIT"
        assert gzip.decompress(response.body) == plain.body
    assert other.get("X-Proxy-Cache") == "MISS"
    assert b"gzip-first" in gzip.decompress(other.body)


def test_forwarded_fields_at_the_app(served: Served, client: httpx.Client) -> None:
    """The application sees the client's address, the scheme and the Host that the client used."""
    seen = client.get("/headers", headers={"X-Forwarded-For": "192.0.2.1"}).json()
    host = f"localhost:{served.https}"
    assert seen["scheme"] == "https"
    assert seen["host"] == host
    assert seen["absolute"] == f"https://{host}/here"
    assert seen["headers"]["X-Real-Ip"] == "127.0.0.1"
    assert seen["headers"]["X-Forwarded-For"] == "192.0.2.1, 127.0.0.1"
    assert seen["headers"]["X-Forwarded-Proto"] == "https"
    assert "Connection" not in seen["headers"]


def test_no_store_is_not_stored(client: httpx.Client) -> None:
    """The application's ``Cache-Control: no-store`` wins over ``proxy_cache_valid``."""
    statuses = [client.get("/headers").headers["X-Proxy-Cache"] for _ in range(2)]
    assert statuses == ["MISS", "MISS"]


def test_logged_in_visitors_bypass_the_cache(client: httpx.Client) -> None:
    """``proxy_cache_bypass $cookie_sessionid``: no common copy for them, none from them."""
    client.get("/page/bypass")
    log_in(client)
    first, second = (client.get("/page/bypass") for _ in range(2))
    assert [first.headers["X-Proxy-Cache"], second.headers["X-Proxy-Cache"]] == ["BYPASS"] * 2
    assert made(first) < made(second)


def test_uploads_arrive_whole_up_to_the_limit(served: Served, client: httpx.Client) -> None:
    """9 MB pass unchanged; above ``client_max_body_size`` the answer is 413."""
    body = os.urandom(9 << 20)
    seen = client.post("/upload", content=body).json()
    assert seen == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    # Announced only, not sent: the answer does not wait for what it will not take.
    with Connection(
        served.https, context=served.site.context(), server_name="localhost"
    ) as connection:
        refused = connection.ask("/upload", "POST", Content_Length=str(11 << 20))
    assert refused.status == 413


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_verifies_the_certificate(served: Served) -> None:
    """An ordinary client is content with the certificate and gets the page."""
    result = subprocess.run(
        [
            "curl", "--silent", "--show-error", "--compressed", "--include", "--noproxy", "*",
            "--cacert", str(served.site.certificate.certificate),
            f"https://localhost:{served.https}/page/curl",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("HTTP/1.1 200 OK")
    assert "Line 99 of the page called curl." in result.stdout


def test_access_log_names_the_cache_status(served: Served, client: httpx.Client) -> None:
    """The ``log_format`` of the example fills in, one line a request."""
    client.get("/page/logged")
    client.get("/page/logged")
    log = served.folder / "access.log"

    def lines() -> list[str]:
        return [line for line in log.read_text().splitlines() if "/page/logged" in line]

    wait_until(lambda: len(lines()) == 2, "two lines in the access log")
    pattern = (
        r'127\.0\.0\.1 - - \[.+\] "GET /page/logged HTTP/1\.1" 200 \d+ "-" ".+" '
        r"(MISS|HIT) \d+\.\d{3}"
    )
    found = [re.fullmatch(pattern, line) for line in lines()]
    assert [match and match[1] for match in found] == ["MISS", "HIT"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["restart", "kill -9"])
def test_the_zone_outlives_the_process(site: Site, tmp_path: Path, end: signal.Signals) -> None:
    """What was stored is a HIT for the next process, however the first one ended."""
    http, https = free_port(), free_port()
    stored = entry(tmp_path / "cache", f"httpslocalhost:{https}/page/kept")
    with site.proxy(tmp_path, http, https) as running, site.client(https) as client:
        first = client.get("/page/kept")
        assert first.headers["X-Proxy-Cache"] == "MISS"
        wait_until(stored.exists, f"{stored} exists")
        # What comes after gives the index time to be written; nothing else tells when it is.
        for number in range(20):
            client.get(f"/page/after-{number}")
        running.send_signal(end)
        running.wait()
    with site.proxy(tmp_path, http, https), site.client(https) as client:
        again = client.get("/page/kept")
        assert again.headers["X-Proxy-Cache"] == "HIT"
        assert again.text == first.text
        assert int(again.headers["Age"]) >= 0


def test_start_takes_about_a_second(served: Served, record_property: object) -> None:
    """Start to listening is recorded; only something plainly wrong fails."""
    assert callable(record_property)
    record_property("start_seconds", round(served.running.start_seconds, 3))
    assert served.running.start_seconds < 15
