"""Whether a response is compressed, and what its head becomes: ``gzip*``, RFC 9110 §8.4, §12.5.3.

nginx: ``ngx_http_gzip_ok``, ``ngx_http_gzip_header_filter``. The question falls in
two: what the response says (`may_encode`, answered once per stored response) and
what the request says (`wants_encoding`).

Imports: ``cache_control``, ``key``, ``options``, ``http``.
"""

from __future__ import annotations

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead
from cacheproxy.http.syntax import parse_http_date, parse_qvalues
from cacheproxy.policy.cache_control import response_directives
from cacheproxy.policy.key import normal_accept_encoding
from cacheproxy.policy.options import GzipOptions

__all__ = [
    "accepts_gzip",
    "encoded_fields",
    "may_encode",
    "normal_accept_encoding",
    "vary_accept_encoding",
    "wants_encoding",
    "weak_etag",
]

#: Status codes whose bodies nginx compresses.
_STATUSES = frozenset({200, 403, 404})

_MEMO_SIZE = 512
_ACCEPTS: dict[bytes, bool] = {}


def may_encode(
    status: int, fields: Fields, content_length: int | None, options: GzipOptions
) -> bool:
    """Whether the response itself allows compressing; *content_length* None if unknown.

    Where true, the answer depends on Accept-Encoding whatever the request says:
    ``gzip_vary`` adds Vary. ``no-transform`` is obeyed, unlike in nginx (RFC 9110 §7.7).
    """
    if not options.gzip or status not in _STATUSES or fields.get(b"content-encoding"):
        return False
    if content_length is not None and content_length < options.min_length:
        return False
    if b"content-range" in fields or response_directives(fields).no_transform:
        return False
    if options.types is None:
        return True
    content_type = fields.get(b"content-type")
    if content_type is None:
        return False
    return content_type.split(b";", 1)[0].strip(b" \t").lower() in options.types


def wants_encoding(
    request: RequestHead, response: Fields, options: GzipOptions, now: float
) -> bool:
    """Whether *request* gets the response compressed, given that `may_encode` holds.

    *now* (wall seconds) stands in for an absent Date. HEAD gets the head that GET
    would (RFC 9110 §9.3.2), as in nginx.
    """
    fields = request.fields
    if not accepts_gzip(fields.combined(b"accept-encoding")):
        return False
    if request.version < options.http_version:
        return False
    if b"via" in fields and not _proxied(fields, response, options, now):
        return False
    if options.disable or options.disable_msie6:
        agent = fields.get(b"user-agent")
        if agent is not None:
            if options.disable_msie6 and _is_msie6(agent):
                return False
            return not any(pattern.search(agent) for pattern in options.disable)
    return True


def accepts_gzip(value: bytes | None) -> bool:
    """Whether Accept-Encoding names gzip with a weight above 0; ``*`` is not enough (nginx)."""
    if value is None:
        return False
    known = _ACCEPTS.get(value)
    if known is None:
        weights = [weight for coding, weight in parse_qvalues(value) if coding.lower() == b"gzip"]
        known = bool(weights) and min(weights) > 0
        if len(_ACCEPTS) >= _MEMO_SIZE:
            _ACCEPTS.clear()
        _ACCEPTS[value] = known
    return known


def _is_msie6(agent: bytes) -> bool:
    """``gzip_disable msie6``: MSIE 4 to 6, except 6 with SV1 (nginx ``process_user_agent``)."""
    position = agent.find(b"MSIE ")
    if position < 0 or agent[position + 6 : position + 7] != b".":
        return False
    if b"Opera" in agent:
        return False
    version = agent[position + 5 : position + 6]
    return version in (b"4", b"5") or (version == b"6" and b"SV1" not in agent[position:])


def _proxied(request: Fields, response: Fields, options: GzipOptions, now: float) -> bool:
    """``gzip_proxied``, for a request that came through another proxy (it has Via)."""
    allowed = options.proxied
    if "off" in allowed:
        return False
    if "any" in allowed or ("auth" in allowed and b"authorization" in request):
        return True
    expires = response.get(b"expires")
    if expires is not None:
        return "expired" in allowed and _expired(expires, response, now)
    value = response.combined(b"cache-control")
    if value is not None:
        directives = response_directives(response)
        return (
            ("no-cache" in allowed and directives.no_cache)
            or ("no-store" in allowed and directives.no_store)
            or ("private" in allowed and directives.private)
        )
    if "no_last_modified" in allowed and b"last-modified" in response:
        return False
    return not ("no_etag" in allowed and b"etag" in response)


def _expired(expires: bytes, response: Fields, now: float) -> bool:
    end = parse_http_date(expires)
    if end is None:
        return False
    date = response.get(b"date")
    made = now if date is None else parse_http_date(date)
    return end < (now if made is None else made)


def encoded_fields(fields: Fields, coding: bytes, vary: bool) -> Fields:
    """The fields of the representation under *coding*, made from those of the plain one.

    Content-Length and Accept-Ranges go, a strong ETag turns weak (one that is not
    quoted goes), and *vary* (``gzip_vary``) adds Accept-Encoding to Vary.
    """
    pairs = []
    for name, value in fields.pairs:
        lower = name.lower()
        if lower in (b"content-length", b"accept-ranges", b"content-encoding", b"content-md5"):
            continue
        if lower == b"etag":
            weak = weak_etag(value)
            if weak is None:
                continue
            value = weak
        pairs.append((name, value))
    pairs.append((b"Content-Encoding", coding))
    encoded = Fields(pairs)
    return vary_accept_encoding(encoded) if vary else encoded


def weak_etag(etag: bytes) -> bytes | None:
    """The weak form of an entity-tag; None if it is not one (nginx ``ngx_http_weak_etag``)."""
    if etag.startswith(b"W/"):
        return etag
    if len(etag) >= 2 and etag.startswith(b'"') and etag.endswith(b'"'):
        return b"W/" + etag
    return None


def vary_accept_encoding(fields: Fields) -> Fields:
    """*fields*, with ``Vary: Accept-Encoding`` if Vary does not say so already."""
    value = fields.combined(b"vary") or b""
    names = {name.strip(b" \t") for name in value.lower().split(b",")}
    if b"accept-encoding" in names or b"*" in names:
        return fields
    return Fields([*fields.pairs, (b"Vary", b"Accept-Encoding")])
