"""Cache-Control and its kin, parsed into records: RFC 9111 §5.2, §5.4; RFC 9213; RFC 5861.

Hostile and contradictory values get the stricter reading (RFC 9111 §4.2.1):

- of a repeated directive the smallest value is used; one malformed
  occurrence of a lifetime makes it 0, so that the response is stale at once;
- a quoted lifetime is accepted (§5.2 asks for both forms); a signed,
  fractional, hexadecimal or empty one, or one with white space around ``=``,
  is malformed;
- a directive that restricts is obeyed with any argument, one that permits only
  in its exact form;
- a quoted-string that does not end is not a quoted-string: what follows its
  quote is read as directives again. It ends in its own field line, so that no line
  can hide what another one says.

Values repeat from response to response, so parsing is remembered for a bounded
number of them.

Imports: ``structured``, ``http.fields``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

from cacheproxy.http.fields import Fields
from cacheproxy.policy.structured import parse_dictionary

__all__ = [
    "MAX_DELTA",
    "NO_REQUEST_DIRECTIVES",
    "NO_RESPONSE_DIRECTIVES",
    "UNLIMITED",
    "RequestDirectives",
    "ResponseDirectives",
    "parse_accel_expires",
    "parse_request_directives",
    "parse_response_directives",
    "parse_targeted_directives",
    "request_directives",
    "response_directives",
]

_T = TypeVar("_T")

#: The greatest delta-seconds that is told apart; larger ones are this (§1.2.2).
MAX_DELTA = 2**31

#: ``max-stale`` without an argument: a response of any staleness will do.
UNLIMITED = MAX_DELTA

#: How many different field values are remembered, per kind; then all are forgotten.
_MEMO_SIZE = 1024

#: Values longer than this are parsed each time: they are not the repeating sort.
_MEMO_VALUE_SIZE = 512


@dataclass(frozen=True, slots=True)
class ResponseDirectives:
    """Response directives. Lifetimes are seconds, None where absent.

    *no_cache* and *private* are the unqualified forms; the fields that the
    qualified forms name are in *no_cache_fields* and *private_fields*, lower case.
    """

    no_store: bool = False
    no_cache: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    no_transform: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    no_cache_fields: frozenset[bytes] = frozenset()
    private_fields: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class RequestDirectives:
    """Request directives (§5.2.1, RFC 5861 §4). Seconds, None where absent."""

    no_store: bool = False
    no_cache: bool = False
    no_transform: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    stale_if_error: int | None = None


NO_RESPONSE_DIRECTIVES = ResponseDirectives()
NO_REQUEST_DIRECTIVES = RequestDirectives()

_RESPONSE_MEMO: dict[bytes, ResponseDirectives] = {}
_REQUEST_MEMO: dict[bytes, RequestDirectives] = {}

#: RFC 9110 §5.6.2, §5.6.4.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'

#: One member of the list; a comma inside a quoted argument does not end it.
_MEMBER = re.compile(rb"(?:=[ \t]*" + _QUOTED + rb"|[^,\n])+")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_QUOTED_WHOLE = re.compile(_QUOTED)
_TOKEN_WHOLE = re.compile(_TOKEN)
_DIGITS = re.compile(rb"[0-9]+")

_RESTRICTING = {
    b"no-store": "no_store",
    b"must-revalidate": "must_revalidate",
    b"proxy-revalidate": "proxy_revalidate",
    b"no-transform": "no_transform",
}
_PERMITTING = {
    b"public": "public",
    b"must-understand": "must_understand",
}
_RESPONSE_SECONDS = {
    b"max-age": "max_age",
    b"s-maxage": "s_maxage",
    b"stale-while-revalidate": "stale_while_revalidate",
    b"stale-if-error": "stale_if_error",
}
_QUALIFIED = {
    b"no-cache": ("no_cache", "no_cache_fields"),
    b"private": ("private", "private_fields"),
}
_REQUEST_FLAGS = {
    b"no-store": "no_store",
    b"no-cache": "no_cache",
    b"no-transform": "no_transform",
    b"only-if-cached": "only_if_cached",
}
_REQUEST_SECONDS = {
    b"max-age": "max_age",
    b"min-fresh": "min_fresh",
    b"max-stale": "max_stale",
    b"stale-if-error": "stale_if_error",
}


def response_directives(fields: Fields) -> ResponseDirectives:
    """The directives of a response's Cache-Control lines, all taken together.

    ``Pragma`` means nothing in a response (§5.4).
    """
    if b"cache-control" not in fields:
        return NO_RESPONSE_DIRECTIVES
    return parse_response_directives(b"\n".join(fields.get_all(b"cache-control")))


def request_directives(fields: Fields) -> RequestDirectives:
    """The directives of a request; ``Pragma: no-cache`` counts where Cache-Control is absent.

    Source: RFC 9111 §5.2.1, §5.4.
    """
    if b"cache-control" not in fields:
        if b"pragma" not in fields:
            return NO_REQUEST_DIRECTIVES
        members = _members(b"\n".join(fields.get_all(b"pragma")))
        named = any(name == b"no-cache" for name, _ in members)
        return _PRAGMA_NO_CACHE if named else NO_REQUEST_DIRECTIVES
    return parse_request_directives(b"\n".join(fields.get_all(b"cache-control")))


_PRAGMA_NO_CACHE = RequestDirectives(no_cache=True)


def parse_response_directives(value: bytes) -> ResponseDirectives:
    """Parse the Cache-Control field lines of a response, joined by LF; never raises."""
    known = _RESPONSE_MEMO.get(value)
    if known is None:
        known = _response_record(_members(value))
        _remember(_RESPONSE_MEMO, value, known)
    return known


def parse_request_directives(value: bytes) -> RequestDirectives:
    """Parse the Cache-Control field lines of a request, joined by LF; never raises.

    A malformed ``max-age`` is 0 and a malformed ``max-stale`` is absent; the
    others, malformed, are absent too: there is no stricter value to give them.
    """
    known = _REQUEST_MEMO.get(value)
    if known is None:
        known = _request_record(_members(value))
        _remember(_REQUEST_MEMO, value, known)
    return known


def parse_accel_expires(value: bytes, now: float) -> float | None:
    """The seconds from *now* that an ``X-Accel-Expires`` value grants; None if malformed.

    ``@N`` is an absolute time. Negative results are 0, which forbids storing.
    Source: nginx ``ngx_http_upstream_process_accel_expires``.
    """
    value = value.strip(b" \t")
    absolute = value.startswith(b"@")
    digits = value[1:] if absolute else value
    seconds = _delta(digits, quoted=False)
    if seconds is None:
        return None
    if not absolute:
        return float(seconds)
    return max(0.0, min(float(int(digits[:15])) - now, float(MAX_DELTA)))


def _remember(memo: dict[bytes, _T], value: bytes, record: _T) -> None:
    if len(value) > _MEMO_VALUE_SIZE:
        return
    if len(memo) >= _MEMO_SIZE:
        memo.clear()
    memo[value] = record


def _members(value: bytes) -> list[tuple[bytes, bytes | None]]:
    """(lower-case name, raw argument or None) of each directive, in order.

    White space before ``=`` stays in the name and after it in the argument:
    it makes the directive malformed (§5.2, no white space is allowed there).
    """
    members: list[tuple[bytes, bytes | None]] = []
    for match in _MEMBER.finditer(value):
        name, equals, argument = match.group().strip(b" \t").partition(b"=")
        if name:
            members.append((name.lower(), argument if equals else None))
    return members


def _response_record(members: list[tuple[bytes, bytes | None]]) -> ResponseDirectives:
    found: dict[str, Any] = {}
    named: dict[str, set[bytes]] = {}
    for raw, argument in members:
        name = raw.rstrip(b" \t")
        if name in _RESPONSE_SECONDS:
            seconds = _delta(argument) if name == raw else None
            _keep_smallest(found, _RESPONSE_SECONDS[name], 0 if seconds is None else seconds)
        elif name in _RESTRICTING:
            found[_RESTRICTING[name]] = True
        elif name in _PERMITTING:
            if argument is None:
                found[_PERMITTING[name]] = True
        elif name in _QUALIFIED:
            flag, names = _QUALIFIED[name]
            listed = _field_names(argument)
            if listed is None:
                found[flag] = True
            else:
                named.setdefault(names, set()).update(listed)
    for names, fields in named.items():
        found[names] = frozenset(fields)
    return ResponseDirectives(**found)


def _request_record(members: list[tuple[bytes, bytes | None]]) -> RequestDirectives:
    found: dict[str, Any] = {}
    for raw, argument in members:
        name = raw.rstrip(b" \t")
        if name in _REQUEST_FLAGS:
            found[_REQUEST_FLAGS[name]] = True
        elif name in _REQUEST_SECONDS:
            seconds = _delta(argument) if name == raw else None
            if seconds is None and name == b"max-stale" and argument is None:
                seconds = UNLIMITED
            if seconds is None and name == b"max-age":
                seconds = 0
            if seconds is None:
                continue
            if name == b"min-fresh":  # the one where more is stricter
                found["min_fresh"] = max(seconds, found.get("min_fresh", 0))
            else:
                _keep_smallest(found, _REQUEST_SECONDS[name], seconds)
    return RequestDirectives(**found)


def _keep_smallest(found: dict[str, Any], name: str, seconds: int) -> None:
    known = found.get(name)
    found[name] = seconds if known is None or seconds < known else known


def _delta(argument: bytes | None, quoted: bool = True) -> int | None:
    """delta-seconds in either form of an argument, at most `MAX_DELTA`; None if malformed."""
    if argument is None:
        return None
    if quoted and len(argument) >= 2 and argument[:1] == b'"' == argument[-1:]:
        argument = argument[1:-1]
    if _DIGITS.fullmatch(argument) is None:
        return None
    digits = argument.lstrip(b"0")
    return min(int(digits or b"0"), MAX_DELTA) if len(digits) <= 10 else MAX_DELTA


def _field_names(argument: bytes | None) -> frozenset[bytes] | None:
    """The field names of a qualified directive; None when it must be read as unqualified."""
    if argument is None:
        return None
    if _QUOTED_WHOLE.fullmatch(argument) is not None:
        argument = _QUOTED_PAIR.sub(rb"\1", argument[1:-1])
    names = [name.strip(b" \t").lower() for name in argument.split(b",")]
    listed = [name for name in names if name]
    if not listed or any(_TOKEN_WHOLE.fullmatch(name) is None for name in listed):
        return None
    return frozenset(listed)


def parse_targeted_directives(value: bytes) -> ResponseDirectives | None:
    """Parse a targeted field (``CDN-Cache-Control``), a Structured Fields Dictionary.

    None when it is empty or not a Dictionary, or when a lifetime is not a
    non-negative Integer: the field is then as if it were absent.
    Source: RFC 9213 §2.1, §2.2; RFC 8941 §4.2.
    """
    members = parse_dictionary(value)
    if not members:
        return None
    found: dict[str, Any] = {}
    for name, item in members.items():
        if name in _RESPONSE_SECONDS:
            if not isinstance(item, int) or isinstance(item, bool) or item < 0:
                return None
            found[_RESPONSE_SECONDS[name]] = min(item, MAX_DELTA)
        elif name in _QUALIFIED:
            flag, names = _QUALIFIED[name]
            listed = _field_names(item) if isinstance(item, bytes) else None
            if listed is not None:
                found[names] = listed
            elif item is not False:
                found[flag] = True
        elif name in _RESTRICTING:
            found[_RESTRICTING[name]] = item is not False
        elif name in _PERMITTING:
            found[_PERMITTING[name]] = item is True
    return ResponseDirectives(**found)
