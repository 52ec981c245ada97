"""Attacks on the running proxy: poisoned caches, memory that clients could fill."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import Connection, get
from tests.support.origins import Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import proxy

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
