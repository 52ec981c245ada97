"""What Set-Cookie of an origin becomes: ``proxy_cookie_domain``, ``_path``, ``_flags``.

A field that no rule matches goes on as it came, to the byte. One that is changed is put together
anew from its attributes, ``; `` between them, as in nginx.

Source: nginx ``ngx_http_proxy_rewrite_cookie``; RFC 6265 §4.1.1.
Imports: ``http.fields``, ``options``, ``routing``, ``template``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cacheproxy.http.fields import Pairs
from cacheproxy.policy.options import CookieFlags, CookieRule, ProxyOptions
from cacheproxy.policy.routing import captured

__all__ = ["CookieRewriter", "compile_cookies"]

#: What would end the field line, or the attribute.
_UNSAFE = re.compile(rb"[\x00-\x1f;\x7f]")

#: How flags are written.
_NAMES = {b"secure": b"Secure", b"httponly": b"HttpOnly", b"samesite": b"SameSite"}

#: Gives the new value of an attribute; None where the rule does not match.
_Rule = Callable[[Any, bytes], bytes | None]

Attribute = tuple[bytes, bytes | None]


class CookieRewriter:
    """The rules of one location; see `compile_cookies`."""

    __slots__ = ("_flags", "_rules")

    def __init__(
        self, rules: dict[bytes, tuple[_Rule, ...]], flags: tuple[CookieFlags, ...]
    ) -> None:
        self._rules = rules
        self._flags = flags

    def render(self, context: Any, pairs: Pairs) -> Pairs:
        """*pairs* with their Set-Cookie lines rewritten; variables are read off *context*."""
        return [
            (name, self.rewrite(context, value)) if name.lower() == b"set-cookie" else (name, value)
            for name, value in pairs
        ]

    def rewrite(self, context: Any, value: bytes) -> bytes:
        """One Set-Cookie; the same bytes where no rule matches."""
        attributes = _parse(value)
        if attributes[0][1] is None:
            return value  # Without "=" it is no cookie.
        changed = False
        for number, (name, text) in enumerate(attributes[1:], 1):
            rules = self._rules.get(name.lower())
            if rules is None or text is None:
                continue
            new = _first(rules, context, text)
            if new is not None:
                attributes[number] = name, new
                changed = True
        for flags in self._flags:
            if _is_meant(flags, context, attributes[0][0]):
                attributes = _with_flags(attributes, flags)
                changed = True
                break
        if not changed:
            return value
        return b"; ".join(
            name if text is None else name + b"=" + text for name, text in attributes
        )


def compile_cookies(proxy: ProxyOptions) -> CookieRewriter | None:
    """The rewriter of *proxy*; None where nothing is ever rewritten."""
    rules = {
        name: tuple(made)
        for name, made in (
            (b"domain", [_domain_rule(rule) for rule in proxy.cookie_domain]),
            (b"path", [_path_rule(rule) for rule in proxy.cookie_path]),
        )
        if made
    }
    return CookieRewriter(rules, proxy.cookie_flags) if rules or proxy.cookie_flags else None


def _parse(value: bytes) -> list[Attribute]:
    attributes: list[Attribute] = []
    for part in value.split(b";"):
        name, equals, text = part.partition(b"=")
        attributes.append((name.strip(b" "), text.strip(b" ") if equals else None))
    return attributes


def _first(rules: tuple[_Rule, ...], context: Any, text: bytes) -> bytes | None:
    for rule in rules:
        new = rule(context, text)
        if new is not None:
            return _UNSAFE.sub(b" ", new)
    return None


def _domain_rule(rule: CookieRule) -> _Rule:
    if rule.regex is not None:
        return _regex_rule(rule)
    subject = rule.subject
    assert subject is not None

    def apply(context: Any, text: bytes) -> bytes | None:
        # A dot before the domain means nothing, on either side; the cookie's own stays.
        dot, domain = (b".", text[1:]) if text[:1] == b"." else (b"", text)
        if domain.lower() != subject.render(context).removeprefix(b".").lower():
            return None
        return dot + rule.replacement.render(context)

    return apply


def _path_rule(rule: CookieRule) -> _Rule:
    if rule.regex is not None:
        return _regex_rule(rule)
    subject = rule.subject
    assert subject is not None

    def apply(context: Any, text: bytes) -> bytes | None:
        prefix = subject.render(context)
        if not text.startswith(prefix):
            return None
        return rule.replacement.render(context) + text[len(prefix) :]

    return apply


def _regex_rule(rule: CookieRule) -> _Rule:
    regex = rule.regex
    assert regex is not None

    def apply(context: Any, text: bytes) -> bytes | None:
        match = regex.search(text)
        if match is None:
            return None
        # The captures of the configuration's other expressions stay readable.
        return rule.replacement.render(
            context.with_captures(captured(context.captures, match))
        )

    return apply


def _is_meant(flags: CookieFlags, context: Any, name: bytes) -> bool:
    if flags.regex is not None:
        return flags.regex.search(name) is not None
    assert flags.name is not None
    return name.lower() == flags.name.render(context).lower()


def _with_flags(attributes: list[Attribute], flags: CookieFlags) -> list[Attribute]:
    """*attributes* with and without the flags that a rule adds and takes away."""
    added = dict(flags.added)
    kept = [attributes[0]]
    for name, text in attributes[1:]:
        lower = name.lower()
        if lower in flags.removed:
            continue
        if lower in added:
            # As it is; only SameSite gets the value that is asked for.
            asked = added.pop(lower)
            if asked and asked.lower() != (text or b"").lower():
                name, text = _NAMES[lower], asked
        kept.append((name, text))
    return kept + [(_NAMES[name], text or None) for name, text in added.items()]
