"""Purge requests end to end in memory: what goes, what is answered, and who may."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Fields
from cacheproxy.proxy.cache.purge_requests import InvalidPurge, PurgeOrder, parse_purge
from tests.proxy.cache.test_lookup import FRESH, CachingCase, counting
from tests.proxy.harness import Client, OriginConnection, Request, Response, message, response

#: nginx's documented way: the address and the method make a purge request.
BY_ADDRESS = (
    "geo $purge_allowed { default 0; 10.0.0.0/8 1; }"
    "map $request_method $purge_method { PURGE $purge_allowed; default 0; }"
)
BY_METHOD = "map $request_method $purge_method { PURGE 1; default 0; }"


class PurgingCase(CachingCase):
    """A cache that the clients from 10.0.0.0/8 may purge; others come from 192.0.2.1."""

    def purgeable(self, options: str = "", server: str = "", **settings: str) -> None:
        """The bench; its origin tells a running number."""
        http = BY_ADDRESS + settings.pop("http", "")
        self.cache(f"proxy_cache_purge $purge_method; {options}", server, http, **settings)
        self.answers(FRESH)

    def refuses(self, *fields: bytes) -> None:
        """As ``answers``; the origin does not know PURGE.

        If it did, the URI would be out of date for that reason (RFC 9111 §4.4).
        """
        count = counting(FRESH, *fields)

        def answer(connection: OriginConnection, request: Request) -> None:
            if request.method == b"PURGE":
                connection.send(response(405, b"no"))
            else:
                count(connection, request)  # type: ignore[operator]

        self.origin.default = answer

    def admin(self) -> Client:
        """A connection of one who may purge."""
        return self.bench.client(peer=IPv4Address("TCP", "10.0.0.1", 5000))

    def purge(self, target: bytes = b"/", *fields: bytes) -> tuple[int, bytes | None]:
        """(status, Cache-Purged) of a purge; never a word with the origin."""
        before = len(self.origin.requests)
        answer = self.admin().request(b"PURGE", target, *fields)
        self.assertEqual(len(self.origin.requests), before)
        self.assertIsNone(answer.get(b"cache-status"))
        return answer.status, answer.get(b"cache-purged")

    def stored(self, *targets: bytes, fields: tuple[bytes, ...] = ()) -> None:
        """*targets* are stored."""
        for target in targets:
            self.seen(target, *fields)
            self.assertEqual(self.seen(target, *fields)[0], b"HIT", target)

    def states(self, *targets: bytes) -> str:
        """H or M (or another first letter) for each, by one GET."""
        return "".join([(self.seen(target)[0] or b"-").decode()[0] for target in targets])


class OrderTests(SynchronousTestCase):
    """``parse_purge``."""

    def order(self, *lines: tuple[bytes, bytes]) -> PurgeOrder:
        return parse_purge(Fields(list(lines)))

    def test_words(self) -> None:
        """In any order and case, in one line or several."""
        self.assertEqual(self.order(), PurgeOrder())
        self.assertEqual(self.order((b"Cache-Purge", b"hard")), PurgeOrder())
        self.assertEqual(self.order((b"Cache-Purge", b" , ")), PurgeOrder())
        soft = PurgeOrder(b"host", soft=True)
        self.assertEqual(self.order((b"Cache-Purge", b"Host ,\tSOFT")), soft)
        self.assertEqual(
            self.order((b"Cache-Purge", b"soft"), (b"cache-purge", b"host")), soft
        )
        self.assertEqual(
            self.order((b"Cache-Purge", b"all"), (b"Fastly-Soft-Purge", b"1")),
            PurgeOrder(b"all", soft=True),
        )
        self.assertEqual(self.order((b"Fastly-Soft-Purge", b"0")), PurgeOrder())

    def test_tags(self) -> None:
        """Each of the three fields."""
        found = self.order((b"Surrogate-Key", b"a b"), (b"Cache-Tag", b"c,d"), (b"xkey", b"e"))
        self.assertEqual(found.tags, {b"a", b"b", b"c", b"d", b"e"})

    def test_unclear(self) -> None:
        """What is not understood is not half understood."""
        for lines in (
            [(b"Cache-Purge", b"everything")],
            [(b"Cache-Purge", b"host, url")],
            [(b"Cache-Purge", b"all=1")],
            [(b"Cache-Purge", b"host, all")],
            [(b"Cache-Purge", b"soft, hard")],
            [(b"Cache-Purge", b"hard"), (b"Fastly-Soft-Purge", b"1")],
            [(b"Cache-Purge", b"host"), (b"xkey", b"a")],
            [(b"Surrogate-Key", b"")],
            [(b"Cache-Tag", b" , ")],
            [(b"xkey", b" ".join(b"%d" % number for number in range(1000)))],
            [(b"xkey", b"x" * 5000)],
        ):
            with self.assertRaises(InvalidPurge, msg=repr(lines)):
                parse_purge(Fields(lines))


class SelectionTests(PurgingCase):
    """What goes, and what stays."""

    def test_one_url(self) -> None:
        """204 and the count; the next GET goes to the origin; a second purge finds nothing."""
        self.purgeable()
        self.stored(b"/a", b"/b", b"/a?b")
        answer = self.admin().request(b"PURGE", b"/a")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual(answer.get(b"cache-purged"), b"1")
        self.assertIsNone(answer.get(b"content-length"))
        self.assertEqual(self.purge(b"/a"), (404, b"0"))
        self.assertEqual(self.states(b"/a", b"/b", b"/a?b"), "MHH")

    def test_nothing_there(self) -> None:
        """404 with a short text, on a connection that goes on."""
        self.purgeable()
        client = self.admin()
        answer = client.request(b"PURGE", b"/none")
        self.assertEqual((answer.status, answer.get(b"cache-purged")), (404, b"0"))
        self.assertEqual(answer.body, b"nothing was stored under this key\n")
        self.assertEqual(answer.get(b"content-type"), b"text/plain")
        self.assertEqual(client.get(b"/").status, 200)

    def test_from_the_fast_path(self) -> None:
        """What is ready to send on an open connection goes too."""
        self.purgeable()
        client = self.bench.client()
        for _ in range(3):
            client.get(b"/a")
        self.assertEqual(client.get(b"/a").get(b"x-cache"), b"HIT")
        self.assertEqual(self.purge(b"/a"), (204, b"1"))
        self.assertEqual(client.get(b"/a").get(b"x-cache"), b"MISS")

    def test_all_variants(self) -> None:
        """Of Vary, with their gzip forms, and parts of the whole."""
        self.purgeable("gzip on; gzip_types *; gzip_min_length 1;")
        self.answers(FRESH, b"Vary: Accept-Language")
        for language in (b"de", b"en", b"fr"):
            fields = (b"Accept-Language: " + language, b"Accept-Encoding: gzip")
            self.stored(b"/a", fields=fields)
        self.assertEqual(self.purge(b"/a", b"Accept-Language: de"), (204, b"3"))
        for language in (b"de", b"en", b"fr"):
            state, _ = self.seen(b"/a", b"Accept-Language: " + language)
            self.assertEqual(state, b"MISS", language)

    def test_parts(self) -> None:
        """A stored part is of the same URL."""
        self.purgeable("proxy_cache_max_range_offset 0;")
        part = response(206, b"56789", FRESH, b'ETag: "e"', b"Content-Range: bytes 5-9/100")
        self.origin.reply(part, part)
        self.seen(b"/a", b"Range: bytes=5-9")
        self.assertEqual(self.seen(b"/a", b"Range: bytes=5-9")[0], b"HIT")
        self.assertEqual(self.purge(b"/a")[0], 204)
        self.assertEqual(self.seen(b"/a", b"Range: bytes=5-9")[0], b"MISS")

    def test_other_methods(self) -> None:
        """What a POST or an unconverted HEAD has stored is of the same URL."""
        self.purgeable("proxy_cache_methods POST; proxy_cache_convert_head off;")
        for method in (b"GET", b"POST"):
            self.ask(b"/a", method=method)
        self.origin.reply(response(200, b"", FRESH))
        self.ask(b"/a", method=b"HEAD")
        self.assertEqual(self.purge(b"/a"), (204, b"3"))
        self.assertEqual(self.ask(b"/a", method=b"POST").get(b"x-cache"), b"MISS")
        self.ask(b"/b", method=b"POST")
        self.assertEqual(self.purge(b"/*")[1], b"2")

    def test_prefix(self) -> None:
        """An asterisk at the end of the URI; 204 also for none."""
        self.purgeable()
        self.stored(b"/d/a", b"/d/b?c", b"/e", b"/d")
        self.assertEqual(self.purge(b"/d/*"), (204, b"2"))
        self.assertEqual(self.purge(b"/d/*"), (204, b"0"))
        self.assertEqual(self.states(b"/d/a", b"/d/b?c", b"/e", b"/d"), "MMHH")
        self.assertEqual(self.purge(b"/d/b?*"), (204, b"1"))
        self.assertEqual(self.purge(b"/*"), (204, b"3"))

    def test_prefix_stays_on_its_host(self) -> None:
        """The key has the host before the path."""
        self.purgeable()
        self.stored(b"/a")
        self.stored(b"/a", fields=(b"Host: other.example",))
        self.assertEqual(self.purge(b"/*"), (204, b"1"))
        self.assertEqual(self.seen(b"/a", b"Host: other.example")[0], b"HIT")

    def test_asterisk_that_was_not_written(self) -> None:
        """Encoded, or from elsewhere than the URI, it stands for itself."""
        self.purgeable("proxy_cache_key $uri$http_x_part;")
        self.stored(b"/d/a", b"/d/%2A")
        self.assertEqual(self.purge(b"/d/%2A"), (204, b"1"))
        self.assertEqual(self.states(b"/d/a"), "H")
        self.assertEqual(self.purge(b"/d/", b"X-Part: *"), (404, b"0"))
        self.assertEqual(self.purge(b"/d/*", b"X-Part: end"), (404, b"0"))
        self.assertEqual(self.states(b"/d/a"), "H")

    def test_host(self) -> None:
        """Everything of the host, whatever the URI and the key."""
        self.purgeable("proxy_cache_key $uri$http_host;")
        self.stored(b"/a", b"/b")
        self.stored(b"/a", fields=(b"Host: other.example",))
        self.assertEqual(self.purge(b"/zzz", b"Cache-Purge: host"), (204, b"2"))
        self.assertEqual(self.seen(b"/a", b"Host: other.example")[0], b"HIT")
        self.assertEqual(
            self.purge(b"/", b"Cache-Purge: host", b"Host: OTHER.example:80"), (204, b"1")
        )
        self.assertEqual(self.purge(b"/", b"Cache-Purge: host", b"Host: none"), (204, b"0"))

    def test_all(self) -> None:
        """The whole zone, every host."""
        self.purgeable()
        self.stored(b"/a")
        self.stored(b"/b", fields=(b"Host: other.example",))
        self.assertEqual(self.purge(b"/", b"Cache-Purge: ALL"), (204, b"2"))
        self.assertEqual(self.states(b"/a"), "M")

    def test_tags(self) -> None:
        """Any of the tags, from any of the fields; the URI does not matter."""
        self.purgeable()
        for target, field in (
            (b"/a", b"Surrogate-Key: one two"),
            (b"/b", b"Cache-Tag: two, three"),
            (b"/c", b"xkey: four"),
        ):
            self.answers(FRESH, field)
            self.stored(target)
        self.assertEqual(self.purge(b"/c", b"Surrogate-Key: two"), (204, b"2"))
        self.answers(FRESH)
        self.assertEqual(self.states(b"/a", b"/b", b"/c"), "MMH")
        self.assertEqual(self.purge(b"/", b"Cache-Tag: nothing, four"), (204, b"1"))
        self.assertEqual(self.purge(b"/", b"xkey: nothing"), (204, b"0"))

    def test_key_of_a_get(self) -> None:
        """Also where the key names the method, or reads a field of the request."""
        self.purgeable("proxy_cache_key $request_method$uri$cookie_lang;")
        self.stored(b"/a", fields=(b"Cookie: lang=de",))
        self.assertEqual(self.purge(b"/a"), (404, b"0"))
        self.assertEqual(self.purge(b"/a", b"Cookie: lang=de"), (204, b"1"))

    def test_map_over_the_method_in_the_key(self) -> None:
        """What the condition made of the method is not what the key has of it."""
        http = "map $purge_method $kind { 1 purge; default plain; }"
        self.purgeable("proxy_cache_key $kind$uri;", http=http)
        self.stored(b"/a")
        self.assertEqual(self.purge(b"/a"), (204, b"1"))

    def test_unclear(self) -> None:
        """400, and nothing has gone."""
        self.purgeable()
        self.stored(b"/")
        for field in (b"Cache-Purge: evrything", b"Cache-Purge: soft, hard", b"xkey:"):
            self.assertEqual(self.purge(b"/", field), (400, None))
        self.assertEqual(self.states(b"/"), "H")

    def test_key_where_get_goes_elsewhere(self) -> None:
        """``limit_except`` may lead a PURGE to another upstream; the key is a GET's."""
        self.purgeable("limit_except GET { proxy_pass http://127.0.0.1:8001; }")
        self.stored(b"/a")
        self.assertEqual(self.purge(b"/a"), (204, b"1"))

    def test_query_that_does_not_count(self) -> None:
        """The key is that of a GET there as well."""
        self.purgeable("proxy_cache_ignore_args utm_*; proxy_cache_sort_args on;")
        self.stored(b"/a?c=d&b")
        self.assertEqual(self.seen(b"/a?b&c=d&utm_source=x")[0], b"HIT")
        self.assertEqual(self.purge(b"/a?utm_medium=y&b&c=d"), (204, b"1"))
        self.assertEqual(self.states(b"/a?c=d&b"), "M")

    def test_what_fields_outside_of_the_key_made(self) -> None:
        """A response of its own for a field that could poison is of the same URL."""
        self.purgeable()
        self.stored(b"/a")
        self.stored(b"/a", fields=(b"X-Forwarded-Host: evil.example",))
        self.assertEqual(self.purge(b"/a")[0], 204)
        self.assertEqual(self.states(b"/a"), "M")
        self.assertEqual(self.seen(b"/a", b"X-Forwarded-Host: evil.example")[0], b"MISS")

    def test_zone_with_variables(self) -> None:
        """The zone that the request leads to."""
        self.purgeable(http="map $arg_z $zone { '' z; default none; }")
        text = self.bench.runtime.config.zones
        self.assertEqual(set(text), {"z"})
        self.bench.reload(
            "proxy_cache_path cache levels=1:2 keys_zone=z:1m inactive=1h;"
            f"{BY_ADDRESS} map $arg_z $zone {{ '' z; default none; }}"
            "server { listen 127.0.0.1:80; location / { proxy_pass http://127.0.0.1:8000;"
            "add_header X-Cache $upstream_cache_status; proxy_cache $zone;"
            "proxy_cache_purge $purge_method; } }"
        )
        self.stored(b"/a")
        self.assertEqual(self.purge(b"/a"), (204, b"1"))
        self.assertEqual(self.purge(b"/a?z=1"), (404, b"0"))


class RangeKeyTests(PurgingCase):
    """Keys that end in a range."""

    def test_slices(self) -> None:
        """One purge takes every slice of the URI, and no other's."""
        self.purgeable(
            "slice 10; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;"
            "proxy_cache_valid 200 206 1h;"
        )
        self.origin.default = sliced
        for target in (b"/a", b"/ab"):
            self.assertEqual(self.seen(target), (b"MISS", b"0123456789" * 3))
            self.assertEqual(self.seen(target)[0], b"HIT")
        self.assertEqual(self.purge(b"/a"), (204, b"3"))
        self.assertEqual(self.purge(b"/a"), (404, b"0"))
        self.assertEqual(self.states(b"/a", b"/ab"), "MH")
        self.assertEqual(self.purge(b"/a*"), (204, b"6"))

    def test_ranges(self) -> None:
        """As nginx stores ranges; one of them can be named by its Range."""
        self.purgeable(
            "proxy_cache_key $uri$http_range; proxy_set_header Range $http_range;"
            "proxy_cache_valid 200 206 1h;"
        )
        self.origin.default = sliced
        first, second = b"Range: bytes=0-4", b"Range: bytes=5-9"
        for field in (first, second):
            self.stored(b"/a", fields=(field,))
        self.assertEqual(self.purge(b"/a", first), (204, b"1"))
        self.assertEqual(self.seen(b"/a", second)[0], b"HIT")
        self.assertEqual(self.seen(b"/a", first)[0], b"MISS")
        self.assertEqual(self.purge(b"/a"), (204, b"2"))


def sliced(connection: OriginConnection, request: Request) -> None:
    """An origin of 30 bytes that knows ranges."""
    body = b"0123456789" * 3
    start, stop = map(int, (request.get(b"range") or b"bytes=0-29")[6:].split(b"-"))
    stop = min(stop, 29)
    lines = [FRESH, b'ETag: "e"', b"Content-Range: bytes %d-%d/30" % (start, stop)]
    connection.send(response(206, body[start : stop + 1], *lines))


class SoftTests(PurgingCase):
    """``Cache-Purge: soft``."""

    def test_stale_once_then_fresh(self) -> None:
        """Nobody waits: the old one goes out while the new one comes."""
        self.purgeable()
        self.stored(b"/a")
        self.assertEqual(self.purge(b"/a", b"Cache-Purge: soft"), (204, b"1"))
        state, body = self.seen(b"/a")
        self.assertIn(state, (b"STALE", b"UPDATING"))
        self.assertEqual(body, b"1")
        self.assertEqual(len(self.origin.requests), 2)
        self.assertEqual(self.seen(b"/a"), (b"HIT", b"2"))

    def test_ready_responses_are_stale_too(self) -> None:
        """On the fast path."""
        self.purgeable()
        client = self.bench.client()
        for _ in range(3):
            client.get(b"/a")
        self.purge(b"/a", b"Fastly-Soft-Purge: 1")
        self.assertIn(client.get(b"/a").get(b"x-cache"), (b"STALE", b"UPDATING"))
        self.assertEqual(client.get(b"/a").body, b"2")

    def test_by_every_selection(self) -> None:
        """Each can be soft."""
        self.purgeable()
        self.answers(FRESH, b"Surrogate-Key: t")
        for target, field in (
            (b"/*", b"Cache-Purge: soft"),
            (b"/", b"Cache-Purge: soft, host"),
            (b"/", b"Cache-Purge: soft, all"),
            (b"/", b"Fastly-Soft-Purge: 1\r\nSurrogate-Key: t"),
        ):
            self.stored(b"/a")
            self.assertEqual(self.purge(target, field), (204, b"1"), field)
            self.assertIn(self.seen(b"/a")[0], (b"STALE", b"UPDATING"), field)

    def test_nothing_there(self) -> None:
        """404 as for a hard one."""
        self.purgeable()
        self.assertEqual(self.purge(b"/a", b"Cache-Purge: soft"), (404, b"0"))


class AnswerTests(PurgingCase):
    """When and how it is answered."""

    def test_when_the_disk_is_done(self) -> None:
        """Not before, so that a reader of the answer can rely on it."""
        self.purgeable()
        self.stored(b"/a")
        self.bench.disk.hold()
        client = self.admin()
        client.send(message(b"PURGE", b"/a"))
        self.assertEqual(client.received, b"")
        self.bench.disk.release()
        self.bench.reactor.settle()
        self.assertEqual(client.response().status, 204)

    def test_client_that_goes(self) -> None:
        """What it ordered is done all the same."""
        self.purgeable()
        self.stored(b"/a")
        self.bench.disk.hold()
        client = self.admin()
        client.send(message(b"PURGE", b"/a"))
        client.vanish()
        self.bench.disk.release()
        self.bench.reactor.settle()
        self.assertEqual(self.states(b"/a"), "M")

    def test_body_is_read_past(self) -> None:
        """A purge request may bring one."""
        self.purgeable()
        self.stored(b"/a")
        client = self.admin()
        self.assertEqual(client.request(b"PURGE", b"/a", body=b"x" * 1000).status, 204)
        self.assertEqual(client.get(b"/a").status, 200)

    def test_http_1_0(self) -> None:
        """The same."""
        self.purgeable()
        self.stored(b"/a")
        client = self.admin()
        client.send(b"PURGE /a HTTP/1.0\r\nHost: test.example\r\n\r\n")
        self.assertEqual(client.response().status, 204)

    def test_host_is_needed_for_a_host(self) -> None:
        """Without one it is not all hosts."""
        self.cache()
        self.bench.reload(
            "proxy_cache_path cache levels=1:2 keys_zone=z:1m inactive=1h;"
            f"{BY_ADDRESS} server {{ listen 127.0.0.1:80; location / {{ proxy_cache z;"
            "proxy_pass http://127.0.0.1:8000; proxy_cache_purge $purge_method; } }"
        )
        client = self.admin()
        client.send(b"PURGE / HTTP/1.0\r\nCache-Purge: host\r\n\r\n")
        self.assertEqual(client.response().status, 400)

    def test_log(self) -> None:
        """The status, and no word of the cache: a purge is neither a hit nor a miss."""
        log = 'log_format l "$request_method $status [$upstream_cache_status] $upstream_addr";'
        self.purgeable("access_log access.log l;", http=log)
        self.stored(b"/a")
        self.purge(b"/a")
        self.purge(b"/a")
        lines = [line for line in self.bench.log() if line.startswith("PURGE")]
        self.assertEqual(lines, ["PURGE 204 [-] -", "PURGE 404 [-] -"])

    def test_error_pages_are_left_out(self) -> None:
        """They could lead to the origin."""
        self.purgeable("error_page 404 400 /page;")
        self.assertEqual(self.purge(b"/a"), (404, b"0"))
        self.assertEqual(self.purge(b"/a", b"Cache-Purge: x"), (400, None))

    def test_fill_under_way(self) -> None:
        """What was asked for before the purge is not stored after it."""
        self.purgeable()
        self.origin.default = None
        client = self.bench.client()
        client.send(message(b"GET", b"/a"))
        self.bench.advance(1)
        self.assertEqual(self.purge(b"/a"), (404, b"0"))
        self.origin.last.send(response(200, b"old", FRESH))
        self.assertEqual(client.response().body, b"old")
        self.answers(FRESH)
        self.assertEqual(self.seen(b"/a")[0], b"MISS")


class ConditionTests(PurgingCase):
    """Which requests are purge requests."""

    def test_nobody_wrote_it(self) -> None:
        """Then there is no purging: the origin gets the request, whatever its fields."""
        self.cache()
        self.refuses()
        self.stored(b"/a")
        for fields in ((), (b"Cache-Purge: all",), (b"Surrogate-Key: a", b"Fastly-Soft-Purge: 1")):
            answer = self.admin().request(b"PURGE", b"/a", *fields)
            self.assertEqual(answer.status, 405)
            self.assertIsNone(answer.get(b"cache-purged"))
        self.assertEqual(self.origin.requests[-1].method, b"PURGE")
        self.assertEqual(self.states(b"/a"), "H")

    def test_any_method(self) -> None:
        """Whatever the conditions say, as in nginx; empty and 0 say no."""
        self.cache("proxy_cache_purge 0 '' $arg_purge; proxy_cache_key $uri;")
        self.answers(FRESH)
        self.stored(b"/a")
        for args in (b"?purge=", b"?purge=0", b"?purge"):
            self.assertEqual(self.seen(b"/a" + args)[0], b"HIT")
        self.assertEqual(self.ask(b"/a?purge=00").status, 204)
        self.assertEqual(self.ask(b"/a?purge=1").status, 404)
        self.assertEqual(self.states(b"/a"), "M")

    def test_inherited(self) -> None:
        """From the level around; a location's own list replaces it."""
        self.serve(
            "proxy_pass http://127.0.0.1:8000;",
            "proxy_cache z; proxy_cache_purge 1;"
            "location /own/ { proxy_cache_purge 0; proxy_pass http://127.0.0.1:8000; }",
            "proxy_cache_path cache keys_zone=z:1m;",
        )
        self.answers(FRESH)
        self.assertEqual(self.ask(b"/a").status, 404)
        self.assertEqual(self.ask(b"/own/a").status, 200)

    def test_no_cache_in_the_location(self) -> None:
        """Nothing is there, and the origin hears nothing of it."""
        self.purgeable(server="location /off { proxy_cache off; proxy_pass http://127.0.0.1:8000;"
                       "proxy_cache_purge $purge_method; }")  # fmt: skip
        self.stored(b"/a")
        self.assertEqual(self.purge(b"/off"), (404, b"0"))
        self.assertEqual(self.purge(b"/off", b"Cache-Purge: all"), (404, b"0"))
        self.assertEqual(self.states(b"/a"), "H")

    def test_files(self) -> None:
        """The directive is one of proxying: for files it says nothing."""
        self.serve("root www; proxy_cache_purge 1;")
        self.bench.write("www/a", b"file")
        self.assertEqual(self.ask(b"/a").body, b"file")

    def is_hot(self) -> bool:
        """Whether a hit is kept ready."""
        client = self.bench.client()
        for _ in range(3):
            client.get(b"/a")
        (factory,) = self.bench.factories.values()
        return any(route.ready for route in factory.site.routes.values())

    def test_hits_stay_fast(self) -> None:
        """Where a GET can be told at load to be no purge, in nginx's own setup too."""
        self.purgeable()
        self.assertTrue(self.is_hot())
        for condition in ("$arg_purge", "0", "$uri", "$http_x_purge", "$purge_allowed"):
            self.cache(f"proxy_cache_purge {condition};", http=BY_ADDRESS)
            self.answers(FRESH)
            expected = condition in ("$arg_purge", "0")
            self.assertEqual(self.is_hot(), expected, condition)

    def test_get_that_is_a_purge_after_hits(self) -> None:
        """A condition on a field is asked for every request, however ready the answer is."""
        self.cache("proxy_cache_purge $http_x_purge;")
        self.answers(FRESH)
        client = self.bench.client()
        for _ in range(3):
            client.get(b"/a")
        self.assertEqual(client.get(b"/a", b"X-Purge: 1").status, 204)
        self.assertEqual(client.get(b"/a").get(b"x-cache"), b"MISS")


class GuardTests(PurgingCase):
    """Who may not, may not: nothing goes, by whatever means."""

    #: What an outsider may try, beside the plain request.
    TRICKS = (
        (b"X-Forwarded-For: 10.0.0.1",),
        (b"X-Real-IP: 10.0.0.1", b"Forwarded: for=10.0.0.1"),
        (b"X-HTTP-Method-Override: PURGE",),
        (b"Cache-Purge: all",),
        (b"Cache-Purge: host", b"X-Forwarded-Host: test.example"),
        (b"Surrogate-Key: tag",),
        (b"Host: 10.0.0.1",),
    )

    def outside(self, method: bytes, target: bytes, *fields: bytes) -> Response:
        """A request from elsewhere."""
        return self.bench.client().request(method, target, *fields)

    def try_everything(self, expected: int) -> None:
        """Each trick is answered with *expected* (a GET with 200), and all is still stored."""
        self.refuses(b"Surrogate-Key: tag")
        self.stored(b"/a", b"/b")
        for fields in ((), *self.TRICKS):
            for target in (b"/a", b"/*", b"/%2A", b"/a?*"):
                answer = self.outside(b"PURGE", target, *fields)
                self.assertEqual(answer.status, expected, (target, fields))
                self.assertIsNone(answer.get(b"cache-purged"))
                self.assertIsNone(self.outside(b"GET", target, *fields).get(b"cache-purged"))
        client = self.bench.client()
        client.send(b"PURGE /a HTTP/1.0\r\nHost: test.example\r\n\r\n")
        self.assertEqual(client.response().status, expected)
        self.assertEqual(self.states(b"/a", b"/b"), "HH")

    def test_by_geo(self) -> None:
        """Who is not in the list makes no purge request; the origin may say what it is."""
        self.purgeable()
        self.try_everything(405)
        # Two of the tricks have fields that could steer the answer, and entries of their own.
        self.assertEqual(self.purge(b"/a"), (204, b"3"))

    def test_by_limit_except(self) -> None:
        """GET is for all, the rest for a few."""
        self.cache(
            "proxy_cache_purge $purge_method; limit_except GET { allow 10.0.0.0/8; deny all; }",
            http=BY_METHOD,
        )
        self.try_everything(403)
        self.assertEqual(self.purge(b"/a"), (204, b"3"))
        lines = self.bench.log("error.log")
        self.assertTrue(any("access forbidden by rule, client: 192.0.2.1" in x for x in lines))

    def test_by_allow_and_deny(self) -> None:
        """A server of its own for those who purge, with the other's zone."""
        zone = "proxy_cache z; proxy_pass http://127.0.0.1:8000;"
        self.cache(
            server="location /purge/ { allow 10.0.0.0/8; deny all; proxy_cache_purge 1;"
            f"proxy_cache_key http127.0.0.1:8000$http_host$arg_uri; {zone} }}"
        )
        self.answers(FRESH)
        self.stored(b"/a")
        self.assertEqual(self.outside(b"GET", b"/purge/?uri=/a").status, 403)
        self.assertEqual(self.states(b"/a"), "H")
        self.assertEqual(self.admin().get(b"/purge/?uri=/a").status, 204)
        self.assertEqual(self.states(b"/a"), "M")

    def test_method_in_another_case(self) -> None:
        """Methods have one (RFC 9110 §9.1); a map has none, which must let nobody in."""
        self.cache(
            "proxy_cache_purge $purge_method; limit_except GET HEAD { deny all; }",
            http=BY_METHOD,
        )
        self.answers(FRESH)
        self.stored(b"/a")
        for method in (b"purge", b"Purge", b"pURGE", b"get", b"PURGE\x00", b"PURGES"):
            client = self.bench.client()
            client.send(message(method, b"/a"))
            self.assertIn(client.response().status, (400, 403), method)
        self.assertEqual(self.states(b"/a"), "H")

    def test_refused_through_an_error_page(self) -> None:
        """The page of the refusal is a GET, and purges nothing."""
        self.cache(
            "proxy_cache_purge $purge_method; limit_except GET { deny all; } error_page 403 /a;",
            http=BY_METHOD,
        )
        self.answers(FRESH)
        self.stored(b"/a")
        self.assertEqual(self.outside(b"PURGE", b"/a").status, 403)
        self.assertEqual(self.states(b"/a"), "H")


class LimitExceptTests(CachingCase):
    """``limit_except`` and what is kept ready or remembered of a route."""

    def test_methods_have_their_own_way(self) -> None:
        """A GET that is limited, a HEAD that is not: neither takes the other's key or answer."""
        self.cache("limit_except HEAD { proxy_pass http://127.0.0.1:8001; }")
        self.answers(FRESH)
        self.bench.origin(8001).default = response(200, b"limited", FRESH)
        client = self.bench.client()
        for _ in range(3):
            self.assertEqual(client.get(b"/a").body, b"limited")
            self.assertEqual(client.request(b"HEAD", b"/a").status, 200)
        self.assertEqual(len(self.origin.requests), 1)
        self.assertEqual(len(self.bench.origin(8001).requests), 1)

    def test_refused_after_hits(self) -> None:
        """What is ready for one client is refused to another, on the fast path."""
        self.cache("allow 10.0.0.0/8; deny all;")
        self.answers(FRESH)
        inside = self.bench.client(peer=IPv4Address("TCP", "10.0.0.1", 5000))
        for _ in range(3):
            self.assertEqual(inside.get(b"/a").status, 200)
        for _ in range(2):
            self.assertEqual(self.bench.get(b"/a").status, 403)
        self.assertEqual(inside.get(b"/a").get(b"x-cache"), b"HIT")
