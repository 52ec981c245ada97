"""What a configuration needs of the machine, and what a reload takes over."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import gc
import os
import socket

from cacheproxy.errors import UpstreamError
from cacheproxy.runtime import MAX_RENDERED_UPSTREAMS, Runtime
from tests.proxy.harness import EPOCH, Bench, BenchCase, message, response

FRESH = b"Cache-Control: max-age=60"
TEXT = """
    log_format l '$uri'; access_log access.log l;
    proxy_cache_path cache keys_zone=z:%s;
    upstream up { server 127.0.0.1:8000; server 127.0.0.1:8001 backup; %s }
    server { listen 127.0.0.1:80; add_header V %s;
        location / { proxy_pass http://up; proxy_cache z;
                     add_header X-Cache $upstream_cache_status; add_header V %s; } }
"""


class ReloadTests(BenchCase):
    """A new ``Runtime`` beside the old one."""

    def start(self) -> Bench:
        """A bench with a stored response and an idle upstream connection."""
        bench = self.bench = Bench(self, TEXT % ("1m", "", 1, 1))
        bench.origin().default = response(200, b"x", FRESH)
        self.assertEqual(bench.get(b"/").get(b"x-cache"), b"MISS")
        return bench

    def test_zones_are_kept(self) -> None:
        """The same zone keeps its entries, from memory."""
        bench = self.start()
        zone = bench.runtime.zones["z"]
        bench.reload(TEXT % ("1m", "", 2, 2))
        self.assertIs(bench.runtime.zones["z"], zone)
        answer = bench.get(b"/")
        self.assertEqual((answer.get(b"x-cache"), answer.get(b"v")), (b"HIT", b"2"))

    def test_changed_zone(self) -> None:
        """Another description is another zone, over the same files."""
        bench = self.start()
        zone = bench.runtime.zones["z"]
        bench.reload(TEXT % ("2m", "", 2, 2))
        bench.reactor.settle()
        self.assertIsNot(bench.runtime.zones["z"], zone)
        self.assertEqual(bench.get(b"/").get(b"x-cache"), b"HIT")

    def test_upstreams_are_kept(self) -> None:
        """Idle connections and the memory of failures."""
        bench = self.start()
        bench.reload(TEXT % ("1m", "", 2, 2))
        bench.get(b"/other")
        self.assertEqual(len(bench.origin().connections), 1)

    def test_changed_upstream(self) -> None:
        """Another description closes what was idle."""
        bench = self.start()
        bench.reload(TEXT % ("1m", "keepalive 7;", 2, 2))
        bench.reactor.settle()
        self.assertEqual(bench.origin().open, 0)
        bench.get(b"/other")
        self.assertEqual(len(bench.origin().connections), 2)

    def test_request_under_way(self) -> None:
        """It is finished on the old configuration, and logged."""
        bench = self.start()
        bench.origin().default = None
        client = bench.client()
        client.send(message(b"GET", b"/slow"))
        bench.reload(TEXT % ("1m", "keepalive 7;", 2, 2))
        bench.origin().last.send(response(200, b"done"))
        answer = client.response()
        self.assertEqual((answer.body, answer.get(b"v")), (b"done", b"1"))
        self.assertIn("/slow", bench.log())

    def test_reloads_leave_nothing_open(self) -> None:
        """However often, as many files are open as before."""
        bench = self.start()
        counts = []
        for number in range(5):
            bench.reload(TEXT % ("1m", "", number, number))
            bench.reactor.settle()
            gc.collect()
            counts.append(len(os.listdir("/proc/self/fd")))
        self.assertEqual(counts[-1], counts[1])

    def test_abandon(self) -> None:
        """A runtime that never served leaves the running one as it was."""
        bench = self.start()
        other = Runtime(bench.reactor, bench.configure(TEXT % ("1m", "", 9, 9)), bench.runtime)
        other.abandon()
        self.assertEqual(bench.get(b"/").get(b"x-cache"), b"HIT")


class UpstreamTests(BenchCase):
    """Groups made at run time."""

    def test_rendered_are_bounded(self) -> None:
        """A client cannot make groups without end."""
        runtime = self.serve("return 200;").runtime
        for number in range(MAX_RENDERED_UPSTREAMS + 50):
            runtime.resolve_upstream(b"http", b"127.0.0.1:%d" % (1000 + number), None)
        self.assertLessEqual(len(runtime._rendered), MAX_RENDERED_UPSTREAMS)

    def test_rendered_are_remembered(self) -> None:
        """The same authority is the same group; a configured name is that group."""
        bench = Bench(self, TEXT % ("1m", "", 1, 1))
        runtime = bench.runtime
        one = runtime.resolve_upstream(b"http", b"127.0.0.1:1", None)
        self.assertIs(runtime.resolve_upstream(b"http", b"127.0.0.1:1", None), one)
        self.assertIs(runtime.resolve_upstream(b"http", b"up", None), runtime.upstream("up", None))

    def test_nonsense(self) -> None:
        """An error of the upstream's, not a crash."""
        runtime = self.serve("return 200;").runtime
        for authority in (b"", b"a b", b"[::1", b"a:99999", b"\xff\xfe:1"):
            try:
                runtime.resolve_upstream(b"http", authority, None)
            except UpstreamError:
                continue
            self.assertEqual(authority, b"\xff\xfe:1")

    def test_unknown_zone(self) -> None:
        """A zone that a variable names and nobody declared is none."""
        runtime = self.serve("return 200;").runtime
        self.assertIsNone(runtime.storage("none"))


class WorldTests(BenchCase):
    """The rest of ``World``."""

    def test_time(self) -> None:
        """Both clocks and timers are the reactor's here."""
        bench = self.serve("return 200;")
        scheduler = bench.runtime.scheduler
        fired: list[int] = []
        scheduler.call_later(5, lambda: fired.append(1))
        before = scheduler.monotonic()
        bench.advance(5)
        self.assertEqual((fired, scheduler.monotonic() - before), ([1], 5))
        self.assertEqual(scheduler.wall(), EPOCH + 5)

    def test_logs_to_syslog(self) -> None:
        """``access_log syslog:`` and ``error_log syslog:``, for the process and for a location."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        target = f"syslog:server=127.0.0.1:{server.getsockname()[1]},nohostname,tag="
        bench = Bench(
            self,
            "server { listen 127.0.0.1:80; access_log off; root $folder;"
            f" location /a {{ error_log {target}errors error; access_log {target}access;}} }}",
            outside=f"error_log {target}main error;",
        )
        bench.get(b"/a")
        bench.get(b"/b")
        lines = sorted(server.recv(65536).partition(b": ")[0].split(b" ")[-1] for _ in range(3))
        self.assertEqual(lines, [b"access", b"errors", b"main"])

    def test_error_log_names_the_request(self) -> None:
        """A line tells which request, client, server and upstream."""
        bench = self.proxy()
        self.origin.mode = "refuse"
        bench.get(b"/some?thing")
        line = bench.log("error.log")[-1]
        for part in ("192.0.2.1", "test.example", "GET /some?thing HTTP/1.1", "127.0.0.1:8000"):
            self.assertIn(part, line)

    def test_reopening(self) -> None:
        """USR1: a log file that was moved away is made anew."""
        bench = self.serve("return 200 x;", "access_log access.log l;", "log_format l '$uri';")
        bench.get(b"/1")
        bench.log()
        os.rename(os.path.join(bench.folder, "access.log"), os.path.join(bench.folder, "old"))
        bench.runtime.reopen_logs()
        bench.get(b"/2")
        self.assertEqual((bench.log("old"), bench.log()), (["/1"], ["/2"]))
        os.rename(os.path.join(bench.folder, "error.log"), os.path.join(bench.folder, "olderr"))
        bench.runtime.reopen_logs()
        bench.runtime.error_log.log("error", "after")
        self.assertIn("after", bench.log("error.log")[0])

    def test_randomness(self) -> None:
        """As many bytes as asked for."""
        runtime = self.serve("return 200;").runtime
        self.assertEqual(len(runtime.random_bytes(12)), 12)
        self.assertGreater(runtime.pid, 0)
