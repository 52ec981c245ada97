"""``policy.storing``: what is stored, what is not and why, and what of it is kept."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.fields import Pairs
from cacheproxy.policy.freshness import LifetimeSource
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.storing import NoStore, NoStoreReason, Store, decide_storing, supersedes
from cacheproxy.policy.tags import MAX_TAGS
from cacheproxy.template import Template
from tests.policy.builders import NOW, cache_options, date, request, response

CC = b"Cache-Control"


def decide(
    *pairs: tuple[bytes, bytes],
    status: int = 200,
    asked: Pairs | None = None,
    method: bytes = b"GET",
    options: CacheOptions | None = None,
    ignore: frozenset[bytes] = frozenset(),
    no_cache: bool = False,
    request_time: float = NOW,
) -> Any:
    """The decision on a response with the field lines *pairs*."""
    return decide_storing(
        request(*(asked or []), method=method),
        response(*pairs, status=status),
        options or cache_options(),
        ignore,
        no_cache,
        b"key",
        request_time,
        NOW,
    )


class _Case(SynchronousTestCase):
    def assert_not_stored(
        self, reason: NoStoreReason, *pairs: tuple[bytes, bytes], **with_: Any
    ) -> None:
        decision = decide(*pairs, **with_)
        self.assertIsInstance(decision, NoStore, pairs)
        self.assertIs(decision.reason, reason)

    def assert_stored(self, *pairs: tuple[bytes, bytes], **with_: Any) -> Store:
        decision = decide(*pairs, **with_)
        assert isinstance(decision, Store), decision
        return decision


class ForbiddenTests(_Case):
    """RFC 9111 §3: the ways of not storing."""

    def test_tags_that_are_not_kept(self) -> None:
        """A purge by tag must find whatever has it, so what it would not find is not stored."""
        fresh = (CC, b"max-age=9")
        many = b" ".join(b"%d" % number for number in range(MAX_TAGS + 1))
        self.assert_not_stored(NoStoreReason.TAGS, fresh, (b"Surrogate-Key", many))
        self.assert_not_stored(
            NoStoreReason.TAGS, fresh, (b"xkey", b"a"), (b"Connection", b"xkey")
        )
        self.assert_stored(fresh, (b"Surrogate-Key", b"a b"))

    def test_request_forbids(self) -> None:
        """Cache off, proxy_no_cache, other methods, and the request's no-store (§5.2.1.5)."""
        fresh = (CC, b"max-age=60")
        self.assert_not_stored(NoStoreReason.CACHE_OFF, fresh, options=CacheOptions())
        self.assert_not_stored(NoStoreReason.PROXY_NO_CACHE, fresh, no_cache=True)
        self.assert_not_stored(NoStoreReason.METHOD, fresh, method=b"POST")
        self.assert_not_stored(NoStoreReason.REQUEST_NO_STORE, fresh, asked=[(CC, b"no-store")])

    def test_response_forbids(self) -> None:
        """no-store and private, however fresh the response is (§5.2.2.5, §5.2.2.7)."""
        self.assert_not_stored(NoStoreReason.NO_STORE, (CC, b"max-age=60, No-StOrE"))
        self.assert_not_stored(NoStoreReason.PRIVATE, (CC, b"private, max-age=60"))
        valid = cache_options({200: 60})
        self.assert_not_stored(NoStoreReason.NO_STORE, (CC, b"no-store"), options=valid)

    def test_statuses(self) -> None:
        """Any final status can be stored but 206 and 304 (§3)."""
        for status in (200, 204, 299, 301, 302, 404, 410, 499, 500, 503, 599):
            self.assert_stored((CC, b"max-age=60"), status=status)
        self.assert_not_stored(NoStoreReason.PARTIAL, (CC, b"max-age=60"), status=206)
        self.assert_not_stored(NoStoreReason.STATUS, (CC, b"max-age=60"), status=304)

    def test_must_understand(self) -> None:
        """It lifts no-store for a known status and forbids an unknown one (§5.2.2.3)."""
        self.assert_not_stored(
            NoStoreReason.NOT_UNDERSTOOD, (CC, b"max-age=60, must-understand"), status=599
        )
        self.assert_stored((CC, b"max-age=60, no-store, must-understand"))

    def test_vary_any(self) -> None:
        """``*`` anywhere in Vary matches no request (§4.1); it can be ignored."""
        for value in (b"*", b"*, *", b", *", b"*, Foo", b"Foo, *"):
            self.assert_not_stored(NoStoreReason.VARY_ANY, (CC, b"max-age=60"), (b"Vary", value))
        lines = ((CC, b"max-age=60"), (b"Vary", b""), (b"Vary", b"*"))
        self.assert_not_stored(NoStoreReason.VARY_ANY, *lines)
        self.assert_stored(*lines, ignore=frozenset({b"vary"}))

    def test_no_freshness(self) -> None:
        """Nothing says how long: not stored, even with a validator (no heuristics)."""
        self.assert_not_stored(NoStoreReason.NO_FRESHNESS, (b"Last-Modified", date(-1000)))
        self.assert_not_stored(NoStoreReason.NO_FRESHNESS, (CC, b"public"))

    def test_stale_without_validator(self) -> None:
        """It could never be used; with a validator, or a stale window, it can."""
        self.assert_not_stored(NoStoreReason.EXPIRED, (CC, b"max-age=0"))
        self.assert_not_stored(NoStoreReason.EXPIRED, (CC, b"max-age=60"), (b"Age", b"60"))
        self.assert_not_stored(NoStoreReason.EXPIRED, (CC, b"max-age=60"), (b"Age", b"60, 0"))
        self.assert_stored((CC, b"max-age=0"), (b"ETag", b'"a"'))
        self.assert_stored((CC, b"max-age=0, stale-while-revalidate=30"))

    def test_parts(self) -> None:
        """A part is stored when it says which one it is and was asked for (§3.3)."""
        lines = ((CC, b"max-age=60"), (b"Content-Range", b"bytes 0-4/10"))
        asked = [(b"Range", b"bytes=0-4")]
        kept = self.assert_stored(*lines, status=206, asked=asked).stored
        self.assertEqual(kept.vary, ((b":range", b"bytes=0-4"),))
        self.assert_not_stored(NoStoreReason.PARTIAL, *lines, status=206)
        self.assert_not_stored(
            NoStoreReason.PARTIAL, lines[0], (b"Content-Range", b"bytes 4-0/10"),
            status=206, asked=asked,
        )  # fmt: skip
        self.assert_not_stored(NoStoreReason.STATUS, *lines, status=416, asked=asked)

    def test_authorization(self) -> None:
        """Only what allows sharing explicitly is shared (§3.5)."""
        asked = [(b"Authorization", b"Basic x")]
        self.assert_not_stored(NoStoreReason.AUTHORIZATION, (CC, b"max-age=60"), asked=asked)
        for extra in (b"public", b"must-revalidate", b"s-maxage=60"):
            self.assert_stored((CC, b"max-age=60, " + extra), asked=asked)
        keyed = Template(
            "$http_authorization", lambda _: b"", None, frozenset({"http_authorization"})
        )
        self.assert_stored((CC, b"max-age=60"), asked=asked, options=cache_options(key=keyed))

    def test_set_cookie(self) -> None:
        """A cookie is for one user; once ignored it is not kept with the response."""
        lines = ((CC, b"max-age=60"), (b"Set-Cookie", b"a=b"))
        self.assert_not_stored(NoStoreReason.SET_COOKIE, *lines)
        stored = self.assert_stored(*lines, ignore=frozenset({b"set-cookie"})).stored
        self.assertNotIn(b"set-cookie", stored.fields)
        accel = ((b"X-Accel-Expires", b"60"), (b"Set-Cookie", b"a=b"))
        self.assert_not_stored(NoStoreReason.SET_COOKIE, *accel)


class OperatorTests(_Case):
    """nginx's order: X-Accel-Expires, then the response, then proxy_cache_valid."""

    def lifetime(self, *pairs: tuple[bytes, bytes], **with_: Any) -> tuple[float, LifetimeSource]:
        """Lifetime and source of a stored response."""
        store = self.assert_stored(*pairs, **with_)
        return store.stored.lifetime, store.source

    def test_accel_expires_wins(self) -> None:
        """Even over no-store and private, as in nginx; 0 forbids."""
        for value in (b"max-age=5", b"no-store", b"private, max-age=9"):
            found = self.lifetime((CC, value), (b"X-Accel-Expires", b"60"))
            self.assertEqual(found, (60.0, LifetimeSource.X_ACCEL_EXPIRES))
        self.assert_not_stored(
            NoStoreReason.ACCEL_EXPIRES, (CC, b"max-age=9"), (b"X-Accel-Expires", b"0")
        )
        ignored = self.lifetime(
            (CC, b"max-age=5"),
            (b"X-Accel-Expires", b"60"),
            ignore=frozenset({b"x-accel-expires"}),
        )
        self.assertEqual(ignored, (5.0, LifetimeSource.MAX_AGE))

    def test_valid_is_for_silent_responses(self) -> None:
        """The status's own time, else that of ``any``; never over what the response says."""
        options = cache_options({200: 60, None: 7})
        self.assertEqual(self.lifetime(options=options), (60.0, LifetimeSource.PROXY_CACHE_VALID))
        self.assertEqual(self.lifetime(options=options, status=404)[0], 7.0)
        self.assertEqual(self.lifetime((CC, b"max-age=5"), options=options)[0], 5.0)
        self.assertEqual(self.lifetime((CC, b"public"), options=options)[0], 60.0)
        self.assert_not_stored(
            NoStoreReason.NO_FRESHNESS, options=cache_options({404: 60}), status=200
        )
        self.assert_not_stored(NoStoreReason.NO_FRESHNESS, options=cache_options({200: 0}))

    def test_valid_counts_from_receipt(self) -> None:
        """The operator's time is not shortened by the age that the response came with."""
        stored = self.assert_stored((b"Age", b"1000"), options=cache_options({200: 60})).stored
        self.assertEqual(stored.fresh_until, NOW + 60)
        self.assertEqual(stored.age(NOW), 1000.0)

    def test_ignored_headers(self) -> None:
        """``proxy_ignore_headers Cache-Control Expires`` leaves it to proxy_cache_valid."""
        found = self.lifetime(
            (CC, b"no-store, private"),
            (b"Expires", b"0"),
            options=cache_options({200: 60}),
            ignore=frozenset({b"cache-control", b"expires"}),
        )
        self.assertEqual(found, (60.0, LifetimeSource.PROXY_CACHE_VALID))

    def test_targeted_field_replaces_cache_control(self) -> None:
        """CDN-Cache-Control, when it parses, is the only one that counts (RFC 9213 §2.2)."""
        found = self.lifetime((CC, b"no-store"), (b"CDN-Cache-Control", b"max-age=60"))
        self.assertEqual(found, (60.0, LifetimeSource.TARGETED))
        self.assert_not_stored(
            NoStoreReason.NO_STORE, (CC, b"max-age=60"), (b"CDN-Cache-Control", b"no-store")
        )
        malformed = self.lifetime((CC, b"max-age=5"), (b"CDN-Cache-Control", b"max-age = 60"))
        self.assertEqual(malformed, (5.0, LifetimeSource.MAX_AGE))


class StoredTests(_Case):
    """RFC 9111 §3.1: what a stored response is made of."""

    def test_fields_that_are_not_kept(self) -> None:
        """Hop-by-hop, nominated, addressed to this proxy, and named by qualified directives."""
        stored = self.assert_stored(
            (CC, b'max-age=60, no-cache="x-a", private="x-b"'),
            (b"Connection", b"x-c, close"),
            (b"Keep-Alive", b"timeout=5"),
            (b"X-A", b"1"),
            (b"X-B", b"1"),
            (b"X-C", b"1"),
            (b"X-D", b"1"),
            (b"Age", b"3"),
            (b"Content-Length", b"5"),
            (b"X-Accel-Buffering", b"no"),
            (b"Proxy-Authenticate", b"x"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Date", date()),
        ).stored
        self.assertEqual([name for name, _ in stored.fields], [CC, b"X-D", b"Date"])
        self.assertEqual(stored.initial_age, 3.0)

    def test_date_is_added(self) -> None:
        """A response without Date is stored with the time of receipt (RFC 9110 §6.6.1)."""
        stored = self.assert_stored((CC, b"max-age=60")).stored
        self.assertEqual(stored.fields.get(b"date"), date())

    def test_validation_flags(self) -> None:
        """no-cache is stored to be validated; what forbids staleness is remembered."""
        stored = self.assert_stored((CC, b"no-cache"), (b"ETag", b'"a"')).stored
        self.assertTrue(stored.always_validate)
        self.assert_not_stored(NoStoreReason.NO_CACHE, (CC, b"max-age=60, no-cache"))
        for value in (b"must-revalidate", b"proxy-revalidate", b"s-maxage=9"):
            stored = self.assert_stored((CC, b"max-age=60, " + value)).stored
            self.assertTrue(stored.must_revalidate, value)
        self.assertFalse(self.assert_stored((CC, b"max-age=60")).stored.must_revalidate)

    def test_stale_windows_and_ages(self) -> None:
        """RFC 5861's seconds, the response delay, and the key."""
        stored = self.assert_stored(
            (CC, b"max-age=60, stale-while-revalidate=10, stale-if-error=20"),
            request_time=NOW - 2,
        ).stored
        self.assertEqual((stored.stale_while_revalidate, stored.stale_if_error), (10.0, 20.0))
        self.assertEqual((stored.initial_age, stored.key), (2.0, b"key"))

    def test_vary_is_taken_from_the_request(self) -> None:
        """The selecting fields' values, sorted by name, None for an absent one (§4.1)."""
        stored = self.assert_stored(
            (CC, b"max-age=60"), (b"Vary", b"Foo, bar"), asked=[(b"foo", b"1")]
        ).stored
        self.assertEqual(stored.vary, ((b"bar", None), (b"foo", b"1")))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    [CC, b"Age", b"Expires", b"Date", b"Vary", b"X-Accel-Expires", b"Set-Cookie"]
                ),
                st.one_of(
                    st.binary(max_size=20),
                    st.sampled_from([b"no-store", b"private", b"max-age=60", b"10", b"*"]),
                ),
            ),
            max_size=6,
        ),
        st.integers(100, 999),
    )
    def test_hostile_heads_never_raise(self, pairs: Pairs, status: int) -> None:
        """Any head gets a decision; forbidding directives hold where nothing overrides them."""
        decision = decide(*pairs, status=status, options=cache_options({None: 60}))
        lone = [value for name, value in pairs if name == CC]
        if lone == [b"no-store"] and not any(name == b"X-Accel-Expires" for name, _ in pairs):
            self.assertIsInstance(decision, NoStore)
        if isinstance(decision, Store):
            self.assertNotIn(b"set-cookie", decision.stored.fields)
            self.assertGreaterEqual(decision.stored.age(NOW), 0.0)


class HeuristicTests(_Case):
    """``proxy_cache_heuristic`` (RFC 9111 §4.2.2)."""

    MODIFIED = (b"Last-Modified", date(-1000))

    def test_off_by_default(self) -> None:
        """Without the directive no lifetime is made up."""
        self.assert_not_stored(NoStoreReason.NO_FRESHNESS, self.MODIFIED)

    def test_a_tenth(self) -> None:
        """A tenth of the time since the last change, at most what the directive says."""
        for limit, wanted in ((3600.0, 100.0), (30.0, 30.0)):
            decision = self.assert_stored(self.MODIFIED, options=cache_options(heuristic=limit))
            self.assertEqual(decision.stored.lifetime, wanted)
            self.assertIs(decision.source, LifetimeSource.HEURISTIC)

    def test_anything_explicit_wins(self) -> None:
        """The response's own lifetime, and the operator's."""
        options = cache_options({200: 7}, heuristic=3600.0)
        self.assertEqual(self.assert_stored(self.MODIFIED, options=options).stored.lifetime, 7.0)
        decision = self.assert_stored(self.MODIFIED, (CC, b"max-age=5"), options=options)
        self.assertEqual(decision.stored.lifetime, 5.0)
        self.assert_not_stored(
            NoStoreReason.NO_FRESHNESS,
            self.MODIFIED,
            status=500,
            options=cache_options(heuristic=9.0),
        )


class SupersedingTests(_Case):
    """What an answer that is not stored says of an older one that is."""

    def says(self, *pairs: tuple[bytes, bytes], **with_: Any) -> bool:
        decision = decide(*pairs, **with_)
        assert isinstance(decision, NoStore), decision
        return supersedes(decision, with_.get("status", 200))

    def test_not_shared_or_gone(self) -> None:
        """The older one must not come back."""
        for status in (200, 404, 500):
            for value in (b"no-store", b"private", b"private, max-age=60"):
                self.assertTrue(self.says((CC, value), status=status), value)
        for status in (404, 410, 451):
            self.assertTrue(self.says(status=status))
            self.assertTrue(self.says((CC, b"max-age=0"), status=status))

    def test_one_client_only(self) -> None:
        """It may still serve the others."""
        self.assertFalse(self.says())
        self.assertFalse(self.says(status=500))
        self.assertFalse(self.says((CC, b"max-age=60"), (b"Set-Cookie", b"a=b"), status=404))
        self.assertFalse(self.says((CC, b"max-age=60"), asked=[(CC, b"no-store")], status=404))
        self.assertFalse(self.says(status=404, no_cache=True))


class LoginTests(_Case):
    """What one visitor's cookies and requests must not do to the others."""

    def test_cookie_that_is_expressly_left_out(self) -> None:
        """A response that sets one is stored where it says that the rest may be shared."""
        cookie = (b"Set-Cookie", b"a=b")
        for value in (
            b"public, max-age=9",
            b"s-maxage=9",
            b'max-age=9, no-cache="Set-Cookie"',
            b'max-age=9, private="set-cookie, x"',
        ):
            stored = self.assert_stored((CC, value), cookie, (b"Set-Cookie2", b"c=d")).stored
            self.assertFalse({b"set-cookie", b"set-cookie2"} & set(stored.fields.names()))
        for value in (b"max-age=9", b"public, max-age=0", b"s-maxage=0, max-age=9", b"public"):
            for name in (b"Set-Cookie", b"Set-Cookie2"):
                self.assert_not_stored(
                    NoStoreReason.SET_COOKIE,
                    (CC, value),
                    (name, b"a=b"),
                    options=cache_options({None: 9}),
                )

    def test_heuristic_with_cookies(self) -> None:
        """A guess is no permission to share what somebody with cookies got."""
        modified = (b"Last-Modified", date(-1000))
        options = cache_options(heuristic=100.0)
        asked: Pairs = [(b"Cookie", b"s=1")]
        self.assert_stored(modified, options=options)
        self.assert_not_stored(NoStoreReason.COOKIE, modified, options=options, asked=asked)
        for more in ((CC, b"public"), (b"Vary", b"Cookie")):
            self.assert_stored(modified, more, options=options, asked=asked)
        # The operator's own word holds, as in nginx.
        self.assert_stored(modified, options=cache_options({200: 9}), asked=asked)

    def test_faults_of_one_request(self) -> None:
        """``any`` does not mean them; a code that is named does, and the origin's own word."""
        for status in (400, 401, 413, 429, 431):
            self.assert_not_stored(
                NoStoreReason.NO_FRESHNESS, status=status, options=cache_options({None: 9})
            )
            self.assert_stored(status=status, options=cache_options({status: 9}))
            self.assert_stored((CC, b"max-age=9"), status=status)
        for status in (403, 404, 405, 410, 414, 500, 503):
            self.assert_stored(status=status, options=cache_options({None: 9}))

    def test_encoded_content_varies(self) -> None:
        """Whoever cannot read the coding does not get it, though Vary is missing."""
        coded = (b"Content-Encoding", b"br")
        asked: Pairs = [(b"Accept-Encoding", b"br")]
        found = self.assert_stored((CC, b"max-age=9"), coded, asked=asked).stored
        self.assertEqual(found.vary, ((b"accept-encoding", b"br"),))
        ignored = self.assert_stored(
            (CC, b"max-age=9"), coded, asked=asked, ignore=frozenset({b"vary"})
        )
        self.assertEqual(ignored.stored.vary, ())

    def test_deception(self) -> None:
        """What only the operator declares shareable must be what it looks like."""
        page = (b"Content-Type", b"text/html")
        request_ = request()
        request_.target = b"/account/x.css"

        def decided(*pairs: tuple[bytes, bytes], **options: Any) -> Any:
            found = decide_storing(
                request_,
                response(page, *pairs),
                cache_options({200: 9}, **options),
                frozenset({b"cache-control"}),
                False,
                b"key",
                NOW,
                NOW,
            )
            return found.reason if isinstance(found, NoStore) else None

        self.assertIs(decided(), NoStoreReason.DECEPTION)
        self.assertIs(decided((CC, b"private")), NoStoreReason.DECEPTION)
        self.assertIsNone(decided((CC, b"public")))
        self.assertIsNone(decided(deception_armor=False))
