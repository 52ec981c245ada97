"""Rows of proxying."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.options import ProxyOptions, ProxyRedirect
from cacheproxy.template import Template
from tests.config.builders import Request, faults, http, location


class ProxyTests(SynchronousTestCase):
    """Converters of ``directives_proxy``."""

    def test_defaults(self) -> None:
        """Without directives: those of the record, which are those of newer nginx."""
        proxy = location("").proxy
        self.assertEqual(proxy, ProxyOptions())
        self.assertEqual(proxy.http_version, "1.1")
        self.assertEqual(proxy.redirect, (ProxyRedirect(default=True),))

    def test_variables_in_proxy_pass(self) -> None:
        """The URL is kept to be rendered, and there is no default redirect to derive from it."""
        proxy = location("proxy_pass http://$host$request_uri;").proxy
        assert proxy.proxy_pass is not None and proxy.proxy_pass.template is not None
        rendered = proxy.proxy_pass.template.render(Request(host=b"a", request_uri=b"/b"))
        self.assertEqual(rendered, b"http://a/b")
        self.assertEqual(proxy.redirect, ())

    def test_upstream_of_proxy_pass(self) -> None:
        """A group by its name in any case, else an implicit one per address, made once."""
        config = http(
            """
            server {
                location /a { proxy_pass http://APP/x; }
                location /b { proxy_pass http://10.0.0.1; }
                location /c { proxy_pass http://10.0.0.1:80/y; }
                location /d { proxy_pass https://10.0.0.1; }
            }
            upstream app { server 10.0.0.2:81; }
            """
        )
        names = [
            place.proxy.proxy_pass.upstream
            for place in config.servers[0].root.locations
            if place.proxy.proxy_pass is not None
        ]
        self.assertEqual(names, ["app", "10.0.0.1:80", "10.0.0.1:80", "10.0.0.1:443"])
        self.assertEqual(set(config.upstreams), {"app", "10.0.0.1:80", "10.0.0.1:443"})
        implicit = config.upstreams["10.0.0.1:80"]
        self.assertEqual(implicit.keepalive, 32)

    def test_proxy_pass_is_not_inherited(self) -> None:
        """A nested location has no handler of its own unless it says so."""
        outer = location("proxy_pass http://a; location /b { }")
        self.assertIsNotNone(outer.proxy.proxy_pass)
        self.assertIsNone(outer.locations[0].proxy.proxy_pass)

    def test_set_header(self) -> None:
        """The list of a level replaces the outer one; names keep their case."""
        outside = "proxy_set_header A a; proxy_set_header B b;"
        inherited = location("", outside).proxy.set_header
        self.assertEqual([name for name, _ in inherited], [b"A", b"B"])
        own = location('proxy_set_header X-c "";', outside).proxy.set_header
        self.assertEqual([(name, value.constant) for name, value in own], [(b"X-c", b"")])

    def test_names_of_fields(self) -> None:
        """Lower case, gathered from several directives."""
        proxy = location(
            "proxy_hide_header X-A; proxy_hide_header X-B; proxy_pass_header Server;"
            "proxy_ignore_headers Set-Cookie Cache-Control;"
        ).proxy
        self.assertEqual(proxy.hide_header, {b"x-a", b"x-b"})
        self.assertEqual(proxy.pass_header, {b"server"})
        self.assertEqual(proxy.ignore_headers, {b"set-cookie", b"cache-control"})

    def test_redirect(self) -> None:
        """off, default, texts with variables, regular expressions."""
        self.assertEqual(location("proxy_redirect off;").proxy.redirect, ())
        rules = location(
            "proxy_pass http://a; proxy_redirect default; proxy_redirect http://b/ /$host/;"
            "proxy_redirect ~*^http://(?<h>[^/]+)/ /$h/$1/;"
        ).proxy.redirect
        self.assertTrue(rules[0].default)
        assert rules[1].redirect is not None and rules[1].replacement is not None
        self.assertEqual(rules[1].redirect.constant, b"http://b/")
        assert rules[2].regex is not None
        self.assertIsNotNone(rules[2].regex.search(b"HTTP://C/"))

    def test_next_upstream(self) -> None:
        """off is nothing."""
        self.assertEqual(location("").proxy.next_upstream, {"error", "timeout"})
        self.assertEqual(location("proxy_next_upstream off;").proxy.next_upstream, frozenset())
        words = location("proxy_next_upstream error http_502;").proxy.next_upstream
        self.assertEqual(words, {"error", "http_502"})

    def test_tls(self) -> None:
        """``proxy_ssl_*`` fill a record of their own."""
        tls = location(
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name $host;"
            "proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3; proxy_ssl_crl crl.pem;"
        ).proxy.ssl
        self.assertEqual(tls.trusted_certificate, "/etc/proxy/ca.pem")
        self.assertEqual(tls.protocols, {"TLSv1.3"})
        self.assertTrue(tls.verify and tls.server_name and tls.name is not None)

    def test_websocket(self) -> None:
        """A directive of ours."""
        self.assertTrue(location("proxy_websocket on;").proxy.websocket)

    def test_store(self) -> None:
        """What the URI names, or a path with variables; modes by who may do what."""
        self.assertIs(location("").proxy.store, False)
        self.assertIs(location("proxy_store off;").proxy.store, False)
        self.assertIs(location("proxy_store on;").proxy.store, True)
        path = location("proxy_store /data$uri;").proxy.store
        assert isinstance(path, Template)
        self.assertEqual(path.render(Request(uri=b"/a")), b"/data/a")
        for words, mode in (
            ("user:rw group:rw all:r", 0o664),
            ("group:r", 0o640),
            ("all:rw", 0o606),
            ("user:r", 0o400),
        ):
            access = location(f"proxy_store_access {words};").proxy.store_access
            self.assertEqual(access, mode, words)

    def test_store_or_cache(self) -> None:
        """Not both on one level; further in, one ends the other."""
        zone = "proxy_cache_path /z keys_zone=z:1m;"
        for text in ("proxy_store on; proxy_cache z;", "proxy_cache z; proxy_store on;"):
            self.assertIn("is incompatible with", faults(f"{zone} {text}")[0])
        for outer, inner, stored, cached in (
            ("proxy_store on;", "", True, False),
            ("proxy_cache z;", "", False, True),
            ("proxy_store on;", "proxy_cache z;", False, True),
            ("proxy_cache z;", "proxy_store on;", True, False),
            ("proxy_cache z;", "proxy_store off;", False, True),
            ("proxy_store on;", "proxy_cache off;", True, False),
            ("proxy_store on; proxy_cache off;", "", True, False),
            ("proxy_store off; proxy_cache z;", "", False, True),
        ):
            config = http(f"{zone} server {{ {outer} location / {{ {inner} }} }}")
            found = config.servers[0].root.locations[0]
            self.assertEqual(
                (found.proxy.store, found.cache.cache is not None),
                (stored, cached),
                (outer, inner),
            )

    def test_refused(self) -> None:
        """Words that are none of the directive's."""
        for text in (
            "proxy_ignore_headers Host;",
            "proxy_next_upstream sometimes;",
            "proxy_http_version 2;",
            "proxy_redirect on;",
            "proxy_redirect ~( /;",
            "proxy_ssl_protocols TLSv2;",
            "proxy_ssl_certificate $host;",
            "proxy_store_access other:r;",
            "proxy_store_access user:w;",
            "proxy_store_access user:rw user:r group:r all:r;",
        ):
            self.assertTrue(faults(text), text)
