"""``net.web``: what a request of ``twisted.web`` is to an exchange, and the answer's way back."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc,no-untyped-def"

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.address import UNIXAddress

from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.site.added_fields import FieldAdder
from tests.net.web_bench import WebCase
from tests.proxy.harness import http_date, message, response

LARGE = bytes(range(256)) * 4096
FRESH = b"Cache-Control: max-age=60"
TEXT = b"Content-Type: text/plain"


class CacheTests(WebCase):
    """The cache works as it does in the server."""

    def test_a_second_request_is_answered_from_the_cache(self) -> None:
        """RFC 9111 §4: a fresh response is reused, with its age."""
        bench = self.cache()
        self.origin.reply(response(200, b"hello", FRESH, TEXT))
        first = bench.get(b"/a")
        bench.advance(7)
        second = bench.get(b"/a")
        self.assertEqual((first.body, first.get(b"x-cache")), (b"hello", b"MISS"))
        self.assertEqual((second.body, second.get(b"x-cache")), (b"hello", b"HIT"))
        self.assertEqual(second.get(b"age"), b"7")
        self.assertEqual(len(self.origin.requests), 1)

    def test_hits_on_one_connection(self) -> None:
        """RFC 9112 §9.3: the connection goes on after each response."""
        bench = self.cache()
        self.origin.reply(response(200, b"hello", FRESH))
        client = bench.client()
        statuses = [client.get(b"/a").get(b"x-cache") for _ in range(3)]
        self.assertEqual(statuses, [b"MISS", b"HIT", b"HIT"])

    def test_pipelined_requests(self) -> None:
        """RFC 9112 §9.3.2: answers come in the order of the requests."""
        bench = self.cache()
        self.origin.reply(*(response(200, name, FRESH) for name in (b"one", b"two")))
        client = bench.client()
        client.send(message(b"GET", b"/1") + message(b"GET", b"/2") + message(b"GET", b"/1"))
        self.assertEqual([client.response().body for _ in range(3)], [b"one", b"two", b"one"])

    def test_vary(self) -> None:
        """RFC 9111 §4.1: the selecting fields choose among stored responses."""
        bench = self.cache(gzip=False)
        vary = (FRESH, b"Vary: Accept-Language")
        self.origin.reply(response(200, b"hallo", *vary), response(200, b"hello", *vary))
        languages = [b"de", b"en", b"de", b"en"]
        answers = [bench.get(b"/", b"Accept-Language: " + one) for one in languages]
        self.assertEqual([one.body for one in answers], [b"hallo", b"hello"] * 2)
        self.assertEqual(len(self.origin.requests), 2)

    def test_range_of_a_stored_response(self) -> None:
        """RFC 9110 §14.2: a range is cut from what is stored."""
        bench = self.cache()
        self.origin.reply(response(200, b"0123456789", FRESH))
        bench.get(b"/")
        part = bench.get(b"/", b"Range: bytes=2-4")
        self.assertEqual((part.status, part.body), (206, b"234"))
        self.assertEqual(part.get(b"content-range"), b"bytes 2-4/10")
        self.assertEqual(part.get(b"content-length"), b"3")
        beyond = bench.get(b"/", b"Range: bytes=10-")
        self.assertEqual((beyond.status, beyond.get(b"content-range")), (416, b"bytes */10"))

    def test_conditional_request(self) -> None:
        """RFC 9110 §13.1.2: a validator that the client has is answered with 304."""
        bench = self.cache()
        self.origin.reply(response(200, b"hello", FRESH, TEXT, b'ETag: "1"'))
        client = bench.client()
        client.get(b"/")
        answer = client.get(b"/", b'If-None-Match: "1"')
        self.assertEqual((answer.status, answer.body, answer.get(b"etag")), (304, b"", b'"1"'))
        self.assertIsNone(answer.get(b"transfer-encoding"))
        self.assertIsNone(answer.get(b"content-type"))
        self.assertEqual(client.get(b"/").body, b"hello")

    def test_gzip(self) -> None:
        """``gzip on``: text is compressed for those who take it, once it is worth it."""
        bench = self.cache()
        body = b"text " * 400
        self.origin.reply(response(200, body, FRESH, TEXT))
        for _ in range(2):
            answer = bench.get(b"/", b"Accept-Encoding: gzip")
            self.assertEqual(answer.get(b"content-encoding"), b"gzip")
            self.assertEqual(gzip.decompress(answer.body), body)
            self.assertEqual(answer.get(b"vary"), b"Accept-Encoding")
        self.assertEqual(bench.get(b"/").body, body)
        self.assertEqual(len(self.origin.requests), 1)


class ResponseTests(WebCase):
    """The response's way through ``twisted.web``."""

    def test_head(self) -> None:
        """RFC 9110 §9.3.2: the fields of GET, no body, and the connection goes on."""
        bench = self.cache()
        self.origin.default = response(200, b"hello", FRESH, TEXT)
        client = bench.client()
        answer = client.request(b"HEAD", b"/a")
        self.assertEqual((answer.status, answer.get(b"content-length")), (200, b"5"))
        self.assertEqual(client.unread, b"")
        self.assertEqual(client.get(b"/a").body, b"hello")

    def test_fields_are_the_origins(self) -> None:
        """Nothing that ``twisted.web`` presets stays: no second Date or Server, no made-up type."""
        bench = self.cache()
        self.origin.reply(
            response(
                201, b"x", b"Date: " + http_date(-5), b"Server: origin/1", b"Set-Cookie: a=1",
                b"Set-Cookie: b=2", b"X-Own: 1",
            )
        )  # fmt: skip
        answer = bench.get(b"/")
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.reason.strip(), b"Whatever")
        self.assertEqual(answer.get(b"date"), http_date(-5))
        self.assertEqual(answer.get(b"server"), b"cacheproxy")
        self.assertEqual(answer.get_all(b"set-cookie"), [b"a=1", b"b=2"])
        self.assertEqual(answer.get(b"x-own"), b"1")
        self.assertIsNone(answer.get(b"content-type"))

    def test_unknown_length_is_chunked(self) -> None:
        """RFC 9112 §7.1: where the origin closes to end, the client still gets framing."""
        bench = self.cache()

        def answer(connection: Any, request: Any) -> None:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
            connection.send(b"lo")
            connection.close()

        self.origin.reply(answer)
        client = bench.client()
        result = client.get(b"/")
        self.assertEqual((result.body, result.get(b"transfer-encoding")), (b"hello", b"chunked"))
        self.assertFalse(client.transport.closed)

    def test_http_1_0(self) -> None:
        """RFC 9112 §6.3: a client of HTTP/1.0 gets no chunks; the end is the connection's."""
        bench = self.cache()
        self.origin.reply(response(200, b"hello", chunked=True))
        client = bench.client()
        client.send(b"GET / HTTP/1.0\r\nHost: test.example\r\n\r\n")
        result = client.response()
        self.assertEqual((result.version, result.body), (b"HTTP/1.0", b"hello"))
        self.assertIsNone(result.get(b"transfer-encoding"))
        self.assertTrue(client.transport.lost)

    def test_no_content(self) -> None:
        """RFC 9110 §15.3.5: 204 has no body and no length, and needs no closing."""
        bench = self.cache()
        self.origin.default = response(204)
        client = bench.client()
        for _ in range(2):
            answer = client.get(b"/")
            self.assertEqual((answer.status, answer.get(b"content-length")), (204, None))

    def test_cookies_of_the_application_are_kept(self) -> None:
        """What an application sets before it hands a request on stands beside the origin's."""
        bench = self.cache()
        self.origin.reply(response(200, b"x", b"Set-Cookie: theirs=1"))
        render = bench.resource.render

        def wrapped(request: Any) -> Any:
            request.addCookie(b"ours", b"1")
            request.setHeader(b"X-Frame-Options", b"DENY")
            return render(request)

        self.patch(bench.resource, "render", wrapped)
        answer = bench.get(b"/")
        self.assertEqual(answer.get_all(b"set-cookie"), [b"theirs=1", b"ours=1"])
        self.assertEqual(answer.get(b"x-frame-options"), b"DENY")

    def test_interim_responses_are_left_out(self) -> None:
        """RFC 9110 §15.2: 103 cannot be sent, the final response is."""
        bench = self.cache()
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        self.origin.reply(early + response(200, b"hello"))
        client = bench.client()
        self.assertEqual(client.get(b"/").status, 200)
        self.assertNotIn(b"103", client.received)

    def test_a_broken_field_is_not_sent(self) -> None:
        """A line break that a variable brought into a response closes the connection."""
        bench = self.cache()
        self.patch(FieldAdder, "render", lambda *arguments: [(b"X-Back", b"a\r\nX-Evil: 1")])
        self.origin.reply(response(200, b"hello"))
        client = bench.client()
        client.send(message(b"GET", b"/"))
        self.assertEqual(client.received, b"")
        self.assertTrue(client.transport.lost)

    def test_large_response_and_a_slow_client(self) -> None:
        """The client's pace holds the body back, and all of it arrives."""
        bench = self.cache("proxy_buffering off; proxy_cache_bypass 1; proxy_no_cache 1;")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        connection = self.origin.last
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
        sent = 0
        while sent < len(LARGE) and not connection.transport.paused:
            connection.send(LARGE[sent : sent + 16384])
            sent += 16384
        self.assertTrue(connection.transport.paused, "the origin was never told to wait")
        self.assertLess(len(client.transport.held), 256 * 1024)
        connection.transport.deliver(LARGE[sent:])
        client.release()
        self.assertEqual(client.response().body, LARGE)

    def test_a_stored_response_and_a_slow_client(self) -> None:
        """A body that is read from disk waits for the client as well."""
        bench = self.cache(cache_memory="0")
        self.origin.reply(response(200, LARGE, FRESH))
        self.assertEqual(bench.get(b"/").body, LARGE)
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        self.assertTrue(client.transport.held)
        self.assertLess(len(client.transport.held), len(LARGE))
        client.release()
        answer = client.response()
        self.assertEqual((answer.get(b"x-cache"), answer.body), (b"HIT", LARGE))

    def test_send_timeout(self) -> None:
        """``send_timeout``: a client that reads nothing is cut off."""
        bench = self.cache("send_timeout 5s;")
        self.origin.reply(response(200, LARGE))
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/"))
        bench.advance(4)
        self.assertFalse(client.transport.aborted)
        bench.advance(2)
        self.assertTrue(client.transport.aborted)

    def test_pipelined_requests_of_a_client_that_does_not_read(self) -> None:
        """Whoever asks on and on without reading does not fill the memory."""
        bench = self.cache()
        self.origin.default = response(200, LARGE, FRESH)
        bench.get(b"/")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/") * 8)
        self.assertLess(len(client.transport.held), 2 * len(LARGE))
        client.release()
        for _ in range(8):
            self.assertEqual(client.response().body, LARGE)

    def test_send_timeout_of_a_pipelined_request(self) -> None:
        """``send_timeout`` also where the connection was full before the request began."""
        bench = self.configured(
            """http { proxy_cache_path $folder/z keys_zone=z:1m; send_timeout 5s;
            server { location / { proxy_pass http://127.0.0.1:8000; proxy_cache z; } } }"""
        )
        self.origin.default = response(200, LARGE, FRESH)
        bench.get(b"/")
        client = bench.client()
        client.transport.hold()
        client.send(message(b"GET", b"/") * 2)
        bench.advance(6)
        self.assertTrue(client.transport.aborted)


class EndTests(WebCase):
    """Exchanges that do not end well."""

    def test_client_leaves_while_the_origin_works(self) -> None:
        """The upstream request is given up (``proxy_ignore_client_abort off``)."""
        bench = self.cache("proxy_cache_bypass 1; proxy_no_cache 1;")
        client = bench.client()
        client.send(message(b"POST", b"/", body=b"x"))
        connection = self.origin.last
        self.assertFalse(connection.closed)
        client.vanish()
        self.assertTrue(connection.closed)

    def test_client_leaves_while_a_response_is_stored(self) -> None:
        """As in nginx the store goes on, and the next client has it."""
        bench = self.cache()
        client = bench.client()
        client.send(message(b"GET", b"/"))
        connection = self.origin.last
        connection.send(response(200, b"abcd", FRESH)[:-2])
        client.vanish()
        connection.send(b"cd")
        answer = bench.get(b"/")
        self.assertEqual((answer.body, answer.get(b"x-cache")), (b"abcd", b"HIT"))

    def test_origin_refuses(self) -> None:
        """502 where no connection can be had."""
        bench = self.cache()
        self.origin.mode = "refuse"
        client = bench.client()
        answer = client.get(b"/")
        self.assertEqual(answer.status, 502)
        self.assertIn(b"Bad Gateway", answer.body)
        self.assertFalse(client.transport.closed)

    def test_origin_says_nonsense(self) -> None:
        """502 for what is no HTTP."""
        bench = self.cache()
        self.origin.reply(b"SSH-2.0-OpenSSH\r\n\r\n")
        self.assertEqual(bench.get(b"/").status, 502)

    def test_origin_switches_although_it_was_not_asked(self) -> None:
        """A 101 without ``Upgrade`` in the request is an error of the origin."""
        bench = self.cache("proxy_set_header Upgrade websocket;")
        self.origin.reply(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        self.assertEqual(bench.get(b"/").status, 502)

    def cut_short(self, version: bytes, framing: bytes) -> Any:
        bench = self.cache()

        def answer(connection: Any, request: Any) -> None:
            connection.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\n" + framing)
            connection.reset()

        self.origin.default = answer
        client = bench.client()
        client.send(b"GET / HTTP/%b\r\nHost: test.example\r\n\r\n" % version)
        bench.advance(1)
        return client

    def test_a_body_of_known_length_cut_short(self) -> None:
        """RFC 9112 §8: what came is passed on, the rest is visibly missing, nothing is stored."""
        client = self.cut_short(b"1.1", b"Content-Length: 10\r\n\r\nabc")
        self.assertTrue(client.received.endswith(b"\r\n\r\nabc"))
        self.assertIn(b"Content-Length: 10", client.received)
        self.assertTrue(client.transport.lost)
        self.origin.default = response(200, b"whole")
        answer = self.bench.get(b"/")
        self.assertEqual((answer.body, answer.get(b"x-cache")), (b"whole", b"MISS"))

    def test_a_chunked_body_cut_short(self) -> None:
        """RFC 9112 §8: no last chunk."""
        client = self.cut_short(b"1.1", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        self.assertTrue(client.received.endswith(b"3\r\nabc\r\n"))
        self.assertTrue(client.transport.lost)

    def test_an_unframed_body_cut_short(self) -> None:
        """For HTTP/1.0 only a reset tells the end from a whole response's."""
        client = self.cut_short(b"1.0", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        self.assertTrue(client.transport.aborted)

    def test_a_fault_is_answered_with_500(self) -> None:
        """An exception of ours neither hangs the request nor breaks the connection."""
        bench = self.cache()

        def enter(exchange: object, route: object) -> None:
            raise RuntimeError("a fault")

        self.patch(Exchange, "enter", enter)
        self.assertEqual(bench.get(b"/").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class RequestTests(WebCase):
    """What the origin gets."""

    def seen(self, *fields: bytes, method: bytes = b"GET", **more: Any) -> Any:
        """The request as the origin has it."""
        self.origin.default = response(200, b"x")
        self.bench.client().request(method, b"/a?b", *fields, **more)
        return self.origin.requests[-1]

    def test_fields(self) -> None:
        """Every line goes on; those that concern the connection do not."""
        self.cache()
        seen = self.seen(
            b"X-One: 1", b"x-two: a", b"X-TWO: b", b"Connection: keep-alive, X-Hop", b"TE: trailers"
        )
        self.assertEqual(seen.line, b"GET /a?b HTTP/1.1")
        pairs = [(name.lower(), value) for name, value in seen.pairs]
        self.assertIn((b"x-one", b"1"), pairs)
        self.assertEqual([value for name, value in pairs if name == b"x-two"], [b"a", b"b"])
        self.assertIsNone(seen.get(b"te"))
        self.assertEqual(seen.get(b"host"), b"test.example")
        self.assertEqual(seen.get(b"x-real-ip"), b"192.0.2.1")
        self.assertEqual(seen.get(b"x-forwarded-proto"), b"http")
        self.assertEqual(seen.get(b"x-forwarded-port"), b"80")

    def test_names_that_nginx_drops(self) -> None:
        """``underscores_in_headers off``: a gateway could take them for other fields."""
        self.cache()
        self.assertIsNone(self.seen(b"X_Real_IP: 203.0.113.9").get(b"x_real_ip"))

    def test_upgrade_is_not_forwarded(self) -> None:
        """RFC 9110 §7.8: a handshake is an ordinary request here."""
        self.cache("proxy_set_header Upgrade $http_upgrade; proxy_websocket on;")
        seen = self.seen(
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Version: 13",
        )
        self.assertIsNone(seen.get(b"upgrade"))

    def test_body(self) -> None:
        """RFC 9110 §9.3.3: a body goes on to the byte, with a length."""
        self.cache()
        for body in (b"", b"x", LARGE):
            seen = self.seen(method=b"POST", body=body)
            self.assertEqual(seen.body, body)
            self.assertEqual(seen.get(b"content-length") or b"0", b"%d" % len(body))

    def test_form(self) -> None:
        """A form that ``twisted.web`` has parsed for itself is still whole."""
        self.cache()
        kind = b"Content-Type: application/x-www-form-urlencoded"
        self.assertEqual(self.seen(kind, method=b"POST", body=b"a=1&b=2").body, b"a=1&b=2")

    def test_chunked_body(self) -> None:
        """RFC 9112 §7.1: chunks are read here and sent with a length."""
        bench = self.cache()
        self.origin.default = response(200, b"x")
        client = bench.client()
        client.send(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        self.assertEqual(client.response().status, 200)
        seen = self.origin.requests[-1]
        self.assertEqual((seen.body, seen.get(b"content-length")), (b"abcde", b"5"))
        self.assertIsNone(seen.get(b"transfer-encoding"))

    def test_unbuffered_body_waits_for_the_origin(self) -> None:
        """``proxy_request_buffering off``: the origin's pace holds the body back."""
        bench = self.cache("proxy_request_buffering off;")
        self.origin.default = response(200, b"x")
        self.seen()
        upstream = self.origin.last.transport
        upstream.hold()
        client = bench.client()
        client.send(message(b"POST", b"/", body=LARGE))
        self.assertLess(len(upstream.held), len(LARGE))
        for _ in range(40):
            upstream.release(1 << 20)
            bench.reactor.settle()
        upstream.release()
        bench.reactor.settle()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.origin.requests[-1].body, LARGE)

    def test_body_that_is_too_large(self) -> None:
        """``client_max_body_size``: 413, and the connection ends as nginx ends it."""
        bench = self.cache(max_body_size="1k")
        client = bench.client()
        answer = client.request(b"POST", b"/", body=b"x" * 1025)
        self.assertEqual((answer.status, answer.get(b"connection")), (413, b"close"))
        self.assertEqual(self.origin.requests, [])
        bench.reactor.settle()
        self.assertTrue(client.transport.lost)

    def test_a_body_is_kept_while_the_cache_is_asked(self) -> None:
        """``proxy_cache_methods POST``: the disk may answer after the body has come."""
        bench = self.cache(
            "proxy_cache_methods POST; proxy_cache_key $request_uri;", cache_memory="0"
        )
        self.origin.default = response(200, b"x", FRESH)
        bench.client().request(b"POST", b"/", body=b"one")
        bench.advance(100)
        bench.disk.hold()
        client = bench.client()
        client.send(message(b"POST", b"/", body=b"two"))
        self.assertEqual(len(self.origin.requests), 1)
        bench.disk.release()
        bench.reactor.settle()
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.origin.requests[-1].body, b"two")

    def refused(self, data: bytes) -> int:
        client = self.bench.client()
        client.send(data)
        self.assertEqual(self.origin.requests, [])
        return client.response().status

    def test_what_the_server_refuses(self) -> None:
        """RFC 9112 §3.2, §6.1: ``twisted.web`` lets these through; the rules are the server's."""
        self.cache()
        for data, status in (
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417),
            (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        ):
            self.assertEqual(self.refused(data), status, data)

    def test_absolute_form(self) -> None:
        """RFC 9112 §3.2.2: the target's authority takes the place of Host."""
        bench = self.cache()
        self.origin.default = response(200, b"x")
        client = bench.client()
        client.send(b"GET http://other.example/x HTTP/1.1\r\nHost: test.example\r\n\r\n")
        self.assertEqual(client.response().status, 200)
        seen = self.origin.requests[-1]
        self.assertEqual((seen.target, seen.get(b"host")), (b"/x", b"other.example"))

    def test_client_of_a_unix_socket_is_called_unix(self) -> None:
        """As in nginx."""
        bench = self.cache()
        self.origin.default = response(200, b"x")
        bench.client(peer=UNIXAddress(None)).get(b"/")
        self.assertEqual(self.origin.requests[-1].get(b"x-real-ip"), b"unix:")

    def test_client_without_an_address_is_not_called_unix(self) -> None:
        """What Twisted cannot name might be anyone: ``allow unix:`` must not let it in."""
        bench = self.cache(directives="allow unix:; deny all;")
        self.origin.default = response(200, b"x")
        self.assertEqual(bench.client(peer=object()).get(b"/").status, 403)
        self.assertEqual(bench.client(peer=UNIXAddress(None)).get(b"/").status, 200)
