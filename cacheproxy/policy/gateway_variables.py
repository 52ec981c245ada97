"""The request variables that are sent to an application behind a gateway protocol.

They are those of ``uwsgi_param`` in their order, then one ``HTTP_*`` for each of the
client's request fields. Compiled per location at load; another gateway protocol would
encode the same variables in its own way.

No client can set a variable that is not its own: a field can only become ``HTTP_*``, and
none that a parameter of that name overrides, however the field is spelled. Of two fields
that would become the same variable (``X-User`` and, where ``underscores_in_headers`` lets
it pass, ``X_User``) the one with hyphens holds.

Unlike nginx: fields of the connection (RFC 9110 §7.6.1), Expect and ``Proxy`` are not
passed on, as for ``proxy_pass``. A value that is ``$content_length`` or
``$request_method`` alone says what is sent: no length without its body, GET where a cache
asks for the whole in answer to HEAD.

Source: nginx ``ngx_http_uwsgi_create_request``; RFC 3875 §4.1.
Imports: ``http``, ``forwarding``, ``options``, ``upstream_protocol``, ``template``.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from cacheproxy.http.fields import HOP_BY_HOP, Fields, Pairs
from cacheproxy.http.syntax import list_tokens
from cacheproxy.policy.forwarding import CONDITIONAL_REQUEST_FIELDS
from cacheproxy.policy.options import ProxyOptions, UpstreamParam
from cacheproxy.policy.upstream_protocol import Outgoing
from cacheproxy.template import Getter

__all__ = ["GatewayVariables"]

#: Fields that are not sent to the gateway. A length is sent if there is a body.
_DROPPED = HOP_BY_HOP | {b"content-length", b"expect", b"http2-settings", b"proxy"}

#: Different raw names (cases included) remembered per location; others are looked at each time.
_MEMO_SIZE = 512

_CONTENT_LENGTH = b"HTTP_CONTENT_LENGTH"


class _Names(dict[bytes, bytes]):
    """The variable that a field becomes, by its raw name; empty where it becomes none."""

    __slots__ = ("_dropped",)

    def __init__(self, dropped: Set[bytes]) -> None:
        self._dropped = dropped

    def __missing__(self, name: bytes) -> bytes:
        variable = _variable(name)
        if variable in self._dropped:
            variable = b""
        if len(self) < _MEMO_SIZE:
            self[name] = variable
        return variable


def _variable(field: bytes) -> bytes:
    return b"HTTP_" + field.upper().replace(b"-", b"_")


class GatewayVariables:
    """The variables of one location's requests; *cacheable*: it has a cache."""

    __slots__ = ("_cached", "_length", "_params", "_plain")

    def __init__(self, proxy: ProxyOptions, cacheable: bool) -> None:
        self._params = [
            (param.name, _getter(param), param.if_not_empty)
            for param in proxy.params
            if param.value.constant != b"" or not param.name.startswith(b"HTTP_")
        ]
        overridden = {param.name.upper() for param in proxy.params}
        #: Whether HTTP_CONTENT_LENGTH is the field's; else it is a parameter, or nothing is passed.
        self._length = proxy.pass_request_headers and _CONTENT_LENGTH not in overridden
        dropped = {_variable(name) for name in _DROPPED} | overridden
        self._plain = self._cached = _Names(dropped) if proxy.pass_request_headers else None
        if cacheable and self._plain is not None:
            self._cached = _Names(dropped | set(map(_variable, CONDITIONAL_REQUEST_FIELDS)))

    def render(self, context: Any, request: Outgoing) -> Pairs:
        """The variables for *request*; *context* is what the templates' variables read."""
        variables: Pairs = []
        for name, getter, if_not_empty in self._params:
            value = getter(context) if callable(getter) else _said(request, getter)
            if value or not if_not_empty:
                variables.append((name, value))
        names = self._cached if request.answers_conditions else self._plain
        fields = request.client_head.fields
        if names is not None:
            variables += _of_fields(fields, names)
        if self._length and request.length is not None and b"content-length" in fields:
            variables.append((_CONTENT_LENGTH, b"%d" % request.length))
        variables += [(_variable(name), value) for name, value in request.conditional]
        return variables


#: Values that are what is being sent, by the text that asks for them.
_SENT = {
    "$content_length": "length",
    "${content_length}": "length",
    "$request_method": "method",
    "${request_method}": "method",
}


def _getter(param: UpstreamParam) -> Getter | str:
    return _SENT.get(param.value.text) or param.value.render


def _said(request: Outgoing, what: str) -> bytes:
    if what == "method":
        return request.method
    return b"" if request.length is None else b"%d" % request.length


def _of_fields(fields: Fields, names: _Names) -> Pairs:
    """The variables made from the client's fields; kept with them, as requests share them."""
    kept = fields.passed
    if kept is None or kept[0] is not names:
        kept = fields.passed = (names, _made_of(fields, names))
    variables: Pairs = kept[1]
    return variables


def _made_of(fields: Fields, names: _Names) -> Pairs:
    """One variable for each name that passes; the values of one name are joined."""
    found: dict[bytes, bytes] = {}
    underscored: Pairs = []
    nominated: list[bytes] = []
    connection = fields.combined(b"connection")
    if connection is not None:
        nominated = [_variable(name) for name in list_tokens(connection)]
    for name, value in fields.pairs:
        variable = names[name]
        if not variable or variable in nominated:
            continue
        if b"_" in name:
            underscored.append((variable, value))
            continue
        before = found.get(variable)
        found[variable] = value if before is None else _joined(variable, before, value)
    if underscored:
        hyphened = frozenset(found)
        for variable, value in underscored:
            if variable not in hyphened:
                before = found.get(variable)
                found[variable] = value if before is None else _joined(variable, before, value)
    return list(found.items())


def _joined(variable: bytes, before: bytes, value: bytes) -> bytes:
    """RFC 9110 §5.3; of cookies RFC 9113 §8.2.3."""
    return before + (b"; " if variable == b"HTTP_COOKIE" else b", ") + value
