"""Attacks on the running proxy, and the traps of its operation.

Poisoned caches, memory that clients could fill, logs and accounts.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.client import Connection, Truncated, get
from tests.support.origins import Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import TOP, proxy, run_twistd, wait_until

pytestmark = pytest.mark.e2e

MEGABYTE = 1 << 20


def mirror(seen: Seen) -> bytes:
    """What the request says of its own origin, as an application would build links from."""
    said = [f"{name.lower()}={value}" for name, value in seen.fields]
    return reply("\n".join(said).encode(), Cache_Control="max-age=60")


@pytest.mark.parametrize("host", ["evil.test", "site.test:1337", "SITE.test"])
def test_quick_start_keeps_hosts_apart(tmp_path: Path, host: str) -> None:
    """A page made for one Host is not stored for another (RFC 9111 §2: the key is the URI)."""
    port = free_port()
    with origin(mirror) as app:
        arguments = [
            "--upstream", f"http://127.0.0.1:{app.port}",
            "--listen", f"127.0.0.1:{port}",
            "--prefix", str(tmp_path),
        ]  # fmt: skip
        with proxy(tmp_path, arguments=arguments, ports=(port,)):
            get(port, "/", host=host)
            page = get(port, "/", host="site.test").body.decode()
            assert f"host={host}\n" not in page
            assert "host=site.test\n" in page
            assert get(port, "/", host="site.test").get("Age") is not None


def test_quick_start_passes_no_field_that_steers_urls(tmp_path: Path) -> None:
    """What could make the application answer for another URL does not reach it unkeyed."""
    port = free_port()
    with origin(mirror) as app:
        arguments = [
            "--upstream", f"http://127.0.0.1:{app.port}",
            "--listen", f"127.0.0.1:{port}",
            "--prefix", str(tmp_path),
        ]  # fmt: skip
        with proxy(tmp_path, arguments=arguments, ports=(port,)):
            page = get(
                port, "/", host="site.test", X_Original_URL="/evil", X_Rewrite_URL="/evil",
                X_Forwarded_Prefix="/evil", X_Forwarded_Host="evil", X_Forwarded_Scheme="evil",
                X_Host="evil", X_Forwarded_Server="evil", Forwarded="host=evil",
            )  # fmt: skip
            assert b"evil" not in page.body
            # Some applications take this for the method; nothing of it is stored.
            get(port, "/method", X_HTTP_Method_Override="DELETE")
            assert b"override" not in get(port, "/method").body


def test_site_with_logins(tmp_path: Path) -> None:
    """Poisoned links, and an account dressed up as a style sheet, before a whole proxy."""
    port = free_port()

    def app_with_users(seen: Seen) -> bytes:
        said = {name.lower(): value for name, value in seen.fields}
        host = said.get("x-forwarded-host", said["host"])
        page = f"<a href=//{host}/>{said.get('cookie', 'stranger')}</a>".encode()
        if seen.target.startswith("/account"):
            return reply(page, Content_Type="text/html")
        return reply(page, Cache_Control="max-age=60", Vary="Cookie")

    with origin(app_with_users) as app:
        conf = (
            f"http {{ proxy_cache_path {tmp_path}/zone keys_zone=z:1m; proxy_cache_valid 200 1m;"
            f" server {{ listen 127.0.0.1:{port}; location / {{"
            f" proxy_pass http://127.0.0.1:{app.port}; proxy_set_header Host $http_host;"
            " proxy_cache z; proxy_cache_cookies sessionid; } } }\n"
        )
        with proxy(tmp_path, conf, ports=(port,)):
            for _ in range(3):
                get(port, "/", X_Forwarded_Host="evil", host="site.test")
                get(port, "/account/x.css", Cookie="a=1; sessionid=victim", host="site.test")
            page = get(port, "/", Cookie="_ga=1", host="site.test")
            assert page.body == b"<a href=//site.test/>stranger</a>"
            again = get(port, "/", Cookie="_ga=2", host="site.test")
            assert again.body == page.body
            assert again.get("Age") is not None
            assert b"victim" not in get(port, "/account/x.css", host="site.test").body


def test_many_hot_pages_do_not_outgrow_their_zone(tmp_path: Path) -> None:
    """Bodies that have left ``memory=`` do not live on in what is ready to be sent."""
    port = free_port()
    body = b"x" * 100_000
    with origin(lambda seen: reply(body, Cache_Control="max-age=600")) as app:
        conf = (
            f"http {{ proxy_cache_path {tmp_path}/cache keys_zone=z:1m memory=4m;"
            f" upstream app {{ server 127.0.0.1:{app.port}; keepalive 4; }}"
            f" server {{ listen 127.0.0.1:{port}; keepalive_requests 100000;"
            f" location / {{ proxy_pass http://app; proxy_http_version 1.1;"
            f" proxy_set_header Connection ''; proxy_cache z; }} }} }}\n"
        )
        with proxy(tmp_path, conf, ports=(port,)) as running, Connection(port) as client:
            client.ask("/warm")
            before = running.rss()
            for number in range(1000):
                client.ask(f"/{number}")
                client.ask(f"/{number}")
            assert running.rss() - before < 64 * MEGABYTE


def test_many_hot_files_do_not_outgrow_their_store(tmp_path: Path) -> None:
    """Nor do the contents of small files."""
    port = free_port()
    folder = tmp_path / "www"
    folder.mkdir()
    for number in range(600):
        (folder / f"{number}.txt").write_bytes(b"x" * 200_000)
    conf = (
        f"http {{ server {{ listen 127.0.0.1:{port}; root {folder};"
        f" keepalive_requests 100000; }} }}\n"
    )
    with proxy(tmp_path, conf, ports=(port,)) as running, Connection(port) as client:
        client.ask("/0.txt")
        before = running.rss()
        for number in range(600):
            for _ in range(3):
                client.ask(f"/{number}.txt")
        assert running.rss() - before < 90 * MEGABYTE


def test_error_log_of_every_level_is_written(tmp_path: Path) -> None:
    """``error_log`` of http, server and location takes what happens there."""
    port = free_port()
    conf = (
        f"error_log {tmp_path}/main.log; http {{ root {tmp_path}; error_log {tmp_path}/http.log;"
        f" server {{ listen 127.0.0.1:{port};"
        f" location /a/ {{ error_log {tmp_path}/a.log; }}"
        f" location /b/ {{ error_log {tmp_path}/b.log crit; }} }} }}\n"
    )
    with proxy(tmp_path, conf, ports=(port,)):
        for target in ("/a/none", "/b/none", "/none"):
            assert get(port, target).status == 404
    assert "/a/none" in (tmp_path / "a.log").read_text()
    assert "/b/none" not in (tmp_path / "b.log").read_text()
    http = (tmp_path / "http.log").read_text()
    assert "/none" in http
    assert "/a/none" not in http
    assert "none" not in (tmp_path / "main.log").read_text()


def test_error_log_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """As nginx: at the start, not with the first error."""
    (tmp_path / "site.conf").write_text(
        f"events {{}} http {{ server {{ listen 127.0.0.1:{free_port()};"
        f" location / {{ error_log {tmp_path}/none/a.log; }} }} }}\n"
    )
    result = run_twistd("-n", "--pidfile=", "cacheproxy", "-c", "site.conf", cwd=tmp_path)
    assert result.returncode == 1
    assert f'open() "{tmp_path}/none/a.log" failed' in result.stdout


@pytest.mark.parametrize("name", ["api-cache", "django", "flask", "demo/site"])
def test_examples_key_what_they_forward(name: str) -> None:
    """The key holds the Host that the application gets, port and all, and the URI undecoded."""
    text = (TOP / "examples" / f"{name}.conf").read_text()
    keys = [line.split()[1] for line in text.splitlines() if "proxy_cache_key " in line]
    assert keys
    assert all("$http_host$request_uri" in key for key in keys)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="changes the account")


@root_only
def test_unknown_account_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """``user`` is looked up by --test, and before anything is opened."""
    port = free_port()
    (tmp_path / "site.conf").write_text(
        f"user nobody-at-all; pid {tmp_path}/proxy.pid; events {{}}"
        f" http {{ server {{ listen 127.0.0.1:{port}; return 204; }} }}\n"
    )
    for option in ("--test", "--prefix=."):
        result = run_twistd(
            "-n", "--pidfile=", "cacheproxy", "-c", "site.conf", option, cwd=tmp_path
        )
        assert result.returncode == 1
        assert 'getpwnam("nobody-at-all") failed' in result.stdout
    assert not (tmp_path / "proxy.pid").exists()


def served(port: int) -> bytes:
    """The body of ``/``; empty where the connection was closed instead."""
    try:
        return get(port, "/").body
    except Truncated:
        return b""


@root_only
def test_reload_without_root(tmp_path: Path) -> None:
    """What root opened can be opened again by the account of ``user``."""
    port = free_port()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp/pytest-of-root") or folder == tmp_path:
            folder.chmod(0o755)
    conf = (
        f"user nobody nogroup; error_log {tmp_path}/error.log notice;"
        f" http {{ access_log {tmp_path}/access.log; proxy_cache_path /proc/none keys_zone=z:1m;"
        f" server {{ listen 127.0.0.1:{port}; return 200 VERSION; }} }}\n"
    )
    with proxy(tmp_path, conf.replace("VERSION", "old"), ports=(port,)) as running:
        site = tmp_path / "site.conf"
        site.write_text(site.read_text().replace("return 200 old", "return 200 new"))
        running.send_signal(signal.SIGHUP)
        # A connection that is open at the reload may be closed.
        wait_until(lambda: served(port) == b"new", "the reload")


def test_head_does_not_poison_get(tmp_path: Path) -> None:
    """``proxy_cache_convert_head off``: a HEAD's answer is no GET's (RFC 9110 §9.3.2)."""
    port = free_port()

    def serve(seen: Seen) -> bytes:
        return reply(b"" if seen.method == "HEAD" else b"body", Cache_Control="max-age=60")

    with origin(serve) as app:
        conf = (
            f"http {{ proxy_cache_path {tmp_path}/zone keys_zone=z:1m; server {{"
            f" listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{app.port};"
            " proxy_cache z; proxy_cache_convert_head off; } } }\n"
        )
        with proxy(tmp_path, conf, ports=(port,)):
            get(port, "/x", Cache_Control="no-store")  # makes the key known, stores nothing
            get(port, "/x", "HEAD")
            assert get(port, "/x").body == b"body"
