"""Rows of ``uwsgi_*``: those of their own, and the twins of ``proxy_*``."""

from __future__ import annotations

import dataclasses

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config import directives_cache, directives_proxy
from cacheproxy.config.directives import ROWS, TABLE
from cacheproxy.config.source import NGINX_DIRECTIVES
from cacheproxy.errors import ConfigErrors
from cacheproxy.policy.options import ProxyOptions
from tests.config.builders import faults, full, http, location

#: An argument that each kind of directive takes, for those that one of these does not fit.
WORDS = ("on", "1", "off", "64k", "any", "GET", "error", "TLSv1.2", "user:rw", "Expires", "x")


class TwinTests(SynchronousTestCase):
    """``uwsgi_x`` made from the row of ``proxy_x``."""

    def test_every_twin_exists(self) -> None:
        """What nginx has as both, and is served as ``proxy_x``, is served as ``uwsgi_x``."""
        shared = {
            name
            for name in NGINX_DIRECTIVES
            if name.startswith("uwsgi_") and name.replace("uwsgi_", "proxy_") in TABLE
        }
        self.assertGreater(len(shared), 45)
        self.assertEqual(shared - TABLE.keys(), set())

    def test_every_directive_of_nginx_is_known(self) -> None:
        """But for one that ``proxy_*`` lacks as well."""
        theirs = {name for name in NGINX_DIRECTIVES if name.startswith("uwsgi_")}
        self.assertLessEqual(theirs - TABLE.keys(), {"uwsgi_ssl_password_file"})

    def test_twins_agree(self) -> None:
        """Same places, same arguments, same destination, same inheritance, same effect."""
        for row in (*directives_proxy.ROWS, *directives_cache.ROWS):
            for twin in TABLE.get(row.name.replace("proxy_", "uwsgi_"), ()):
                if twin.name in ("uwsgi_pass", row.name):
                    continue
                for field in dataclasses.fields(row):
                    if field.name not in ("name", "apply", "note", "twin_of"):
                        self.assertEqual(
                            getattr(row, field.name), getattr(twin, field.name), twin.name
                        )

    def test_twins_concern_the_fast_path_alike(self) -> None:
        """Each has the rule of the row that it was made from."""
        twins = [row for row in ROWS if row.twin_of]
        self.assertGreater(len(twins), 60)
        for row in twins:
            self.assertEqual(row.hot, TABLE[row.twin_of][0].hot, row.name)

    def test_twins_fill_the_same_options(self) -> None:
        """Each directive with an argument that it takes: the records are equal."""
        zone = "proxy_cache_path /z keys_zone=x:1m;"
        checked = 0
        for row in (*directives_proxy.ROWS, *directives_cache.ROWS):
            twin = row.name.replace("proxy_", "uwsgi_")
            if row.name not in TABLE or twin not in TABLE or twin == row.name or row.arity[0] > 1:
                continue
            if twin == "uwsgi_pass" or row.merge.name == "GLOBAL":
                continue
            for word in WORDS:
                here = f"proxy_pass http://a:1; {row.name} {word};"
                try:
                    ours = location(here, zone)
                except ConfigErrors:
                    continue
                theirs = location(f"uwsgi_pass a:1; {twin} {word};", zone)
                self.assertEqual(theirs.cache, ours.cache, f"{twin} {word}")
                for field in dataclasses.fields(ProxyOptions):
                    if field.name not in self.OWN:
                        self.assertEqual(
                            getattr(theirs.proxy, field.name),
                            getattr(ours.proxy, field.name),
                            f"{twin} {word}",
                        )
                checked += 1
        self.assertGreater(checked, 100)

    #: What the protocol decides, or follows from the parameters.
    OWN = frozenset(
        {"protocol", "params", "set_header", "pass_header", "redirect", "proxy_pass", "reads"}
    )

    def test_refused_in_the_wrong_place(self) -> None:
        """nginx's words."""
        for text, message in {
            "server { uwsgi_pass a:1; }": '"uwsgi_pass" directive is not allowed here',
            "uwsgi_pass a:1;": '"uwsgi_pass" directive is not allowed here',
            "server { uwsgi_cache_path /z keys_zone=z:1m; }": (
                '"uwsgi_cache_path" directive is not allowed here'
            ),
            "upstream u { server a; uwsgi_param A b; }": (
                '"uwsgi_param" directive is not allowed here'
            ),
            "server { location / { limit_except GET { uwsgi_pass a:1; } } }": (
                '"uwsgi_pass" directive is not allowed here'
            ),
        }.items():
            self.assertEqual(faults(text), [message], text)

    def test_messages_name_the_twin(self) -> None:
        """Faults of one directive, and of several together."""
        for text, message in {
            "uwsgi_buffering maybe;": 'invalid value "maybe" in "uwsgi_buffering" directive, '
            'it must be "on" or "off"',
            "uwsgi_buffering on; uwsgi_buffering off;": '"uwsgi_buffering" directive is duplicate',
            "uwsgi_buffers 1 4k;": 'there must be at least 2 "uwsgi_buffers"',
            "uwsgi_cache nowhere;": '"uwsgi_cache" zone "nowhere" is unknown',
            "uwsgi_busy_buffers_size 1k;": '"uwsgi_busy_buffers_size" must be equal to or greater '
            'than the maximum of the value of "uwsgi_buffer_size" and one of the "uwsgi_buffers"',
            "uwsgi_store on; uwsgi_cache x;": (
                '"uwsgi_cache" directive is incompatible with "uwsgi_store"'
            ),
        }.items():
            found = faults(f"server {{ location / {{ uwsgi_pass a:1; {text} }} }}")
            self.assertEqual(found, [message])

    def test_families_are_inherited_apart(self) -> None:
        """``proxy_*`` of an outer level is not found by a location of uwsgi, nor the reverse."""
        found = http(
            """
            proxy_read_timeout 1s; uwsgi_read_timeout 2s; proxy_hide_header A; uwsgi_hide_header B;
            server {
                location /p { proxy_pass http://a; }
                location /u { uwsgi_pass a:1; }
                location /v { uwsgi_pass a:1; uwsgi_read_timeout 3s; uwsgi_hide_header C; }
            }
            """
        ).servers[0].root.locations
        times = [place.proxy.read_timeout for place in found]
        hidden = [place.proxy.hide_header for place in found]
        self.assertEqual(times, [1, 2, 3])
        self.assertEqual(hidden, [{b"a"}, {b"b"}, {b"c"}])

    def test_stray_lines_do_nothing(self) -> None:
        """``include uwsgi_params`` beside ``proxy_pass`` is common and harmless."""
        stray = "include uwsgi_params; uwsgi_read_timeout 9s; uwsgi_intercept_errors on;"
        plain = "proxy_pass http://a;"
        self.assertEqual(location(plain + stray).proxy, location(plain).proxy)


class PassTests(SynchronousTestCase):
    """``uwsgi_pass``."""

    def test_addresses(self) -> None:
        """With and without a scheme; a socket; a group in any case."""
        for text, scheme, name in (
            ("10.0.0.1:3031", b"uwsgi", "10.0.0.1:3031"),
            ("uwsgi://10.0.0.1:3031", b"uwsgi", "10.0.0.1:3031"),
            ("SUWSGI://10.0.0.1:3031", b"suwsgi", "10.0.0.1:3031"),
            ("[::1]:3031", b"uwsgi", "[::1]:3031"),
            ("unix:/run/a.sock", b"uwsgi", "unix:/run/a.sock"),
            ("unix:///run/a.sock", b"uwsgi", "unix:///run/a.sock"),
            ("Django", b"uwsgi", "django"),
        ):
            proxy = location(f"uwsgi_pass {text};", "upstream django { server b; }").proxy
            assert proxy.proxy_pass is not None
            self.assertEqual((proxy.proxy_pass.scheme, proxy.proxy_pass.upstream), (scheme, name))
            self.assertEqual(proxy.protocol, "uwsgi")

    def test_refused(self) -> None:
        """What names no server."""
        for text, message in {
            "a": 'no port in upstream "a"',
            "127.0.0.1": 'no port in upstream "127.0.0.1"',
            "unix:": 'no path in the unix domain socket in upstream "unix:"',
            "a:0": 'invalid port in upstream "a:0"',
            "a:1/x": 'invalid host in upstream "a:1/x"',
            "*:1": 'invalid host in upstream "*:1"',
            "http://a:1": 'invalid host in upstream "http://a:1"',
        }.items():
            self.assertEqual(faults(f"server {{ location / {{ uwsgi_pass {text}; }} }}"), [message])
        found = faults("upstream u { server a; } server { location / { uwsgi_pass u:1; } }")
        self.assertEqual(found, ['upstream "u" may not have port 1'])
        self.assertEqual(
            faults("server { location / { uwsgi_pass a:1; uwsgi_pass b:1; } }"),
            ['"uwsgi_pass" directive is duplicate'],
        )

    def test_the_last_handler_holds(self) -> None:
        """As in nginx, where both of two kinds are accepted."""
        both = ("proxy_pass http://a;", "uwsgi_pass a:1;")
        self.assertEqual(location("".join(both)).proxy.protocol, "uwsgi")
        self.assertEqual(location("".join(both[::-1])).proxy.protocol, "http")

    def test_not_inherited(self) -> None:
        """By an inner location; but by ``limit_except``."""
        outer = location(
            "uwsgi_pass a:1; limit_except GET { deny all; } location /b { uwsgi_param A b; }"
        )
        self.assertIsNone(outer.locations[0].proxy.proxy_pass)
        assert outer.limit_except is not None
        self.assertEqual(outer.limit_except.location.proxy, outer.proxy)

    def test_verification_needs_authorities(self) -> None:
        """``uwsgi_ssl_*`` is looked at where TLS is spoken."""
        text = "server {{ location / {{ uwsgi_pass {0}a:1; uwsgi_ssl_verify on; }} }}"
        self.assertEqual(
            faults(text.format("suwsgi://")),
            ["no uwsgi_ssl_trusted_certificate for uwsgi_ssl_verify"],
        )
        location("uwsgi_pass a:1; uwsgi_ssl_verify on;")


class ParamTests(SynchronousTestCase):
    """``uwsgi_param`` and the modifiers."""

    def params(self, text: str, outside: str = "") -> list[tuple[bytes, str, bool]]:
        """The parameters of a location."""
        found = location(f"uwsgi_pass a:1; {text}", outside).proxy.params
        return [(one.name, one.value.text, one.if_not_empty) for one in found]

    HOST = (b"HTTP_HOST", "$host$is_request_port$request_port", True)

    def test_list_is_inherited_whole_or_not_at_all(self) -> None:
        """nginx's rule for lists."""
        outside = "uwsgi_param A 1; uwsgi_param B $host if_not_empty;"
        inherited = [(b"A", "1", False), (b"B", "$host", True), self.HOST]
        self.assertEqual(self.params("", outside), inherited)
        self.assertEqual(self.params("uwsgi_param C 3;", outside), [(b"C", "3", False), self.HOST])

    def test_host_of_ones_own(self) -> None:
        """It takes the place of the default."""
        own = [(b"HTTP_HOST", "x", False)]
        self.assertEqual(self.params("uwsgi_param HTTP_HOST x;"), own)

    def test_bundled_params(self) -> None:
        """``include uwsgi_params`` where there is no such file."""
        names = [name for name, _, _ in self.params("include uwsgi_params;")]
        self.assertEqual(len(names), 15)
        self.assertIn((b"HTTPS", "$https", True), self.params("include uwsgi_params;"))

    def test_parameter(self) -> None:
        """Only one word may follow the value."""
        text = "server { uwsgi_param A b sometimes; }"
        self.assertEqual(faults(text), ['invalid parameter "sometimes"'])

    def test_modifiers(self) -> None:
        """One byte each."""
        proxy = location("uwsgi_pass a:1; uwsgi_modifier1 9; uwsgi_modifier2 255;").proxy
        self.assertEqual((proxy.modifier1, proxy.modifier2), (9, 255))
        self.assertEqual(
            faults("uwsgi_modifier1 256;"),
            ['"uwsgi_modifier1" directive value must be between 0 and 255'],
        )


class WarningTests(SynchronousTestCase):
    """What is worth a word at load names the family's directives."""

    def test_purge_and_logins(self) -> None:
        """As for ``proxy_pass``."""
        config = full(
            """
            http {
                uwsgi_cache_path /z keys_zone=z:1m;
                server { location / {
                    uwsgi_pass a:1; uwsgi_cache z; uwsgi_cache_purge $request_method;
                    uwsgi_ignore_headers Set-Cookie;
                } }
            }
            """
        )
        self.assertEqual(len(config.warnings), 2)
        self.assertTrue(config.warnings[0].startswith('"uwsgi_ignore_headers Set-Cookie" lets'))
        self.assertTrue(config.warnings[1].startswith('"uwsgi_cache_purge" lets anybody purge'))
