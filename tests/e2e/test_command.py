"""The command itself: options, the check of a configuration, signals, reactors, the daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import Connection, Truncated, get, request
from tests.support.origins import Origin, Peer, Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import TWISTD, accepts, environment, proxy, run_twistd, wait_until

pytestmark = pytest.mark.e2e


def answer(seen: Seen) -> bytes:
    """A cacheable answer that shows the request's fields."""
    fields = "\n".join(f"{name}: {value}" for name, value in seen.fields)
    body = f"{seen.method} {seen.target}\n{fields}\n".encode() + b"padding " * 200
    return reply(body, Content_Type="text/html", Cache_Control="max-age=60")


@pytest.fixture(scope="module")
def app() -> Iterator[Origin]:
    """An application that allows caches a minute."""
    with origin(answer) as made:
        yield made


def returning(port: int, text: str, more: str = "") -> str:
    """A configuration that answers everything with *text*."""
    return (
        f"events {{}}\nhttp {{ {more} server {{ listen 127.0.0.1:{port};"
        f' return 200 "{text}"; }} }}\n'
    )


# The quick start


def test_quick_start_is_a_whole_front(app: Origin, tmp_path: Path) -> None:
    """``--upstream`` alone gives a cache by Cache-Control, gzip and the forwarded fields."""
    port = free_port()
    arguments = ["--upstream", f"http://127.0.0.1:{app.port}", "--listen", str(port)]
    with proxy(tmp_path, arguments=arguments, ports=(port,)):
        first, second = (get(port, "/quick", host="example.com") for _ in range(2))
        coded = get(port, "/quick", host="example.com", Accept_Encoding="gzip")
    assert (first.status, second.status) == (200, 200)
    assert first.body == second.body
    assert app.count("/quick") == 1
    assert second.get("Age") is not None
    assert coded.get("Content-Encoding") == "gzip"
    for line in (b"Host: example.com", b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: http"):
        assert line in first.body


def test_quick_start_leaves_private_pages_alone(tmp_path: Path) -> None:
    """What the origin does not mark is asked for each time."""
    port = free_port()
    with origin(lambda seen: reply(b"mine", Set_Cookie="a=b")) as app:
        arguments = ["--upstream", f"http://127.0.0.1:{app.port}", "--listen", str(port)]
        with proxy(tmp_path, arguments=arguments, ports=(port,)):
            get(port, "/private")
            get(port, "/private")
        assert app.count("/private") == 2


# The check


def test_check_of_a_good_configuration(tmp_path: Path) -> None:
    """``--test`` says so as nginx does and ends with 0; nothing listens."""
    port = free_port()
    path = tmp_path / "good.conf"
    path.write_text(returning(port, "never"))
    result = run_twistd("cacheproxy", "--test", "--config", str(path), cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert f"{path} test is successful" in result.stdout


def test_check_names_every_error(tmp_path: Path) -> None:
    """All errors at once, each with file and line, a near name suggested."""
    path = tmp_path / "bad.conf"
    path.write_text(
        "events {}\n"
        "http {\n"
        "    server {\n"
        "        listen 8080;\n"
        "        proxy_pas http://127.0.0.1:1;\n"
        "        location / { gzip maybe; }\n"
        "        client_max_body_size twelve;\n"
        "    }\n"
        "}\n"
    )
    result = run_twistd("-n", "--pidfile=", "cacheproxy", "-t", "-c", str(path), cwd=tmp_path)
    assert result.returncode == 1, result.stdout
    assert f'unknown directive "proxy_pas" in {path}:5' in result.stdout
    assert "proxy_pass" in result.stdout
    for line in (6, 7):
        assert f"{path}:{line}" in result.stdout
    assert "Traceback" not in result.stdout


def test_a_bad_configuration_does_not_start(tmp_path: Path) -> None:
    """Without ``--test`` the same messages, and no process that half serves."""
    path = tmp_path / "bad.conf"
    path.write_text("http { nonsense; }\n")
    result = run_twistd("-n", "--pidfile=", "cacheproxy", "--config", str(path), cwd=tmp_path)
    assert result.returncode != 0
    assert f'unknown directive "nonsense" in {path}:1' in result.stdout
    assert "Traceback" not in result.stdout


@pytest.mark.parametrize("arguments", [[], ["--config", "absent.conf"], ["--nonsense"]])
def test_misuse_is_explained(tmp_path: Path, arguments: list[str]) -> None:
    """Nothing to do, no such file, no such option: a message and a failing status."""
    result = run_twistd("-n", "--pidfile=", "cacheproxy", *arguments, cwd=tmp_path)
    assert result.returncode != 0
    assert result.stdout.strip()
    assert "Traceback" not in result.stdout


def test_prefix_is_the_base_of_relative_paths(tmp_path: Path) -> None:
    """``--prefix`` decides where ``root html`` is; the default is the configuration's folder."""
    for name in ("one", "two"):
        (tmp_path / name / "html").mkdir(parents=True)
        (tmp_path / name / "html" / "index.html").write_text(name)
    port = free_port()
    conf = f"http {{ server {{ listen 127.0.0.1:{port}; root html; }} }}"
    with proxy(tmp_path / "one", conf, ports=(port,)):
        assert get(port, "/").body == b"one"
    arguments = ["--prefix", str(tmp_path / "two")]
    with proxy(tmp_path / "one", conf, arguments=arguments, ports=(port,)):
        assert get(port, "/").body == b"two"


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The message names the address; the process ends rather than serve nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "site.conf"
        path.write_text(returning(port, "never"))
        result = run_twistd("-n", "--pidfile=", "cacheproxy", "--config", str(path), cwd=tmp_path)
    assert result.returncode != 0
    assert f"127.0.0.1:{port}" in result.stdout


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fast_stop(tmp_path: Path, number: signal.Signals) -> None:
    """TERM and INT end it at once, idle connections or not; the pid file goes."""
    port = free_port()
    with proxy(tmp_path, returning(port, "here"), ports=(port,)) as running:
        assert running.pid_file is not None
        assert running.pid_file.read_text().strip() == str(running.pid)
        with Connection(port) as idle:
            assert idle.ask("/").body == b"here"
            running.send_signal(number)
            # twistd ends itself by the signal that stopped it, once all is cleaned up.
            assert running.wait() in (0, -number)
            assert idle.closed()
        assert not running.pid_file.exists()
        assert not accepts(port)


def held(release: threading.Event) -> Callable[[Peer, Origin], None]:
    """A script that answers ``/slow`` only once *release* is set, in two halves."""

    def script(peer: Peer, made: Origin) -> None:
        while True:
            seen = peer.read()
            made.requests.append(seen)
            if seen.target == "/slow":
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
                release.wait(30)
                peer.send(b"later")
            else:
                peer.send(reply(b"quick"))

    return script


def passing(port: int, app: Origin, more: str = "") -> str:
    """A configuration that passes everything on, unbuffered."""
    return (
        f"events {{}}\nhttp {{ server {{ listen 127.0.0.1:{port}; {more} location / {{"
        f" proxy_pass http://127.0.0.1:{app.port}; proxy_buffering off;"
        f" proxy_http_version 1.1; proxy_set_header Connection ''; }} }} }}\n"
    )


def test_graceful_stop_finishes_what_runs(tmp_path: Path) -> None:
    """QUIT: no new connections, idle ones closed, the answer under way is completed."""
    port, release = free_port(), threading.Event()
    with (
        origin(script=held(release)) as app,
        proxy(tmp_path, passing(port, app), ports=(port,)) as running,
        Connection(port) as slow,
        Connection(port) as idle,
    ):
        assert idle.ask("/quick").body == b"quick"
        slow.send(request("/slow"))
        head = slow.head()
        assert slow.exactly(5) == b"first"
        running.send_signal(signal.SIGQUIT)
        assert idle.closed()
        wait_until(lambda: not accepts(port), "the port is closed")
        assert running.process.poll() is None
        release.set()
        assert head.status == 200
        assert slow.exactly(5) == b"later"
        assert slow.closed()
        assert running.wait() in (0, -signal.SIGQUIT)


def test_reload_changes_the_answer(tmp_path: Path) -> None:
    """HUP: the new configuration answers, on the same port and a new one, one process all along."""
    port, other = free_port(), free_port()
    with proxy(tmp_path, returning(port, "one"), ports=(port,)) as running:
        assert get(port, "/").body == b"one"
        conf = tmp_path / "site.conf"
        conf.write_text(
            conf.read_text()
            .replace('"one"', '"two"')
            .replace("server {", f"server {{ listen 127.0.0.1:{other};")
        )
        running.send_signal(signal.SIGHUP)
        wait_until(lambda: accepts(other), "the new port")
        wait_until(lambda: get(port, "/").body == b"two", "the new answer")
        assert get(other, "/").body == b"two"
        conf.write_text(conf.read_text().replace(f"listen 127.0.0.1:{other};", ""))
        running.send_signal(signal.SIGHUP)
        wait_until(lambda: not accepts(other), "the port that is no longer configured closes")
        assert get(port, "/").body == b"two"


def test_reload_does_not_cut_what_runs(tmp_path: Path) -> None:
    """HUP while an answer is under way: it is completed by the old configuration."""
    port, release = free_port(), threading.Event()
    with (
        origin(script=held(release)) as app,
        proxy(tmp_path, passing(port, app), ports=(port,)) as running,
        Connection(port) as slow,
    ):
        slow.send(request("/slow"))
        slow.head()
        assert slow.exactly(5) == b"first"
        conf = tmp_path / "site.conf"
        conf.write_text(conf.read_text().replace("location / {", "location / { return 200 new;", 1))
        running.send_signal(signal.SIGHUP)
        wait_until(lambda: get(port, "/").body == b"new", "the new answer")
        release.set()
        assert slow.exactly(5) == b"later"


def test_a_bad_reload_is_refused(tmp_path: Path) -> None:
    """HUP with an error in the file: a log line with file and line, the old one keeps serving."""
    port = free_port()
    log = tmp_path / "error.log"
    text = f"error_log {log};\n" + returning(port, "old")
    with proxy(tmp_path, text, ports=(port,)) as running:
        conf = tmp_path / "site.conf"
        good = conf.read_text()
        conf.write_text(good + "nonsense on;\n")

        def said() -> bool:
            return 'unknown directive "nonsense"' in running.output + (
                log.read_text() if log.exists() else ""
            )

        running.send_signal(signal.SIGHUP)
        wait_until(said, "the refusal is logged")
        assert get(port, "/").body == b"old"
        conf.write_text(good.replace('"old"', '"new"'))
        running.send_signal(signal.SIGHUP)
        wait_until(lambda: get(port, "/").body == b"new", "a good one is taken afterwards")


def test_reload_keeps_the_cache(app: Origin, tmp_path: Path) -> None:
    """A zone outlives the configuration that named it first."""
    port = free_port()
    conf = (
        f"http {{ proxy_cache_path {tmp_path}/zone levels=1:2 keys_zone=z:1m;"
        f" server {{ listen 127.0.0.1:{port}; location / {{ proxy_cache z;"
        f" add_header X-Cache $upstream_cache_status; add_header X-Generation one;"
        f" proxy_pass http://127.0.0.1:{app.port}; }} }} }}\n"
    )
    with proxy(tmp_path, conf, ports=(port,)) as running:
        assert get(port, "/reloaded").get("X-Cache") == "MISS"
        path = tmp_path / "site.conf"
        path.write_text(path.read_text().replace("Generation one", "Generation two"))
        running.send_signal(signal.SIGHUP)
        wait_until(
            lambda: get(port, "/other").get("X-Generation") == "two", "the new configuration"
        )
        assert get(port, "/reloaded").get("X-Cache") == "HIT"


def test_logs_are_reopened(tmp_path: Path) -> None:
    """USR1 after a rename: later lines go to a new file, none is lost."""
    port = free_port()
    log = tmp_path / "access.log"
    conf = returning(port, "here", f"access_log {log};")
    with proxy(tmp_path, conf, ports=(port,)) as running:
        get(port, "/before")
        wait_until(lambda: log.exists() and "/before" in log.read_text(), "the first line")
        log.rename(tmp_path / "access.log.1")
        running.send_signal(signal.SIGUSR1)
        wait_until(log.exists, "a new file")
        get(port, "/after")
        wait_until(lambda: "/after" in log.read_text(), "the second line")
        assert "/after" not in (tmp_path / "access.log.1").read_text()


# twistd's own options


def test_daemon(app: Origin, tmp_path: Path) -> None:
    """Without ``-n`` the process detaches, serves as well, and is stopped by its pid file."""
    port = free_port()
    conf = tmp_path / "site.conf"
    conf.write_text(f"pid {tmp_path}/proxy.pid;\n" + passing(port, app))
    pid_file = tmp_path / "twistd.pid"
    result = run_twistd(
        f"--pidfile={pid_file}", f"--logfile={tmp_path}/twistd.log", f"--rundir={tmp_path}",
        "cacheproxy", "--config", str(conf), cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    wait_until((tmp_path / "proxy.pid").exists, "the daemon listens")
    pid = int(pid_file.read_text())
    try:
        assert int((tmp_path / "proxy.pid").read_text()) == pid
        assert get(port, "/daemon").status == 200
        with Connection(port) as connection:
            assert [connection.ask(f"/daemon/{n}").status for n in range(3)] == [200] * 3
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pid_file.exists(), "the daemon's end")
    assert not accepts(port)


@pytest.mark.parametrize("reactor", [None, "uvloop", "asyncio", "epoll", "poll", "select"])
def test_every_reactor_serves_the_same(tmp_path: Path, reactor: str | None) -> None:
    """The same requests have the same answers whichever event loop runs."""
    if reactor == "epoll" and not hasattr(__import__("select"), "epoll"):
        pytest.skip("no epoll here")
    large = os.urandom(1 << 20) * 5

    def serve(seen: Seen) -> bytes:
        if seen.target == "/large":
            return reply(large, Cache_Control="max-age=60")
        return reply(seen.body or b"small", Cache_Control="max-age=60")

    port = free_port()
    with origin(serve) as app:
        conf = (
            f"http {{ proxy_cache_path {tmp_path}/zone keys_zone=z:1m; client_max_body_size 10m;"
            f" server {{ listen 127.0.0.1:{port}; location / {{ proxy_cache z;"
            f" add_header X-Cache $upstream_cache_status;"
            f" proxy_pass http://127.0.0.1:{app.port}; }} }} }}\n"
        )
        with proxy(tmp_path, conf, ports=(port,), reactor=reactor) as running:
            with Connection(port) as connection:
                small = [connection.ask("/small") for _ in range(2)]
                downloads = [connection.ask("/large") for _ in range(2)]
                connection.send(request("/up", "POST", Content_Length=str(len(large))) + large)
                upload = connection.response("POST")
            assert running.stop() in (0, -signal.SIGTERM)
    assert [response.get("X-Cache") for response in small] == ["MISS", "HIT"]
    assert [response.get("X-Cache") for response in downloads] == ["MISS", "HIT"]
    assert all(response.body == large for response in [*downloads, upload])
    assert "Traceback" not in running.output


def test_the_plain_command_runs_on_uvloop(tmp_path: Path) -> None:
    """With no ``--reactor`` the fast event loop is used where it is installed."""
    pytest.importorskip("uvloop")
    if os.environ.get("REACTOR"):
        pytest.skip("another reactor is asked for")
    port = free_port()
    with proxy(tmp_path, returning(port, "here"), ports=(port,)) as running:
        mapped = Path(f"/proc/{running.pid}/maps")
        if not mapped.exists():
            pytest.skip("no /proc here")
        assert "uvloop" in mapped.read_text()


def test_listing_plugins_is_cheap(tmp_path: Path) -> None:
    """``twistd --help`` names the plugin without importing the proxy."""
    result = run_twistd("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "cacheproxy" in result.stdout
    code = (
        "import sys; from twisted.plugin import getPlugins;"
        "from twisted.application.service import IServiceMaker;"
        "assert any(p.tapname == 'cacheproxy' for p in getPlugins(IServiceMaker));"
        "sys.exit('cacheproxy.tap' in sys.modules)"
    )
    command = [TWISTD[0], "-c", code]
    assert subprocess.run(command, cwd=tmp_path, env=environment(), check=False).returncode == 0


def test_truncation_by_a_fast_stop_is_visible(tmp_path: Path) -> None:
    """TERM in the middle of an answer: the client can tell that it is cut short."""
    port, release = free_port(), threading.Event()
    with (
        origin(script=held(release)) as app,
        proxy(tmp_path, passing(port, app), ports=(port,)) as running,
        Connection(port) as slow,
    ):
        slow.send(request("/slow"))
        slow.head()
        running.send_signal(signal.SIGTERM)
        with pytest.raises(Truncated):
            slow.exactly(10)
        release.set()
