"""Many reloads under load: nobody notices, and nothing is left behind."""

from __future__ import annotations

import signal
import socket
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.support.client import Connection, request
from tests.support.origins import Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import proxy, wait_until

RELOADS = 100
CLIENTS = 8


class Load(threading.Thread):
    """A client that asks all the time, on connections that it keeps as long as it may."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__()
        self.port = port
        self.stop = stop
        self.answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with Connection(self.port) as connection:
                    self.use(connection)
            except Exception as failure:
                self.failures.append(f"after {self.answers} answers: {failure!r}")

    def use(self, connection: Connection) -> None:
        """Ask until the answer says that it was the last."""
        while not self.stop.is_set():
            answer = connection.ask("/cached" if self.answers % 2 else f"/{self.answers}")
            assert answer.status == 200
            self.answers += 1
            if answer.get("Connection") == "close":
                return


def test_reloads_under_load_leave_nothing_behind(tmp_path: Path) -> None:
    """No answer is lost or reset; descriptors and memory are as before within seconds."""
    port = free_port()

    def serve(seen: Seen) -> bytes:
        return reply(b"x" * 1000, Cache_Control="max-age=60")

    with origin(serve) as app:

        def conf(number: int) -> str:
            return (
                f"pid {tmp_path}/proxy.pid; error_log {tmp_path}/error.log info; events {{}}\n"
                f"http {{ proxy_cache_path {tmp_path}/zone keys_zone=z:1m;"
                f" log_format l '$uri'; access_log {tmp_path}/access.log l buffer=4k;"
                f" server {{ listen 127.0.0.1:{port}; add_header X-Number {number};"
                f" location /cached {{ proxy_cache z; proxy_pass http://127.0.0.1:{app.port}; }}"
                f" location / {{ error_log {tmp_path}/inner.log warn;"
                f" proxy_pass http://127.0.0.1:{app.port}; }} }} }}\n"
            )

        with proxy(tmp_path, conf(0), ports=(port,)) as running:
            stop = threading.Event()
            load = [Load(port, stop) for _ in range(CLIENTS)]
            for client in load:
                client.start()
            try:
                wait_until(lambda: all(client.answers > 50 for client in load), "answers")
                idle_clients = [Connection(port) for _ in range(20)]
                descriptors, memory = running.descriptors(), 0
                for number in range(1, RELOADS + 1):
                    (tmp_path / "site.conf").write_text(conf(number))
                    running.send_signal(signal.SIGHUP)
                    wait_until(partial(serves, port, number), f"reload {number}")
                    if number == 10:
                        memory = running.rss()
                wait_until(
                    lambda: running.descriptors() <= descriptors + 10,
                    f"{running.descriptors()} descriptors, {descriptors} before",
                    timeout=4,
                )
                assert running.rss() < memory * 1.3
            finally:
                stop.set()
                for client in load:
                    client.join()
            for connection in idle_clients:
                connection.close()
            assert [failure for client in load for failure in client.failures] == []
            assert running.stop(signal.SIGQUIT) == 0
    logged = len((tmp_path / "access.log").read_text().splitlines())
    assert logged >= sum(client.answers for client in load)
    assert "Traceback" not in running.output


def serves(port: int, number: int) -> bool:
    """Whether a new connection gets the configuration of this number."""
    with Connection(port) as connection:
        connection.send(request("/cached", Connection="close"))
        return connection.response().get("X-Number") == str(number)


@pytest.mark.parametrize("reactor", ["uvloop", "epoll"])
def test_graceful_stop_ends_though_connections_are_accepted_meanwhile(
    tmp_path: Path, reactor: str
) -> None:
    """Clients that keep asking on connections made while the stop began do not hold it up."""
    port = free_port()
    conf = f"http {{ server {{ listen 127.0.0.1:{port}; return 200 x; }} }}\n"
    with proxy(tmp_path, conf, ports=(port,), reactor=reactor) as running:
        # Connections that wait in the backlog are accepted in the turn in which QUIT comes.
        running.send_signal(signal.SIGSTOP)
        waiting = [Connection(port) for _ in range(30)]
        running.send_signal(signal.SIGQUIT)
        running.send_signal(signal.SIGCONT)
        ended = threading.Event()

        def keep_asking(connection: Connection) -> None:
            try:
                while not ended.wait(0.05):
                    connection.ask("/")
            except Exception:
                return  # refused or closed, as it should be

        threads = [threading.Thread(target=keep_asking, args=(one,)) for one in waiting]
        for thread in threads:
            thread.start()
        try:
            assert running.wait(10) == 0
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            for connection in waiting:
                connection.close()


def test_request_that_meets_the_end_of_an_idle_connection_is_not_reset(tmp_path: Path) -> None:
    """After a reload an idle connection answers once more, or ends with FIN."""
    port = free_port()
    conf = f"http {{ server {{ listen 127.0.0.1:{port}; return 200 x; }} }}\n"
    with proxy(tmp_path, conf, ports=(port,)) as running:
        asking, silent = Connection(port), Connection(port)
        with asking, silent:
            for connection in (asking, silent):
                assert connection.ask("/").get("Connection") == "keep-alive"
            running.send_signal(signal.SIGHUP)
            threading.Event().wait(0.3)
            assert asking.ask("/").get("Connection") == "close"
            assert silent.socket.recv(1) == b"", "FIN"
            silent.send(request("/"))
            threading.Event().wait(0.1)
            error = silent.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            assert error == 0, "a reset"
