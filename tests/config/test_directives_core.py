"""Rows of the HTTP core."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.policy.options import Expires
from cacheproxy.template import constant_template
from tests.config.builders import PREFIX, Request, faults, location, server


class CoreTests(SynchronousTestCase):
    """Converters of ``directives_core``."""

    def test_defaults(self) -> None:
        """Without directives: nginx's defaults."""
        core = location("").core
        assert core.root is not None
        self.assertEqual(core.root.constant, f"{PREFIX}/html".encode())
        self.assertEqual([one.constant for one in core.index], [b"index.html"])
        self.assertEqual(core.types["html"], b"text/html")
        self.assertEqual(core.client_max_body_size, 1 << 20)
        self.assertEqual(core.access_log, ())
        self.assertIsNone(core.keepalive_timeout_header)

    def test_root_and_alias(self) -> None:
        """Paths become absolute; a root loses its slash, an alias keeps it."""
        root = location("root www/;").core.root
        variable = location("root $document_root/x;").core.root
        alias = location("alias /srv/static/;").core
        assert root is not None and variable is not None and alias.alias is not None
        self.assertEqual(root.constant, f"{PREFIX}/www".encode())
        self.assertEqual(variable.render(Request(document_root=b"/d")), b"/d/x")
        self.assertEqual(alias.alias.constant, b"/srv/static/")
        self.assertEqual(alias.alias_length, 1)
        self.assertIsNone(alias.root)

    def test_try_files(self) -> None:
        """A trailing slash asks for a folder; the last argument is a URI or a status."""
        tried = location("try_files $uri $uri/ /index.html;").core.try_files
        assert tried is not None and tried.uri is not None
        self.assertEqual([wants for _, wants in tried.files], [False, True])
        self.assertEqual(tried.files[1][0].text, "$uri")
        self.assertEqual(tried.uri.constant, b"/index.html")
        code = location("try_files $uri =404;").core.try_files
        assert code is not None
        self.assertEqual((code.uri, code.status), (None, 404))

    def test_error_page(self) -> None:
        """The three ways to say which status is answered."""
        pages = location("error_page 404 /a; error_page 500 502 =200 /b; error_page 403 = @c;")
        kept, changed, followed = pages.core.error_page
        self.assertEqual((kept.statuses, kept.response), (frozenset({404}), None))
        self.assertEqual((changed.statuses, changed.response), (frozenset({500, 502}), 200))
        self.assertEqual((followed.uri.constant, followed.response), (b"@c", 0))

    def test_return(self) -> None:
        """A status with or without text, or a URL alone for 302."""
        for text, status, shown in (
            ("204", 204, None),
            ("200 ok", 200, "ok"),
            ("301 https://$host/", 301, "https://$host/"),
            ("https://a/", 302, "https://a/"),
            ("$scheme://a/", 302, "$scheme://a/"),
        ):
            answer = location(f"return {text};").core.return_
            assert answer is not None
            self.assertEqual(answer.status, status)
            self.assertEqual(answer.text.text if answer.text else None, shown)

    def test_first_return_answers(self) -> None:
        """A second ``return`` on a level is never reached."""
        answer = location("return 200; return 404;").core.return_
        assert answer is not None
        self.assertEqual(answer.status, 200)

    def test_expires(self) -> None:
        """Every form of the time."""
        for text, expected in {
            "off": None,
            "epoch": Expires("epoch"),
            "max": Expires("max"),
            "30d": Expires("delta", 2592000),
            "-1": Expires("delta", -1),
            "+1h": Expires("delta", 3600),
            "@15h30m": Expires("daily", 55800),
            "modified 1d": Expires("modified", 86400),
            "modified -1d": Expires("modified", -86400),
        }.items():
            self.assertEqual(location(f"expires {text};").core.expires, expected, text)
        variable = location("expires $arg_e;").core.expires
        assert variable is not None and variable.template is not None
        self.assertEqual(variable.template.text, "$arg_e")

    def test_types(self) -> None:
        """Blocks on one level add up; a level with its own has nothing else."""
        core = location("types { a/b X y; } types { c/d z; }", "types { e/f q; }").core
        self.assertEqual(dict(core.types), {"x": b"a/b", "y": b"a/b", "z": b"c/d"})
        self.assertEqual(dict(location("types { }").core.types), {})

    def test_charset(self) -> None:
        """A name, off, and the types that it is added to."""
        core = location("charset utf-8; charset_types text/css;").core
        self.assertEqual(core.charset, constant_template(b"utf-8"))
        by_variable = location("charset $arg_c;").core.charset
        assert by_variable is not None
        self.assertEqual(by_variable.variables, {"arg_c"})
        literal = location("charset a$b;").core.charset
        assert literal is not None
        self.assertEqual(literal.constant, b"a$b")
        self.assertEqual(faults("charset $nothing;"), ['unknown "nothing" variable'])
        self.assertEqual(core.charset_types, frozenset({b"text/html", b"text/css"}))
        self.assertIsNone(location("charset off;", "charset utf-8;").core.charset)
        self.assertIsNone(location("charset_types *;").core.charset_types)

    def test_add_header(self) -> None:
        """The name keeps its case; ``always`` is kept."""
        plain, always = location("add_header X-A a; add_header X-B $host always;").core.add_header
        self.assertEqual((plain.name, plain.value.constant, plain.always), (b"X-A", b"a", False))
        self.assertEqual((always.value.text, always.always), ("$host", True))

    def test_add_trailer(self) -> None:
        """As ``add_header``; no name that a recipient goes by before the content."""
        (trailer,) = location("add_trailer X-A $host always;").core.add_trailer
        self.assertEqual((trailer.name, trailer.value.text), (b"X-A", "$host"))
        self.assertTrue(trailer.always)
        self.assertEqual(location("", "add_trailer A a;").core.add_trailer[0].name, b"A")
        for name in ("Content-Length", "transfer-encoding", "Trailer", '"a b"'):
            self.assertTrue(faults(f"add_trailer {name} 5;"), name)

    def test_temporary_folders_of_other_protocols(self) -> None:
        """A configuration that names them starts."""
        for name in ("fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path"):
            location("", f"{name} /var/tmp/x 1 2;")

    def test_field_names_that_break_messages(self) -> None:
        """A name that is no token would split a message (RFC 9110 §5.1)."""
        for name in ('""', '"a b"', "a:b", r'"a\nb"', "é"):
            self.assertTrue(faults(f"add_header {name} x;"), name)
            self.assertTrue(faults(f"proxy_set_header {name} x;"), name)

    def test_keepalive_timeout(self) -> None:
        """The second value is what the field says."""
        core = location("keepalive_timeout 30s 25s;").core
        self.assertEqual((core.keepalive_timeout, core.keepalive_timeout_header), (30.0, 25))
        inner = location("keepalive_timeout 5;", "keepalive_timeout 30s 25s;").core
        self.assertEqual((inner.keepalive_timeout, inner.keepalive_timeout_header), (5.0, None))

    def test_how_connections_end(self) -> None:
        """``keepalive_disable`` and ``lingering_*``, with nginx's defaults."""
        core = location("").core
        self.assertEqual(core.keepalive_disable, {"msie6"})
        wanted = ("on", 30.0, 5.0)
        self.assertEqual(
            (core.lingering_close, core.lingering_time, core.lingering_timeout), wanted
        )
        core = location(
            "keepalive_disable safari none; lingering_close always; lingering_time 1m;"
            "lingering_timeout 500ms; client_body_in_single_buffer on;"
        ).core
        self.assertEqual(core.keepalive_disable, {"safari", "none"})
        wanted = ("always", 60.0, 0.5)
        self.assertEqual(
            (core.lingering_close, core.lingering_time, core.lingering_timeout), wanted
        )
        for line in (
            "keepalive_disable opera;",
            "lingering_close maybe;",
            "client_body_in_single_buffer maybe;",
        ):
            self.assertEqual(len(faults(line)), 1, line)

    def test_limits_of_a_request(self) -> None:
        """What is known before the location belongs to the server."""
        made = server(
            "client_header_buffer_size 2k; large_client_header_buffers 8 16k; max_headers 9;"
            "client_header_timeout 5s; underscores_in_headers on; merge_slashes off;"
        )
        self.assertEqual(made.large_client_header_buffers, (8, 16384))
        self.assertEqual((made.client_header_buffer_size, made.max_headers), (2048, 9))
        self.assertEqual(made.client_header_timeout, 5.0)
        self.assertTrue(made.underscores_in_headers)
        self.assertFalse(made.merge_slashes)

    def test_only_what_asks_for_nothing(self) -> None:
        """Directives of which one setting is harmless are refused with any other."""
        location("autoindex off; gzip_static off; limit_rate 0;")
        (message,) = faults("autoindex on;")
        self.assertEqual(message, '"autoindex on" is not supported, only "autoindex off" is')
