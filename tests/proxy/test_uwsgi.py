"""``uwsgi_pass`` from a client's bytes to the application's, and back; hostile servers too."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import json
from typing import Any

from tests.proxy.harness import Bench, BenchCase, OriginConnection, Response, message
from tests.support.uwsgi import Packet, decode_packet


def parse(data: bytes) -> tuple[Packet | None, int]:
    """One request off the front of *data*, with the body that CONTENT_LENGTH announces."""
    packet = decode_packet(data)
    if packet is None:
        return None, 0
    length = int(packet.environ.get("CONTENT_LENGTH") or 0)
    if len(packet.rest) < length:
        return None, 0
    used = len(data) - len(packet.rest) + length
    packet.rest = packet.rest[:length]
    return packet, used


def echo(connection: OriginConnection, packet: Any) -> None:
    """What the application saw; the connection's end is the body's."""
    body = json.dumps({"environ": packet.environ, "body": packet.rest.decode("latin-1")})
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body.encode())
    connection.close()


def seen(response: Response) -> dict[str, str]:
    """The application's environ in an echo."""
    assert response.status == 200, response
    found: dict[str, str] = json.loads(response.body)["environ"]
    return found


class UwsgiCase(BenchCase):
    """A location before a uwsgi server at port 8000."""

    def uwsgi(self, options: str = "", server: str = "", http: str = "") -> Bench:
        """A bench whose location passes to the server."""
        text = f"uwsgi_pass 127.0.0.1:8000; include uwsgi_params; {options}"
        bench = self.serve(text, server, http)
        self.origin.parse = parse
        self.origin.default = echo
        return bench


class RequestTests(UwsgiCase):
    """What the application gets."""

    def test_variables_of_a_get(self) -> None:
        """``uwsgi_params``, then the client's fields."""
        environ = seen(self.uwsgi().get(b"/a%20b/?c=d%20e", b"X-Any: one", b"Accept: x"))
        self.assertEqual(
            environ,
            {
                "QUERY_STRING": "c=d%20e",
                "REQUEST_METHOD": "GET",
                "CONTENT_TYPE": "",
                "CONTENT_LENGTH": "",
                "REQUEST_URI": "/a%20b/?c=d%20e",
                "PATH_INFO": "/a b/",
                "DOCUMENT_ROOT": environ["DOCUMENT_ROOT"],
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REQUEST_SCHEME": "http",
                "REMOTE_ADDR": "192.0.2.1",
                "REMOTE_PORT": "40000",
                "SERVER_PORT": "80",
                "SERVER_NAME": "test.example",
                "HTTP_HOST": "test.example",
                "HTTP_X_ANY": "one",
                "HTTP_ACCEPT": "x",
            },
        )

    def test_body_is_collected_and_its_length_declared(self) -> None:
        """With Content-Length and chunked alike."""
        bench = self.uwsgi()
        response = bench.client().request(b"POST", b"/", b"Content-Type: a/b", body=b"hello")
        self.assertEqual(seen(response)["CONTENT_LENGTH"], "5")
        self.assertEqual(seen(response)["CONTENT_TYPE"], "a/b")
        self.assertEqual(json.loads(response.body)["body"], "hello")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        self.assertEqual(len(self.origin.connections), 1)
        client.send(b"2\r\nde\r\n0\r\n\r\n")
        response = client.response()
        self.assertEqual(seen(response)["CONTENT_LENGTH"], "5")
        self.assertEqual(json.loads(response.body)["body"], "abcde")
        self.assertNotIn("HTTP_TRANSFER_ENCODING", seen(response))

    def test_request_buffering_off(self) -> None:
        """A body of known length is passed on as it comes; a chunked one is collected even so."""
        bench = self.uwsgi("uwsgi_request_buffering off;")
        client = bench.client()
        client.send(message(b"POST", b"/", b"Content-Length: 6") + b"abc")
        packet = decode_packet(self.origin.last.received)
        assert packet is not None
        self.assertEqual(packet.rest, b"abc")
        client.send(b"def")
        self.assertEqual(json.loads(client.response().body)["body"], "abcdef")
        client.send(message(b"POST", b"/", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        self.assertEqual(len(self.origin.connections), 1)
        client.send(b"0\r\n\r\n")
        self.assertEqual(json.loads(client.response().body)["body"], "abc")

    def test_large_body_goes_through_a_file(self) -> None:
        """Beyond ``client_body_buffer_size``."""
        body = bytes(range(256)) * 300
        bench = self.uwsgi("client_body_buffer_size 1k;")
        response = bench.client().request(b"PUT", b"/", body=body)
        self.assertEqual(json.loads(response.body)["body"].encode("latin-1"), body)

    def test_body_not_passed(self) -> None:
        """``uwsgi_pass_request_body off``: the length says so too."""
        bench = self.uwsgi("uwsgi_pass_request_body off;")
        response = bench.client().request(b"POST", b"/", body=b"hello")
        self.assertEqual(seen(response)["CONTENT_LENGTH"], "")
        self.assertNotIn("HTTP_CONTENT_LENGTH", seen(response))

    def test_each_request_has_its_own_connection(self) -> None:
        """The protocol has no next request; ``keepalive`` of the group does not change that."""
        group = "upstream up { server 127.0.0.1:8000; keepalive 8; }"
        bench = self.serve("uwsgi_pass up; include uwsgi_params;", "", group)
        self.origin.parse, self.origin.default = parse, b"Content-Length: 2\r\n\r\nok"
        client = bench.client()
        for _ in range(3):
            self.assertEqual(client.get(b"/").body, b"ok")
        self.assertEqual(len(self.origin.connections), 3)
        self.assertEqual(self.origin.open, 0)

    def test_modifiers(self) -> None:
        """``uwsgi_modifier1`` and ``uwsgi_modifier2``."""
        self.uwsgi("uwsgi_modifier1 30; uwsgi_modifier2 7;").get(b"/")
        packet = self.origin.requests[0]
        self.assertEqual((packet.modifier1, packet.modifier2), (30, 7))

    def test_head_too_large_for_a_packet(self) -> None:
        """64 KB of variables at most: 500 and one line, and nobody is asked."""
        bench = self.uwsgi(
            "uwsgi_param A $arg_a$arg_a$arg_a$arg_a$arg_a$arg_a$arg_a$arg_a$arg_a$arg_a;"
            " error_log error.log info;",
            "large_client_header_buffers 4 16k;",
        )
        response = bench.get(b"/?a=" + b"x" * 8000)
        self.assertEqual(response.status, 500)
        self.assertEqual(self.origin.connections, [])
        log = [line for line in bench.log("error.log") if "uwsgi request is too big: " in line]
        self.assertEqual(len(log), 1)
        self.assertIn("[alert]", log[0])

    def test_websocket_is_not_passed(self) -> None:
        """A server that switches protocols all the same gets no tunnel."""
        bench = self.uwsgi()
        self.origin.default = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n\r\n"
        )
        fields = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
        response = bench.get(b"/", *fields, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        self.assertEqual(response.status, 502)
        environ = self.origin.requests[0].environ
        self.assertNotIn("HTTP_UPGRADE", environ)
        self.assertNotIn("HTTP_CONNECTION", environ)

    def test_expect_is_answered_here(self) -> None:
        """RFC 9110 §10.1.1: 100 comes before the body, and the application hears nothing of it."""
        client = self.uwsgi().client()
        client.send(message(b"POST", b"/", b"Content-Length: 2", b"Expect: 100-continue"))
        self.assertEqual(client.response().status, 100)
        client.send(b"ok")
        self.assertNotIn("HTTP_EXPECT", seen(client.response()))


class AddressTests(UwsgiCase):
    """Where requests go."""

    def test_unix_socket_of_a_group(self) -> None:
        """As the Django tutorial writes it."""
        group = "upstream django { server unix:///path/to/mysite.sock; }"
        bench = self.serve("uwsgi_pass django; include /path/to/uwsgi_params;", "", group)
        origin = bench.reactor.origin("///path/to/mysite.sock")
        origin.parse, origin.default = parse, echo
        self.assertEqual(seen(bench.get(b"/x"))["PATH_INFO"], "/x")

    def test_variables(self) -> None:
        """A rendered address, with and without a scheme; a group's name; a socket."""
        group = "upstream app { server 127.0.0.1:8001; }"
        bench = self.serve("uwsgi_pass $arg_to; include uwsgi_params;", "", group)
        for address in (("127.0.0.1", 8000), ("127.0.0.1", 8001), "/run/x.sock"):
            origin = bench.reactor.origin(address)
            origin.parse, origin.default = parse, echo
        for to, port in (
            (b"127.0.0.1:8000", ("127.0.0.1", 8000)),
            (b"uwsgi://127.0.0.1:8000", ("127.0.0.1", 8000)),
            (b"app", ("127.0.0.1", 8001)),
            (b"unix:/run/x.sock", "/run/x.sock"),
        ):
            before = len(bench.reactor.origin(port).requests)
            self.assertEqual(bench.get(b"/?to=" + to).status, 200, to)
            self.assertEqual(len(bench.reactor.origin(port).requests), before + 1, to)
        for to in (b"127.0.0.1", b"http://127.0.0.1:8000", b"", b"a/b:1"):
            self.assertEqual(bench.get(b"/?to=" + to).status, 500, to)

    def test_rendered_socket(self) -> None:
        """Its bytes are those of the name; one that no socket can have is 500 at once."""
        bench = self.serve("uwsgi_pass unix:$uri.sock; include uwsgi_params;")
        origin = bench.reactor.origin("/run/\u00fc.sock")
        origin.parse, origin.default = parse, echo
        self.assertEqual(bench.get(b"/run/%C3%BC").status, 200)
        self.assertEqual(bench.get(b"/" + b"x" * 200).status, 500)

    def test_one_group_by_both_protocols(self) -> None:
        """A group that both kinds of ``…_pass`` name keeps their connections apart."""
        bench = self.serve(
            "proxy_pass http://up;",
            "location /u { uwsgi_pass up; include uwsgi_params; }",
            "upstream up { server 127.0.0.1:8000; }",
        )
        client = bench.client()
        self.origin.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhttp")
        self.assertEqual(client.get(b"/").body, b"http")
        self.origin.parse, self.origin.default = parse, echo
        self.assertEqual(seen(client.get(b"/u"))["PATH_INFO"], "/u")
        self.assertEqual(len(self.origin.connections), 2)

    def test_location_with_a_slash_redirects(self) -> None:
        """nginx: ``location /app/`` with a gateway was asked for without the slash."""
        bench = self.serve("return 204;", "location /app/ { uwsgi_pass 127.0.0.1:8000; }")
        self.assertEqual(bench.get(b"/app").status, 301)

    def test_limit_except_inherits_the_handler(self) -> None:
        """Methods that it does not name still go to the application, with its rules."""
        bench = self.uwsgi("limit_except GET { deny all; }")
        self.assertEqual(bench.get(b"/").status, 200)
        self.assertEqual(bench.client().request(b"POST", b"/", body=b"").status, 403)
        bench = self.uwsgi("limit_except GET { allow all; }")
        posted = bench.client().request(b"POST", b"/", body=b"x")
        self.assertEqual(seen(posted)["REQUEST_METHOD"], "POST")


class ResponseTests(UwsgiCase):
    """What the client gets."""

    def ask(self, answer: bytes, options: str = "", close: bool = True) -> Response:
        """The client's response to what the server says."""
        bench = self.uwsgi(options)

        def give(connection: OriginConnection, packet: Any) -> None:
            connection.send(answer)
            if close:
                connection.close()

        self.origin.default = give
        return bench.get(b"/")

    def test_status_field(self) -> None:
        """CGI's ``Status`` is the status, and goes on as in nginx; bare LF ends lines."""
        response = self.ask(b"Status: 404 Nowhere\nContent-Type: text/x\nX-A: b\n\nbody")
        self.assertEqual((response.status, response.reason.strip()), (404, b"Nowhere"))
        self.assertEqual(response.get(b"status"), b"404 Nowhere")
        self.assertEqual(response.get(b"x-a"), b"b")
        self.assertEqual(response.body, b"body")

    def test_location_alone_is_a_redirect(self) -> None:
        """302, and the Location is sent as it came."""
        response = self.ask(b"Location: /elsewhere\r\n\r\n")
        self.assertEqual((response.status, response.get(b"location")), (302, b"/elsewhere"))

    def test_server_and_date_are_the_applications(self) -> None:
        """nginx hides neither of them for uwsgi; ``uwsgi_hide_header`` does."""
        head = b"Server: app\r\nDate: Tue, 14 Nov 2023 00:00:00 GMT\r\n\r\n"
        response = self.ask(head)
        self.assertEqual(response.get(b"server"), b"app")
        self.assertEqual(response.get(b"date"), b"Tue, 14 Nov 2023 00:00:00 GMT")
        self.assertNotEqual(
            self.ask(head, "uwsgi_hide_header Server;").get(b"server"), b"app"
        )

    def test_intercepted_errors(self) -> None:
        """``uwsgi_intercept_errors`` sends 404 to ``error_page``."""
        options = "uwsgi_intercept_errors on; error_page 404 = @own;"
        bench = self.uwsgi(options, "location @own { return 200 own; }")
        self.origin.default = b"Status: 404\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(bench.get(b"/").body, b"own")

    def test_proxy_directives_say_nothing_here(self) -> None:
        """The two families are apart: ``proxy_intercept_errors`` is not uwsgi's."""
        options = "proxy_intercept_errors on; error_page 404 = @own;"
        bench = self.uwsgi(options, "location @own { return 200 own; }")
        self.origin.default = b"Status: 404\r\nContent-Length: 3\r\n\r\napp"
        self.assertEqual(bench.get(b"/").body, b"app")

    def test_accel_redirect(self) -> None:
        """``X-Accel-Redirect`` to an internal location."""
        bench = self.uwsgi("", "location /own { internal; return 200 own; }")
        self.origin.reply(b"X-Accel-Redirect: /own\r\n\r\n")
        self.assertEqual(bench.get(b"/").body, b"own")


class HostileTests(UwsgiCase):
    """Servers that break off, stall, or say nonsense."""

    def status(self, answer: bytes, ending: str = "close", options: str = "") -> int:
        """What the client is told after *answer*."""
        bench = self.uwsgi(options)

        def give(connection: OriginConnection, packet: Any) -> None:
            if answer:
                connection.send(answer)
            if ending:
                getattr(connection, ending)()

        self.origin.default = give
        status = bench.get(b"/").status
        self.assertEqual(self.origin.open, 0)
        return status

    def test_no_response(self) -> None:
        """Closed or reset before a head has come, or within it."""
        for answer in (b"", b"HTTP/1.1 200 OK\r\nA: b"):
            for ending in ("close", "reset"):
                self.assertEqual(self.status(answer, ending), 502)

    def test_garbage(self) -> None:
        """Nothing of it reaches the client."""
        for answer in (
            b"\x00\x00\x00\x00\r\n\r\n",
            b"<html>no head\r\n\r\n",
            b"HTTP/1.1 99 Odd\r\n\r\n",
            b"Status: abc\r\n\r\n",
            b"A: b\r\nContent-Length: x\r\n\r\n",
        ):
            self.assertEqual(self.status(answer), 502, answer)

    def test_head_without_end(self) -> None:
        """It is bounded."""
        self.assertEqual(self.status(b"A: " + b"x" * 70000, ""), 502)
        self.assertEqual(self.status(b"A: b\r\n" * 20000, ""), 502)

    def test_truncated_body_shows(self) -> None:
        """Less than Content-Length: the client's connection breaks too, and nothing is stored."""
        bench = self.uwsgi(
            "uwsgi_cache z; uwsgi_cache_valid any 1h;",
            http="uwsgi_cache_path cache keys_zone=z:1m;",
        )

        def cut(connection: OriginConnection, packet: Any) -> None:
            connection.send(b"Content-Length: 9\r\n\r\nabc")
            connection.close()

        self.origin.reply(cut, b"Content-Length: 2\r\n\r\nok")
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.assertTrue(client.transport.closed)
        self.assertTrue(client.received.endswith(b"abc"))
        self.assertEqual(bench.get(b"/").body, b"ok")

    def test_more_than_declared_is_cut(self) -> None:
        """What follows the body is dropped with the connection."""
        bench = self.uwsgi()
        self.origin.default = b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 Smuggled\r\n\r\n"
        client = bench.client()
        self.assertEqual(client.get(b"/").body, b"ok")
        self.assertEqual(client.unread, b"")
        self.assertEqual(self.origin.open, 0)

    def test_slow_server(self) -> None:
        """``uwsgi_read_timeout``: 504."""
        bench = self.uwsgi("uwsgi_read_timeout 3s;")
        self.origin.default = None
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.advance(2)
        self.assertEqual(client.unread, b"")
        bench.advance(2)
        self.assertEqual(client.response().status, 504)

    def test_connect_timeout_and_refusal(self) -> None:
        """``uwsgi_connect_timeout``: 504; nobody listens: 502."""
        bench = self.uwsgi("uwsgi_connect_timeout 2s;")
        self.origin.mode = "hang"
        client = bench.client()
        client.send(message(b"GET", b"/"))
        bench.advance(3)
        self.assertEqual(client.response().status, 504)
        self.origin.mode = "refuse"
        self.assertEqual(client.get(b"/").status, 502)

    def test_next_upstream(self) -> None:
        """``uwsgi_next_upstream``: the next server is asked, with the body again; not a POST."""
        bench = self.serve(
            "uwsgi_pass up; include uwsgi_params; uwsgi_next_upstream error http_503;",
            "",
            "upstream up { server 127.0.0.1:8000; server 127.0.0.1:8001 backup; }",
        )
        for port in (8000, 8001):
            bench.origin(port).parse = parse
        bench.origin(8001).default = echo
        self.origin.default = b"Status: 503\r\nContent-Length: 0\r\n\r\n"
        response = bench.client().request(b"PUT", b"/", body=b"again")
        self.assertEqual(json.loads(response.body)["body"], "again")
        bench.advance(11)  # fail_timeout
        self.assertEqual(bench.client().request(b"POST", b"/", body=b"once").status, 503)

    def test_client_cannot_set_what_is_not_its_own(self) -> None:
        """Fields only become ``HTTP_*``; parameters win over them however they are spelled."""
        bench = self.uwsgi(
            "uwsgi_param HTTP_X_REAL_IP $remote_addr; uwsgi_param HTTP_X_SECRET '';",
            "underscores_in_headers on; ignore_invalid_headers off;",
        )
        environ = seen(
            bench.get(
                b"/",
                b"X-Real-IP: 6.6.6.6",
                b"X_Real_IP: 6.6.6.6",
                b"x-real_ip: 6.6.6.6",
                b"X-Secret: a",
                b"X_SECRET: a",
                b"Proxy: http://evil/",
                b"Remote-Addr: 6.6.6.6",
                b"HTTPS: on",
                b"X-Forwarded-For: 1.1.1.1",
                b"X_Forwarded_For: 6.6.6.6",
                b"Content_Length: 5",
                b"Transfer_Encoding: chunked",
            )
        )
        self.assertEqual(environ["HTTP_X_REAL_IP"], "192.0.2.1")
        self.assertEqual(environ["REMOTE_ADDR"], "192.0.2.1")
        self.assertEqual(environ["HTTP_X_FORWARDED_FOR"], "1.1.1.1")
        self.assertFalse(
            {"HTTP_X_SECRET", "HTTP_PROXY", "HTTPS", "HTTP_CONTENT_LENGTH"} & environ.keys()
        )
        self.assertNotIn("HTTP_TRANSFER_ENCODING", environ)
        self.assertEqual(environ["CONTENT_LENGTH"], "")


class CacheTests(UwsgiCase):
    """``uwsgi_cache``."""

    def cached(self, options: str = "", server: str = "") -> Bench:
        """A bench that keeps what the application says for an hour."""
        return self.uwsgi(
            f"uwsgi_cache z; uwsgi_cache_valid any 1h; {options}"
            "add_header X-Cache $upstream_cache_status;",
            server,
            "uwsgi_cache_path cache levels=1:2 keys_zone=z:1m inactive=1h;",
        )

    def test_miss_then_hit(self) -> None:
        """The second answer is the first one's."""
        bench = self.cached()
        first, second = bench.get(b"/a"), bench.get(b"/a")
        self.assertEqual((first.get(b"x-cache"), second.get(b"x-cache")), (b"MISS", b"HIT"))
        self.assertEqual(first.body, second.body)
        self.assertEqual(len(self.origin.requests), 1)

    def test_hits_are_answered_by_the_fast_path(self) -> None:
        """As those of ``proxy_pass``, with the same bytes as the general path's."""
        bench = self.cached()
        bench.get(b"/a"), bench.get(b"/a")
        fast: Any = bench.client()
        answer, used = fast.protocol._hot, []
        fast.protocol._hot = lambda *given: used.append(answer(*given)) or used[-1]
        self.assertEqual(fast.get(b"/a").raw, bench.client(hot=False).get(b"/a").raw)
        self.assertIsNotNone(used[0])

    def test_head_fills_as_get(self) -> None:
        """The application is asked for the whole, so that a later GET has its body."""
        bench = self.cached()
        self.assertEqual(bench.client().request(b"HEAD", b"/a").status, 200)
        self.assertEqual(self.origin.requests[0].environ["REQUEST_METHOD"], "GET")
        response = bench.get(b"/a")
        self.assertEqual(response.get(b"x-cache"), b"HIT")
        self.assertEqual(seen(response)["REQUEST_METHOD"], "GET")

    def test_preconditions_and_ranges_stay_here(self) -> None:
        """The whole is asked for and stored; the client gets its part."""
        bench = self.cached()
        self.origin.default = b'ETag: "v"\r\nContent-Length: 10\r\n\r\n0123456789'
        response = bench.get(b"/a", b"Range: bytes=2-3", b'If-None-Match: "w"')
        self.assertEqual((response.status, response.body), (206, b"23"))
        environ = self.origin.requests[0].environ
        self.assertFalse({"HTTP_RANGE", "HTTP_IF_NONE_MATCH"} & environ.keys())

    def test_revalidation(self) -> None:
        """A stale entry is validated by its tag: HTTP_IF_NONE_MATCH, answered by 304."""
        bench = self.cached("uwsgi_cache_revalidate on;")
        self.origin.reply(
            b'ETag: "v"\r\nCache-Control: max-age=1\r\nContent-Length: 1\r\n\r\n1',
            b'Status: 304\r\nETag: "v"\r\nCache-Control: max-age=9\r\n\r\n',
        )
        bench.get(b"/a")
        bench.advance(2)
        response = bench.get(b"/a")
        self.assertEqual((response.get(b"x-cache"), response.body), (b"REVALIDATED", b"1"))
        self.assertEqual(self.origin.requests[1].environ["HTTP_IF_NONE_MATCH"], '"v"')

    def test_stale_while_the_server_is_away(self) -> None:
        """``uwsgi_cache_use_stale``."""
        bench = self.cached("uwsgi_cache_use_stale error;")
        self.origin.reply(b"Cache-Control: max-age=1\r\nContent-Length: 1\r\n\r\n1")
        bench.get(b"/a")
        bench.advance(2)
        self.origin.mode = "refuse"
        response = bench.get(b"/a")
        self.assertEqual((response.get(b"x-cache"), response.body), (b"STALE", b"1"))

    def test_steering_field_has_an_entry_of_its_own(self) -> None:
        """What one client says of the host is in no other's page."""
        bench = self.cached()
        evil = seen(bench.get(b"/a", b"X-Forwarded-Host: evil"))
        self.assertEqual(evil["HTTP_X_FORWARDED_HOST"], "evil")
        self.assertNotIn("HTTP_X_FORWARDED_HOST", seen(bench.get(b"/a")))

    def test_overridden_field_has_none(self) -> None:
        """``uwsgi_param HTTP_X_FORWARDED_HOST`` is what the application hears: one entry."""
        bench = self.cached("uwsgi_param HTTP_X_FORWARDED_HOST $host;")
        bench.get(b"/a", b"X-Forwarded-Host: evil")
        response = bench.get(b"/a")
        self.assertEqual(response.get(b"x-cache"), b"HIT")
        self.assertEqual(seen(response)["HTTP_X_FORWARDED_HOST"], "test.example")

    def test_vary_selects_by_what_the_application_hears(self) -> None:
        """A parameter has the last word over the field of its name."""
        bench = self.cached("uwsgi_param HTTP_X_KIND $arg_kind;")
        body = b"Vary: X-Kind\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n\r\n"
        self.origin.reply(body + b"1", body + b"2")
        self.assertEqual(bench.get(b"/a?kind=1", b"X-Kind: 9").body, b"1")
        self.assertEqual(bench.get(b"/a?kind=1", b"X-Kind: 8").body, b"1")

    def test_slices(self) -> None:
        """``slice`` with ``uwsgi_param HTTP_RANGE $slice_range``."""
        bench = self.cached(
            "slice 4; uwsgi_param HTTP_RANGE $slice_range;"
            "uwsgi_cache_key $uri$is_args$args$slice_range;"
        )
        whole = b"0123456789"

        def part(connection: OriginConnection, packet: Any) -> None:
            first, last = packet.environ["HTTP_RANGE"].removeprefix("bytes=").split("-")
            piece = whole[int(first) : int(last) + 1]
            connection.send(
                b"Status: 206\r\nContent-Length: %d\r\nETag: \"v\"\r\n"
                b"Content-Range: bytes %d-%d/10\r\n\r\n"
                % (len(piece), int(first), int(first) + len(piece) - 1)
                + piece
            )

        self.origin.default = part
        self.assertEqual(bench.get(b"/a").body, whole)
        self.assertEqual(len(self.origin.requests), 3)
        self.assertEqual(bench.get(b"/a").body, whole)
        self.assertEqual(len(self.origin.requests), 3)

    def test_store(self) -> None:
        """``uwsgi_store`` writes the file."""
        bench = self.uwsgi("uwsgi_store kept$uri;")
        self.origin.default = b"Content-Length: 2\r\n\r\nok"
        bench.get(b"/page")
        bench.reactor.settle()
        self.assertEqual(len(bench.files("kept")), 1)
