"""``policy.forwarding``: which lines cross the proxy, and which are made here."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.http.encode import encode_field_lines
from cacheproxy.http.fields import HOP_BY_HOP, Pairs
from cacheproxy.policy.forwarding import (
    CONDITIONAL_REQUEST_FIELDS,
    RedirectRewriter,
    compile_redirects,
    compile_request_fields,
    compile_response_fields,
)
from cacheproxy.policy.options import ProxyOptions, ProxyPass, ProxyRedirect
from cacheproxy.template import Template, compile_template
from tests.policy.builders import request, response


def template(text: str) -> Template:
    """A template whose ``$name`` reads the context's attribute, and ``$1`` a capture."""

    def resolve(name: str) -> Any:
        if name.isdigit():
            return lambda context: context.captures.get(name, b"")
        return lambda context: getattr(context, name)

    return compile_template(text, resolve)


def upstream_lines(
    *asked: tuple[bytes, bytes],
    cacheable: bool = False,
    headers: tuple[tuple[bytes, str], ...] = (),
    context: Any = None,
    **options: Any,
) -> Pairs:
    """The lines sent to the upstream for a request with *asked*."""
    proxy = ProxyOptions(
        set_header=tuple((name, template(text)) for name, text in headers), **options
    )
    rewriter = compile_request_fields(proxy, cacheable, lambda _: b"backend")
    return rewriter.render(context, request(*asked))


class RequestTests(SynchronousTestCase):
    """nginx ``ngx_http_proxy_create_request``; RFC 9110 §7.6.1."""

    def test_defaults(self) -> None:
        """Host is the upstream's; Connection is close for HTTP/1.0 only."""
        lines = upstream_lines((b"Host", b"site"), (b"Accept", b"*/*"), http_version="1.1")
        self.assertEqual(lines, [(b"Host", b"backend"), (b"Accept", b"*/*")])
        self.assertIn((b"Connection", b"close"), upstream_lines(http_version="1.0"))

    def test_set_header(self) -> None:
        """It replaces the client's line of any case; an empty value removes it."""
        lines = upstream_lines(
            (b"x-real-ip", b"forged"),
            (b"Accept-Encoding", b"gzip"),
            (b"Cookie", b"a"),
            headers=(
                (b"X-Real-IP", "$address"),
                (b"Accept-Encoding", ""),
                (b"X-None", "$none"),
                (b"Host", "$host"),
            ),
            context=SimpleNamespace(address=b"192.0.2.1", none=b"", host=b"site"),
        )
        self.assertEqual(
            lines, [(b"Host", b"site"), (b"X-Real-IP", b"192.0.2.1"), (b"Cookie", b"a")]
        )

    def test_constant_host_comes_first(self) -> None:
        """RFC 9110 §7.2; other lines keep their order."""
        lines = upstream_lines(
            headers=((b"A", "$a"), (b"B", "1"), (b"host", "fixed")),
            context=SimpleNamespace(a=b"2"),
        )
        self.assertEqual(lines[0], (b"host", b"fixed"))
        self.assertEqual(set(lines[1:]), {(b"A", b"2"), (b"B", b"1")})

    def test_empty_host_is_removed(self) -> None:
        """``proxy_set_header Host ""`` sends none, as in nginx."""
        self.assertEqual(upstream_lines(headers=((b"Host", ""),)), [])

    def test_what_never_passes(self) -> None:
        """Hop-by-hop, framing, expectations, and what CGI would take for its own."""
        dropped = [(name.title(), b"x") for name in sorted(HOP_BY_HOP - {b"connection"})]
        dropped += [(b"Content-Length", b"5"), (b"Expect", b"100-continue"), (b"PROXY", b"evil")]
        self.assertEqual(
            upstream_lines(*dropped, (b"X", b"1")), [(b"Host", b"backend"), (b"X", b"1")]
        )

    def test_nominated_fields(self) -> None:
        """The client's nominated lines are dropped, never those of the operator."""
        lines = upstream_lines(
            (b"Connection", b"keep-alive, X-A, x-real-ip"),
            (b"X-A", b"1"),
            (b"X-B", b"2"),
            (b"Connection", b"X-C"),
            (b"X-C", b"3"),
            headers=((b"X-Real-IP", "192.0.2.1"),),
        )
        self.assertEqual(
            lines, [(b"Host", b"backend"), (b"X-Real-IP", b"192.0.2.1"), (b"X-B", b"2")]
        )

    def test_plain_connection_twice(self) -> None:
        """A second Connection line nominates although the first is ordinary."""
        lines = upstream_lines((b"Connection", b"close"), (b"Connection", b"X"), (b"X", b"1"))
        self.assertEqual(lines, [(b"Host", b"backend")])

    def test_cacheable_location_wants_everything(self) -> None:
        """Preconditions and Range do not reach the origin where the answer may be stored."""
        asked = [(name.title(), b"x") for name in sorted(CONDITIONAL_REQUEST_FIELDS)]
        self.assertEqual(upstream_lines(*asked, cacheable=True), [(b"Host", b"backend")])
        self.assertEqual(upstream_lines(*asked), [(b"Host", b"backend"), *asked])

    def test_upgrade_only_when_set(self) -> None:
        """The usual WebSocket lines of an nginx configuration."""
        asked = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
        self.assertEqual(upstream_lines(*asked), [(b"Host", b"backend")])
        lines = upstream_lines(
            *asked,
            headers=((b"Upgrade", "$upgrade"), (b"Connection", "upgrade")),
            context=SimpleNamespace(upgrade=b"websocket"),
        )
        self.assertIn((b"Upgrade", b"websocket"), lines)
        self.assertIn((b"Connection", b"upgrade"), lines)

    def test_framing_cannot_be_set(self) -> None:
        """``proxy_set_header Content-Length ""`` is common and void here."""
        lines = upstream_lines(headers=((b"Content-Length", ""), (b"Transfer-Encoding", "chunked")))
        self.assertEqual(lines, [(b"Host", b"backend")])

    def test_pass_request_headers_off(self) -> None:
        """Only what the configuration says."""
        lines = upstream_lines((b"A", b"1"), pass_request_headers=False, headers=((b"B", "2"),))
        self.assertEqual(lines, [(b"Host", b"backend"), (b"B", b"2")])

    def test_variables_cannot_split_lines(self) -> None:
        """A decoded CR LF in a variable does not make a second line (RFC 9110 §5.5)."""
        lines = upstream_lines(
            headers=((b"X-Uri", "$uri"),), context=SimpleNamespace(uri=b"/a\r\nEvil: 1\x00")
        )
        self.assertIn((b"X-Uri", b"/a  Evil: 1 "), lines)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"TE", b"x-a", b"X-B", b"Upgrade", b"Keep-alive", b"connection"]),
                st.sampled_from([b"x-a", b"close", b"X-B, te", b"", b", ,"]),
            ),
            max_size=6,
        )
    )
    def test_no_hop_by_hop_field_crosses(self, asked: Pairs) -> None:
        """Neither a known one nor one that was nominated."""
        nominated = {
            part.strip().lower()
            for name, value in asked
            if name == b"connection"
            for part in value.split(b",")
        }
        for lines in (
            upstream_lines(*asked),
            compile_response_fields(ProxyOptions()).render(response(*asked)),
        ):
            names = {name.lower() for name, _ in lines} - {b"host"}
            self.assertFalse(names & (HOP_BY_HOP | nominated))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"Host", b"x-a", b"X-B", b"Accept", b"connection", b"Cookie"]),
                st.sampled_from([b"x-a", b"close", b"X-B, te", b"", b"a, b"]),
            ),
            max_size=6,
        ),
        st.lists(
            st.tuples(
                st.sampled_from([b"Host", b"X-B", b"X-New", b"Accept"]),
                st.sampled_from(["", "given", "$changing", "a-$changing"]),
            ),
            max_size=3,
            unique_by=lambda pair: pair[0],
        ),
    )
    def test_bytes_are_those_of_the_lines(
        self, asked: Pairs, headers: list[tuple[bytes, str]]
    ) -> None:
        """For the first request with these fields and every later one, whoever was asked between.

        What is kept with the fields never holds what a variable gave.
        """
        options = ProxyOptions(
            set_header=tuple((name, template(text)) for name, text in headers)
        )
        rewriters = [
            compile_request_fields(options, cacheable, lambda context: bytes(context.changing))
            for cacheable in (False, True)
        ]
        head = request(*asked)
        for value in (b"1", b"2", b"", b"2"):
            context = SimpleNamespace(changing=value)
            for rewriter in (*rewriters, rewriters[1]):
                lines = encode_field_lines(rewriter.render(context, head))
                self.assertEqual(rewriter.encode(context, head), lines)

    def test_default_host_is_the_authority(self) -> None:
        """``$proxy_host``: as ``proxy_pass`` has it, or as its variables gave it."""
        plain = ProxyPass(scheme=b"http", authority=b"app:8000", upstream="app:8000", uri=None)
        rendered = replace(plain, template=template("http://$changing"))
        for target, host in ((plain, b"app:8000"), (rendered, b"given")):
            rewriter = compile_request_fields(
                ProxyOptions(proxy_pass=target), False, lambda _: b"given"
            )
            self.assertEqual(rewriter.render(None, request())[0], (b"Host", host))

    def test_memory_of_names_is_bounded(self) -> None:
        """Made-up names do not fill memory, and are still passed."""
        rewriter = compile_request_fields(ProxyOptions(), False, lambda _: b"b")
        for number in range(2000):
            name = b"X-%d" % number
            self.assertIn((name, b"1"), rewriter.render(None, request((name, b"1"))))


class ResponseTests(SynchronousTestCase):
    """``proxy_hide_header``, ``proxy_pass_header``."""

    def lines(self, *pairs: tuple[bytes, bytes], **options: Any) -> Pairs:
        """The lines that go on to the client."""
        return compile_response_fields(ProxyOptions(**options)).render(response(*pairs))

    def test_defaults(self) -> None:
        """Server and X-Accel-* are hidden, the origin's Date is not; framing is left out."""
        found = self.lines(
            (b"Date", b"d"),
            (b"Server", b"s"),
            (b"X-Accel-Redirect", b"/x"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Content-Length", b"5"),
            (b"Set-Cookie", b"a"),
            (b"Set-Cookie", b"b"),
        )
        self.assertEqual(found, [(b"Date", b"d"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")])

    def test_directives(self) -> None:
        """Names to hide and to pass; passing wins, but not for a hop-by-hop field."""
        found = self.lines(
            (b"Server", b"s"),
            (b"X-Powered-By", b"x"),
            (b"Connection", b"close"),
            hide_header=frozenset({b"x-powered-by"}),
            pass_header=frozenset({b"server", b"connection"}),
        )
        self.assertEqual(found, [(b"Server", b"s")])


class KeptResponseTests(SynchronousTestCase):
    """What is kept with a response's fields."""

    def test_lines_given_out_may_be_changed(self) -> None:
        """The next response with the same fields is not touched, nor is another location's."""
        head = response((b"A", b"1"), (b"B", b"2"))
        rewriter = compile_response_fields(ProxyOptions())
        other = compile_response_fields(ProxyOptions(hide_header=frozenset({b"a"})))
        rewriter.render(head).append((b"C", b"3"))
        self.assertEqual(rewriter.render(head), [(b"A", b"1"), (b"B", b"2")])
        self.assertEqual(other.render(head), [(b"B", b"2")])
        self.assertEqual(rewriter.render(head), [(b"A", b"1"), (b"B", b"2")])


class RedirectTests(SynchronousTestCase):
    """``proxy_redirect``."""

    def compiled(
        self, *rules: ProxyRedirect, uri: bytes | None = b"/two/"
    ) -> RedirectRewriter | None:
        """The rewriter of ``location /one/ { proxy_pass http://upstream:8000/two/; }``."""
        target = ProxyPass(authority=b"upstream:8000", uri=uri)
        return compile_redirects(ProxyOptions(proxy_pass=target, redirect=rules), b"/one/")

    def location(self, value: bytes, *rules: ProxyRedirect, uri: bytes | None = b"/two/") -> Any:
        """The rewritten Location."""
        rewriter = self.compiled(*rules, uri=uri)
        assert rewriter is not None
        return rewriter.location(SimpleNamespace(host=b"site"), value)

    def test_default(self) -> None:
        """The example of nginx's documentation, and its form without a URI."""
        default = ProxyRedirect(default=True)
        found = self.location(b"http://upstream:8000/two/some/uri/", default)
        self.assertEqual(found, b"/one/some/uri/")
        self.assertIsNone(self.location(b"http://other/two/", default))
        self.assertIsNone(self.location(b"/two/x", default))
        self.assertEqual(self.location(b"http://upstream:8000/x", default, uri=None), b"/x")

    def test_off_and_variables(self) -> None:
        """Nothing to do, and the default is void with variables in proxy_pass."""
        self.assertIsNone(self.compiled())
        target = ProxyPass(template=template("http://$host"))
        proxy = ProxyOptions(proxy_pass=target, redirect=(ProxyRedirect(default=True),))
        self.assertIsNone(compile_redirects(proxy, b"/"))

    def test_first_matching_rule(self) -> None:
        """Rules are tried in order; variables stand on both sides."""
        rules = (
            ProxyRedirect(template("http://a/"), template("/a/")),
            ProxyRedirect(template("http://$host/"), template("http://$host:8080/")),
        )
        self.assertEqual(self.location(b"http://a/x", *rules), b"/a/x")
        self.assertEqual(self.location(b"http://site/x", *rules), b"http://site:8080/x")
        self.assertIsNone(self.location(b"http://b/x", *rules))

    def test_regex(self) -> None:
        """The whole value is replaced; captures are put back afterwards."""
        rule = ProxyRedirect(None, template("https://$host$1"), re.compile(rb"^http://[^/]+(/.+)$"))
        rewriter = self.compiled(rule)
        assert rewriter is not None
        context = SimpleNamespace(host=b"site", captures={"1": b"before", "a": b"b"})
        self.assertEqual(rewriter.location(context, b"http://x/y"), b"https://site/y")
        self.assertEqual(context.captures, {"1": b"before", "a": b"b"})
        self.assertIsNone(rewriter.location(context, b"ftp://x/y"))

    def test_refresh(self) -> None:
        """The URL inside Refresh is rewritten by the same rules."""
        rewriter = self.compiled(ProxyRedirect(default=True))
        assert rewriter is not None
        found = rewriter.refresh(None, b"5; URL=http://upstream:8000/two/x")
        self.assertEqual(found, b"5; URL=/one/x")
        self.assertIsNone(rewriter.refresh(None, b"5"))
        self.assertIsNone(rewriter.refresh(None, b"5; url=/elsewhere"))
