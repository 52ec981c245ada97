"""Who follows a response that is under way, who waits, and who goes to the origin."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

from cacheproxy.proxy.cache import sharing
from tests.proxy.cache.test_following import FRESH, FollowingCase, head
from tests.proxy.harness import OriginConnection, response


class SharingTests(FollowingCase):
    """The response under way is judged like a stored one (RFC 9111 §4)."""

    def test_other_variant(self) -> None:
        """It is fetched at once, and both are stored."""
        self.cache()
        leader = self.ask(b"Accept-Language: de")
        same, other = self.ask(b"Accept-Language: de"), self.ask(b"Accept-Language: en")
        origin = self.origin.last
        origin.send(head(2, b"Vary: Accept-Language") + b"d")
        self.assertEqual(self.asked, 2)
        late = self.ask(b"Accept-Language: en")
        self.assertEqual(self.asked, 2)
        self.origin.last.send(head(2, b"Vary: Accept-Language") + b"en")
        self.assertEqual([c.response().body for c in (other, late)], [b"en"] * 2)
        origin.send(b"e")
        self.assertEqual([c.response().body for c in (leader, same)], [b"de"] * 2)
        for language in (b"de", b"en"):
            answer = self.bench.get(b"/", b"Accept-Language: " + language)
            self.assertEqual((answer.body, answer.get(b"x-cache")), (language, b"HIT"))
        self.assertEqual(self.asked, 2)

    def test_variants_that_lead_in_a_circle(self) -> None:
        """An origin that names other fields each time does not keep a request going round."""
        self.cache()
        for a, b, named in ((1, 1, b"B"), (2, 2, b"A"), (7, 9, b"A"), (3, 9, b"B")):
            before = self.asked
            self.ask(b"X-A: %d" % a, b"X-B: %d" % b)
            self.assertEqual(self.asked, before + 1)
            self.origin.last.send(head(2, b"Vary: X-" + named) + b"x")
        # Under X-B: 2 grows a variant of X-A: 2, under X-A: 3 one of X-B: 9.
        client = self.ask(b"X-A: 3", b"X-B: 2")
        self.assertEqual(self.asked, 5)
        self.origin.last.send(response(200, b"own", FRESH))
        self.assertEqual(client.response().body, b"own")

    def test_reload(self) -> None:
        """Who comes after a reload shares what was under way before it."""
        _, origin = self.lead()
        origin.send(head(4) + b"ab")
        self.bench.reload(self.bench.text)
        late = self.ask()
        self.assertEqual(self.body_so_far(late), b"ab")
        origin.send(b"cd")
        self.assertEqual(late.response().body, b"abcd")
        self.assertEqual(self.asked, 1)

    def test_reload_without_the_zone(self) -> None:
        """Nobody is left waiting for a zone that is gone."""
        _, origin = self.lead()
        following, waiting = self.ask(), self.ask(b"Range: bytes=0-0,2-2")
        origin.send(head(4) + b"ab")
        self.bench.reload(self.bench.text.replace("levels=1:2", "levels=2"))
        self.assertTrue(following.transport.closed)
        self.bench.reactor.settle()
        self.origin.last.send(response(200, b"abcd", FRESH))
        self.assertEqual(waiting.response().body, b"abcd")

    def test_request_that_wants_a_new_one(self) -> None:
        """``no-cache``: the origin is asked at once, and the fill is not disturbed."""
        leader, origin = self.lead()
        waiter = self.ask(b"Cache-Control: no-cache")
        origin.send(head(4) + b"ab")
        late = self.ask(b"Cache-Control: no-cache")
        self.assertEqual(self.asked, 3)
        for number in (1, 2):
            self.origin.connections[number].send(response(200, b"new", FRESH))
        self.assertEqual([c.response().body for c in (waiter, late)], [b"new"] * 2)
        origin.send(b"cd")
        self.assertEqual(leader.response().body, b"abcd")
        self.assertEqual(self.bench.get(b"/").body, b"abcd")

    def test_response_that_must_be_validated(self) -> None:
        """``no-cache`` of the origin: each asks for itself, none after the other."""
        _, origin = self.lead()
        waiters = [self.ask() for _ in range(3)]
        line = b"Cache-Control: no-cache"
        origin.send(
            b"HTTP/1.1 200 OK\r\n" + line + b'\r\nETag: "e"\r\nContent-Length: 4\r\n\r\nab'
        )
        self.assertEqual(self.asked, 4)
        for connection in self.origin.connections[1:]:
            connection.send(response(200, b"own", line, b'ETag: "f"'))
        self.assertEqual([c.response().body for c in waiters], [b"own"] * 3)

    def test_validations_are_not_made_one_after_the_other(self) -> None:
        """Who waited for a 304 that does not do for it asks at once."""
        self.cache()
        line = b"Cache-Control: no-cache"
        self.origin.reply(response(200, b"page", line, b'ETag: "e"'))
        self.bench.get(b"/")
        clients = [self.ask() for _ in range(4)]
        self.assertEqual(self.asked, 2)
        self.origin.last.send(response(304, b"", line, b'ETag: "e"'))
        self.assertEqual(self.asked, 5)
        for connection in self.origin.connections:
            if not connection.closed:
                connection.send(response(304, b"", line, b'ETag: "e"'))
        self.assertEqual([c.response().body for c in clients], [b"page"] * 4)

    def test_stale_while_it_is_refreshed(self) -> None:
        """Who may not be given the stale one follows the refresh."""
        self.cache("proxy_cache_background_update on;")
        swr = b"Cache-Control: max-age=60, stale-while-revalidate=600"
        self.origin.reply(response(200, b"old", swr))
        self.bench.get(b"/")
        self.bench.advance(61)
        self.assertEqual(self.bench.get(b"/").body, b"old")
        self.origin.last.send(head(6) + b"ne")
        strict = self.ask(b"Cache-Control: max-age=30")
        self.assertEqual(self.body_so_far(strict), b"ne")
        self.assertEqual(self.bench.get(b"/").get(b"x-cache"), b"UPDATING")
        self.origin.last.send(b"west")
        self.assertEqual(strict.response().body, b"newest"[:2] + b"west")
        self.assertEqual(self.asked, 2)

    def test_lock_times_do_not_count_any_more(self) -> None:
        """Once a response has begun, neither its followers nor who comes then hurries."""
        _, origin = self.lead("proxy_cache_lock_timeout 3s; proxy_cache_lock_age 3s;")
        waiter = self.ask()
        self.bench.advance(2)
        origin.send(head(4) + b"a")
        self.bench.advance(20)
        late = self.ask()
        origin.send(b"bcd")
        self.assertEqual([c.response().body for c in (waiter, late)], [b"abcd"] * 2)
        self.assertEqual(self.asked, 1)

    def test_origin_that_fails_for_each(self) -> None:
        """``proxy_cache_lock_timeout`` is for all leaders together that come to nothing."""
        _, origin = self.lead("proxy_cache_lock_timeout 3s;")
        waiters = [self.ask() for _ in range(5)]
        self.bench.advance(2)
        origin.close()
        self.assertEqual(self.asked, 2)
        self.bench.advance(1.5)
        self.assertEqual(self.asked, 6)
        for connection in self.origin.connections[1:]:
            connection.send(response(200, b"own", FRESH))
        self.assertEqual([c.response().body for c in waiters], [b"own"] * 5)

    def test_old_leader_that_is_first_after_all(self) -> None:
        """The queue that a younger leader has taken over follows whoever begins first."""
        _, origin = self.lead("proxy_cache_lock_timeout 60s; proxy_cache_lock_age 3s;")
        self.bench.advance(4)
        self.ask()
        self.assertEqual(self.asked, 2)
        waiter = self.ask()
        origin.send(head(4) + b"ab")
        self.assertEqual(self.body_so_far(waiter), b"ab")
        origin.send(b"cd")
        self.assertEqual(waiter.response().body, b"abcd")
        self.assertEqual(self.asked, 2)

    def test_elsewhere(self) -> None:
        """A response that only names another place is shared with nobody."""
        self.cache(server="location /other { internal; return 200 other; }")
        leader, waiter = self.ask(), self.ask()
        accel = head(0, b"X-Accel-Redirect: /other")
        self.origin.default = accel
        self.origin.connections[0].send(accel)
        self.assertEqual([c.response().body for c in (leader, waiter)], [b"other"] * 2)
        answer = self.ask(method=b"HEAD").response(b"HEAD")
        self.assertEqual(answer.get(b"content-length"), b"5")
        self.assertEqual(self.asked, 3)

    def test_more_than_may_follow(self) -> None:
        """They go to the origin themselves, and what they get is not stored."""
        self.patch(sharing, "MAX_FOLLOWERS", 3)
        _, origin = self.lead()
        origin.send(head(4) + b"ab")
        followers = [self.ask() for _ in range(3)]
        self.assertEqual(self.asked, 1)
        alone = self.ask()
        self.assertEqual(self.asked, 2)
        followers[0].vanish()
        self.ask()
        self.assertEqual(self.asked, 2)
        self.origin.last.send(response(200, b"alone", FRESH))
        self.assertEqual(alone.response().get(b"x-cache"), b"MISS")
        origin.send(b"cd")
        self.assertEqual(followers[1].response().body, b"abcd")
        self.assertEqual(self.bench.get(b"/").body, b"abcd")

    def test_slices(self) -> None:
        """``slice``: each slice is shared while it comes, a broken one is asked for again."""
        self.cache(
            "slice 1k; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;"
            " proxy_cache_valid 206 1h;"
        )
        clients = [self.ask(), self.ask()]
        whole = bytes(at % 251 for at in range(2500))

        def begin(start: int, stop: int) -> OriginConnection:
            part = b"Content-Range: bytes %d-%d/%d" % (start, stop - 1, len(whole))
            length = b"Content-Length: %d" % (stop - start)
            lines = [b"HTTP/1.1 206 Part", part, b'ETag: "e"', length]
            origin = self.origin.last
            origin.send(b"\r\n".join(lines) + b"\r\n\r\n" + whole[start : start + 100])
            return origin

        origin = begin(0, 1024)
        for client in clients:
            self.assertEqual(self.body_so_far(client), whole[:100])
        origin.send(whole[100:1024])
        self.assertEqual(self.asked, 2)
        late = self.ask()
        begin(1024, 2048).reset()
        self.assertEqual(self.asked, 3)
        begin(1024, 2048).send(whole[1124:2048])
        self.assertEqual(self.asked, 4)
        begin(2048, 2500).send(whole[2148:])
        for client in (*clients, late):
            self.assertEqual(client.response().body, whole)
        self.assertEqual(self.asked, 4)

    def test_combination(self) -> None:
        """A response put together with a stored part is shared like any other."""
        self.cache()
        tag = b'ETag: "e"'
        part = response(206, b"01234", FRESH, tag, b"Content-Range: bytes 0-4/10")
        self.origin.reply(part)
        self.bench.get(b"/", b"Range: bytes=-10")
        clients = [self.ask(), self.ask()]
        self.assertEqual(self.origin.requests[1].get(b"range"), b"bytes=5-")
        rest = b"HTTP/1.1 206 P\r\n" + FRESH + b"\r\n" + tag
        rest += b"\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n"
        self.origin.last.send(rest + b"56")
        clients.append(self.ask())
        self.bench.reactor.settle()
        for client in clients:
            self.assertEqual(self.body_so_far(client), b"0123456")
        self.origin.last.send(b"789")
        for client in clients:
            self.assertEqual(client.response().body, b"0123456789")
        self.assertEqual(self.asked, 2)
