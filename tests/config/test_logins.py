"""Warnings about cookies in cached locations."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.builders import http

ZONE = "proxy_cache_path /c keys_zone=z:1m;"
IGNORE = "proxy_ignore_headers Set-Cookie;"


def warned(directives: str, more: str = "", pattern: str = "/") -> list[str]:
    """The warnings about a location that caches."""
    config = http(
        f"{ZONE} {more} server {{ proxy_cache z; location {pattern} {{ proxy_pass http://a;"
        f" {directives} }} location /plain {{ return 204; }} }}"
    )
    return [text.rpartition(" in ")[0] for text in config.warnings]


class WarningTests(SynchronousTestCase):
    """What is said at load."""

    def test_ignored_cookies(self) -> None:
        """Once, and not where something asks who is logged in."""
        said = warned(IGNORE)
        self.assertEqual(len(said), 1)
        self.assertIn("logged in", said[0])
        self.assertEqual(len(warned("", IGNORE)), 1)
        session = "map $http_cookie $session { default 0; ~s 1; }"
        for directives in (
            "proxy_no_cache $cookie_sessionid;",
            "proxy_cache_bypass $http_cookie;",
            "proxy_cache_key $uri$cookie_sessionid;",
            "proxy_cache_cookies sessionid;",
            "proxy_no_cache $session;",
            "proxy_cache off;",
        ):
            self.assertEqual(warned(IGNORE + directives, session), [], directives)
        self.assertEqual(warned(IGNORE, pattern=r"~* \.(css|js)$"), [])

    def test_cookies_sent_otherwise(self) -> None:
        """A header made of a cookie that does not count."""
        for value in ("$cookie_user", "$http_cookie", "$mapped"):
            said = warned(
                f"proxy_cache_cookies sessionid; proxy_set_header X {value};",
                "map $cookie_user $mapped { default $cookie_user; }",
            )
            self.assertEqual(len(said), 1, value)
            self.assertIn("does not count", said[0])
        self.assertEqual(
            warned("proxy_cache_cookies user; proxy_set_header X $cookie_user;"), []
        )
