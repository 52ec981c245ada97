"""Which fields of a head are passed on, and which are added: RFC 9110 §7.6, ``proxy_set_header``.

nginx: ``ngx_http_proxy_create_request``, ``ngx_http_upstream_hide_headers_hash``,
``ngx_http_proxy_rewrite_redirect``. Compiled per location at load; rendering a
head is one pass over its lines with the verdict on each name remembered.

Framing is not decided here: Content-Length and Transfer-Encoding never pass, and
the codec writes the one that holds for the message it sends.

Unlike nginx: every hop-by-hop field and everything that Connection nominates is
dropped both ways (§7.6.1); ``Proxy`` is dropped (it would become the environment
variable HTTP_PROXY in CGI-like origins); with HTTP/1.1 no ``Connection: close``
is added; the origin's Date is kept (§6.6.1).

Imports: ``http``, ``options``, ``template``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import Any

from cacheproxy.http.encode import encode_field_lines
from cacheproxy.http.fields import HOP_BY_HOP, Fields, Pairs
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.syntax import list_tokens
from cacheproxy.policy.options import ProxyOptions, ProxyRedirect
from cacheproxy.policy.routing import captured
from cacheproxy.template import Getter, Template

__all__ = [
    "CONDITIONAL_REQUEST_FIELDS",
    "HIDDEN_RESPONSE_FIELDS",
    "RedirectRewriter",
    "RequestRewriter",
    "ResponseRewriter",
    "compile_redirects",
    "compile_request_fields",
    "compile_response_fields",
]

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

#: Removed from a request whose response may be stored: the whole of it is wanted.
CONDITIONAL_REQUEST_FIELDS = frozenset(
    {
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)

_REQUEST_DROPPED = HOP_BY_HOP | _FRAMING | {b"expect", b"host", b"http2-settings", b"proxy"}

#: ``proxy_hide_header``'s own list, less Date; ``proxy_pass_header`` takes names off it.
HIDDEN_RESPONSE_FIELDS = frozenset(
    {
        b"server",
        b"x-accel-buffering",
        b"x-accel-charset",
        b"x-accel-expires",
        b"x-accel-limit-rate",
        b"x-accel-redirect",
        b"x-pad",
    }
)

#: Different raw names (cases included) remembered per rewriter; others are looked at each time.
_MEMO_SIZE = 512

#: Connection values that nominate no field.
_PLAIN_CONNECTION = frozenset(
    {b"keep-alive", b"Keep-Alive", b"close", b"Close", b"upgrade", b"Upgrade"}
)


class _Verdicts(dict[bytes, bool]):
    """Whether a line passes, by its raw name: not where it is one of *dropped*."""

    __slots__ = ("_dropped",)

    def __init__(self, dropped: Set[bytes]) -> None:
        self._dropped = frozenset(dropped)

    def __missing__(self, name: bytes) -> bool:
        passes = name.lower() not in self._dropped
        if len(self) < _MEMO_SIZE:
            self[name] = passes
        return passes


class _Filter:
    """Passes lines whose lower-case name is not in *dropped*; remembers raw names."""

    __slots__ = ("_passes",)

    def __init__(self, dropped: Set[bytes]) -> None:
        self._passes = _Verdicts(dropped)

    def apply(self, fields: Fields) -> Pairs:
        """The lines of *fields* that pass, in their order."""
        passes = self._passes
        lines = [pair for pair in fields.pairs if passes[pair[0]]]
        value = fields.combined(b"connection")
        if value is None or value in _PLAIN_CONNECTION:
            return lines
        nominated = list_tokens(value)
        return [pair for pair in lines if pair[0].lower() not in nominated]


class RequestRewriter:
    """Makes the field lines of an upstream request; see `compile_request_fields`."""

    __slots__ = ("_constant", "_constant_host", "_filter", "_getters")

    def __init__(
        self,
        hosts: tuple[tuple[bytes, bytes], ...],
        getters: tuple[tuple[bytes, Getter], ...],
        constant: tuple[tuple[bytes, bytes], ...],
        lines: _Filter | None,
    ) -> None:
        self._constant_host = hosts
        self._getters = getters
        self._constant = constant
        self._filter = lines

    def render(self, context: Any, head: RequestHead) -> Pairs:
        """The lines to send for *head*: the configured ones, Host first, then the client's.

        *context* is what the templates' variables read. Lines whose value is
        empty are left out. Control characters that a variable may carry (they
        cannot come from a parsed head) are replaced by spaces.
        """
        return [*self._constant_host, *self._rendered(context), *self._unrendered(head.fields)]

    def encode(self, context: Any, head: RequestHead) -> bytes:
        """The same lines as bytes, each with its end.

        What does not hang on variables is kept with the fields, which successive
        requests share where they send the same ones.
        """
        fields = head.fields
        kept = fields.passed
        if kept is None or kept[0] is not self:
            unrendered = encode_field_lines(self._unrendered(fields))
            if not self._getters:
                unrendered = encode_field_lines(self._constant_host) + unrendered
            kept = fields.passed = (self, unrendered)
        lines: bytes = kept[1]
        if self._getters:
            rendered = [*self._constant_host, *self._rendered(context)]
            return encode_field_lines(rendered) + lines
        return lines

    def _rendered(self, context: Any) -> Pairs:
        out: Pairs = []
        for name, getter in self._getters:
            value = getter(context)
            if value:
                if _CONTROL.search(value) is not None:
                    value = _CONTROL.sub(b" ", value)
                out.append((name, value))
        return out

    def _unrendered(self, fields: Fields) -> Pairs:
        out = list(self._constant)
        if self._filter is not None:
            out += self._filter.apply(fields)
        return out


#: Bytes that would end or split a field line (RFC 9110 §5.5); decoding can put them in ``$uri``.
_CONTROL = re.compile(rb"[\x00\r\n]")


def compile_request_fields(
    proxy: ProxyOptions, cacheable: bool, proxy_host: Getter
) -> RequestRewriter:
    """Compile what *proxy* says about the fields of upstream requests.

    *cacheable*: the location has a cache, so preconditions and Range stay here.
    *proxy_host* gives ``$proxy_host``, the default Host where ``proxy_pass`` has
    variables. ``proxy_set_header`` of
    a framing field is void. Connection and Upgrade pass only when set by
    ``proxy_set_header``.
    """
    getters: list[tuple[bytes, Getter]] = []
    constant: Pairs = []
    named: set[bytes] = set()
    for name, template in proxy.set_header:
        lower = name.lower()
        named.add(lower)
        if lower in _FRAMING:
            continue
        if template.constant is None:
            getters.append((name, template.render))
        elif template.constant:
            constant.append((name, template.constant))
    if b"host" not in named:
        target = proxy.proxy_pass
        if target is None or target.template is not None:
            getters.append((b"Host", proxy_host))
        else:
            constant.append((b"Host", target.authority))
    if b"connection" not in named and proxy.http_version == "1.0":
        constant.append((b"Connection", b"close"))
    # Host comes first where it can (RFC 9110 §7.2).
    getters.sort(key=lambda pair: pair[0].lower() != b"host")
    hosts = [pair for pair in constant if pair[0].lower() == b"host"]
    constant = [pair for pair in constant if pair[0].lower() != b"host"]
    dropped = _REQUEST_DROPPED | named
    if cacheable:
        dropped |= CONDITIONAL_REQUEST_FIELDS
    lines = _Filter(dropped) if proxy.pass_request_headers else None
    return RequestRewriter(tuple(hosts), tuple(getters), tuple(constant), lines)


def _constantly(value: bytes) -> Getter:
    return lambda _: value


class ResponseRewriter:
    """Chooses the field lines that go on to the client; see `compile_response_fields`."""

    __slots__ = ("_filter",)

    def __init__(self, lines: _Filter) -> None:
        self._filter = lines

    def render(self, head: ResponseHead) -> Pairs:
        """The end-to-end lines of *head* that are not hidden; framing is left out.

        Idempotent, so that it may be applied to a stored head as well.
        """
        fields = head.fields
        kept = fields.passed
        if kept is None or kept[0] is not self:
            kept = fields.passed = (self, self._filter.apply(fields))
        pairs: Pairs = kept[1]
        return pairs.copy()

    def lines(self, fields: Fields) -> Pairs:
        """The same for the *fields* of a stored response."""
        return self._filter.apply(fields)


def compile_response_fields(proxy: ProxyOptions) -> ResponseRewriter:
    """Compile ``proxy_hide_header`` and ``proxy_pass_header`` of *proxy*.

    A name in both is passed, as in nginx. Hop-by-hop fields and framing never pass.
    """
    hidden = (HIDDEN_RESPONSE_FIELDS | proxy.hide_header) - proxy.pass_header
    return ResponseRewriter(_Filter(hidden | HOP_BY_HOP | _FRAMING))


class RedirectRewriter:
    """Applies ``proxy_redirect`` to Location and Refresh; see `compile_redirects`."""

    __slots__ = ("_rules",)

    def __init__(self, rules: tuple[Callable[[Any, bytes], bytes | None], ...]) -> None:
        self._rules = rules

    def location(self, context: Any, value: bytes) -> bytes | None:
        """The Location to send instead of *value*; None to send it as it is.

        A result that starts with ``/`` is made absolute by the caller where
        ``absolute_redirect`` is on; an untouched *value* never is (nginx).
        """
        for rule in self._rules:
            rewritten = rule(context, value)
            if rewritten is not None:
                return rewritten
        return None

    def refresh(self, context: Any, value: bytes) -> bytes | None:
        """The Refresh to send instead of *value*; None to send it as it is."""
        position = value.lower().find(b"url=")
        if position < 0:
            return None
        rewritten = self.location(context, value[position + 4 :])
        return None if rewritten is None else value[: position + 4] + rewritten


def compile_redirects(proxy: ProxyOptions, location: bytes) -> RedirectRewriter | None:
    """Compile ``proxy_redirect`` of *proxy* for the location with prefix *location*.

    None where nothing is ever rewritten. ``default`` is void for a ``proxy_pass``
    with variables, as the directive demands. For a rule with a regular expression
    the context's ``captures`` are those of the match while the replacement is
    rendered, and are put back afterwards.
    """
    rules = [
        rule
        for redirect in proxy.redirect
        if (rule := _redirect_rule(redirect, proxy, location)) is not None
    ]
    return RedirectRewriter(tuple(rules)) if rules else None


def _redirect_rule(
    redirect: ProxyRedirect, proxy: ProxyOptions, location: bytes
) -> Callable[[Any, bytes], bytes | None] | None:
    if redirect.default:
        return _default_rule(proxy, location)
    if redirect.replacement is None:
        return None
    if redirect.regex is not None:
        return _regex_rule(redirect.regex, redirect.replacement)
    if redirect.redirect is None:
        return None
    return _prefix_rule(redirect.redirect.render, redirect.replacement.render)


def _default_rule(
    proxy: ProxyOptions, location: bytes
) -> Callable[[Any, bytes], bytes | None] | None:
    target = proxy.proxy_pass
    if target is None or target.template is not None:
        return None
    url = target.scheme + b"://" + target.authority
    if target.uri is None:
        return _prefix_rule(_constantly(url + b"/"), _constantly(b"/"))
    return _prefix_rule(_constantly(url + target.uri), _constantly(location))


def _prefix_rule(prefix: Getter, replacement: Getter) -> Callable[[Any, bytes], bytes | None]:
    def rule(context: Any, value: bytes) -> bytes | None:
        wanted = prefix(context)
        if not value.startswith(wanted):
            return None
        return _CONTROL.sub(b" ", replacement(context)) + value[len(wanted) :]

    return rule


def _regex_rule(
    regex: re.Pattern[bytes], replacement: Template
) -> Callable[[Any, bytes], bytes | None]:
    def rule(context: Any, value: bytes) -> bytes | None:
        match = regex.search(value)
        if match is None:
            return None
        captures = getattr(context, "captures", None)
        # The captures of the configuration's other expressions stay readable.
        context.captures = captured(captures or {}, match)
        try:
            return _CONTROL.sub(b" ", replacement.render(context))
        finally:
            context.captures = captures

    return rule
