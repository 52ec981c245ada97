"""Request fields outside the key that can steer the answer: the means of cache poisoning.

A key holds the URL and the Host. What else a client may say of its URL, its host, its
scheme or its method, and an application or a framework believes, must keep answers
apart too, or one client decides what all the others get. Those fields still go on,
since a load balancer in front may rightly set them; but an answer to a request that has
any is stored apart from the others (RFC 9111 §2 lets a key hold more than the URI).

So it is with what a key of the operator's leaves out although the origin sees it: the
port, or another spelling, of ``$http_host`` beside a key with ``$host``; and a path that
``$uri`` makes the same as another one, which the origin need not do (``deception``).

nginx leaves all of this to ``proxy_cache_key`` and ``proxy_set_header``.

Imports: ``deception``, ``http``, ``options``.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from hashlib import sha256
from itertools import product

from cacheproxy.http.fields import HOP_BY_HOP, Fields
from cacheproxy.http.syntax import list_tokens
from cacheproxy.policy.deception import is_ambiguous
from cacheproxy.policy.options import CacheOptions, ProxyOptions

__all__ = ["METHOD_FIELDS", "STEERING_FIELDS", "UNKEYED_FIELDS", "UnkeyedFields", "spellings"]

#: Fields that say which URL, host, scheme or place a request is for, and who reads them.
#: X-Forwarded-For, X-Real-IP and their like are not among them: they name the client, are
#: different for each, and a page that depends on them is for one client alone.
STEERING_FIELDS = frozenset(
    {
        # The host that absolute links, redirects and script sources are made with: Django
        # (USE_X_FORWARDED_HOST), Rails, Symfony, Laravel, Spring, Express, Werkzeug's ProxyFix.
        b"forwarded",
        b"x-forwarded-host",
        b"x-forwarded-server",
        b"x-host",
        b"x-http-host-override",
        b"x-original-host",
        b"x-backend-host",
        b"x-real-host",
        b"proxy-host",
        # The scheme and the port: a redirect to https that the https site answers with.
        b"x-forwarded-proto",
        b"x-forwarded-protocol",
        b"x-forwarded-scheme",
        b"x-forwarded-ssl",
        b"x-forwarded-port",
        b"x-scheme",
        b"x-url-scheme",
        b"front-end-https",
        b"cloudfront-forwarded-proto",
        b"cf-visitor",
        # The path, or what is put before it: Symfony, Zend and Drupal (X-Original-URL,
        # X-Rewrite-URL, which also lead past a proxy's own rules), ASP.NET, Spring, Traefik,
        # Envoy, WSGI middleware for applications below a prefix.
        b"x-forwarded-prefix",
        b"x-forwarded-path",
        b"x-forwarded-pathbase",
        b"x-forwarded-uri",
        b"x-forwarded-url",
        b"x-forwarded-context",
        b"x-original-uri",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-rewrite-uri",
        b"x-request-uri",
        b"x-envoy-original-path",
        b"x-script-name",
        b"script-name",
        b"base-url",
        b"proxy-url",
        b"request-uri",
        # What a Next.js server takes for its own routing's word.
        b"x-invoke-path",
        b"x-invoke-status",
        b"x-invoke-query",
        b"x-matched-path",
        b"x-now-route-matches",
        b"x-middleware-prefetch",
        b"x-middleware-rewrite",
        b"x-middleware-subrequest",
    }
)

#: Fields that some frameworks take for the method: Rails, Laravel, Symfony, Express, ASP.NET.
METHOD_FIELDS = frozenset(
    {
        b"x-http-method-override",
        b"x-http-method",
        b"x-method-override",
        b"x-forwarded-method",
        b"x-original-method",
    }
)

#: What Connection may name without taking anything from the request that is meant for the origin.
_OF_CONNECTION = HOP_BY_HOP | {b"close", b"http2-settings"}


def spellings(names: Iterable[bytes]) -> frozenset[bytes]:
    """*names* with each hyphen also as an underscore.

    What reaches an application by CGI's rules (WSGI, Rack, PHP) is the same for both, and
    with ``underscores_in_headers`` clients may send either.
    """
    return frozenset(
        b"".join(parts)
        for name in names
        for parts in product(*[(b"-", b"_") if byte == 45 else (b"%c" % byte,) for byte in name])
    )


#: Every field this module is about, in every form.
UNKEYED_FIELDS = spellings(STEERING_FIELDS | METHOD_FIELDS)


#: Variables that hold what the client wrote of the host, port included.
_HOST_AS_WRITTEN = frozenset({"http_host", "is_request_port", "request_port"})

#: Variables that are the same for paths which were written differently; so are captures.
_PATH_AS_READ = frozenset({"document_uri", "uri"})


class UnkeyedFields:
    """Which of those fields get from a client to the origin of one location.

    *watches*: it matters also how the host or the path was written (`spelling`).
    """

    __slots__ = ("_host", "_methods", "_path", "_steering", "watches")

    def __init__(self, proxy: ProxyOptions, cache: CacheOptions) -> None:
        reaching = _reaching(proxy)
        keyed = frozenset() if cache.key is None else _read(cache.key.variables)
        self._methods = (spellings(METHOD_FIELDS) & reaching) - keyed
        self._steering = (UNKEYED_FIELDS & reaching) - self._methods
        read = frozenset() if cache.key is None else cache.key.variables
        self._host = (
            cache.key is not None
            and not _HOST_AS_WRITTEN.isdisjoint(proxy.reads)
            and _HOST_AS_WRITTEN.isdisjoint(read)
        )
        self._path = "request_uri" not in read and any(
            name in _PATH_AS_READ or name.isdigit() for name in read
        )
        self.watches = self._host or self._path

    def spelling(self, host: bytes, expected: bytes, path: bytes) -> list[bytes]:
        """What tells a request apart by how it was written, for `suffix`; mostly nothing.

        *host* is the Host field, *expected* what it is for nearly everybody, *path* the raw one.
        """
        lines = []
        if self._host and host != expected:
            lines.append(b"host " + host)
        if self._path and is_ambiguous(path):
            lines.append(b"path " + path)
        return lines

    def suffix(self, fields: Fields, spelling: Iterable[bytes] = ()) -> bytes:
        """What the key of a request with *fields* has to end in; empty without such a field.

        It starts with an byte that is in no field and no URI, so that no other request
        can have that key. *spelling* is what `spelling` gave.
        """
        steering = self._steering
        if steering.isdisjoint(fields.names()) and not spelling:
            return b""
        lines = [*spelling] + [
            b"%b:%b" % (name, value)
            for name in sorted(steering.intersection(fields.names()))
            for value in fields.get_all(name)
        ]
        return b"\0" + sha256(b"\n".join(lines)).hexdigest().encode()

    def obstacle(self, fields: Fields) -> bytes:
        """Why the cache must leave a request with *fields* alone, as a token; empty if it need not.

        ``method-override``: it may be no GET at all for the origin. ``connection``: by
        Connection it takes from what is sent what the answer would be stored by.
        """
        if not self._methods.isdisjoint(fields.names()):
            return b"method-override"
        if b"connection" in fields and _takes_away(fields):
            return b"connection"
        return b""


def _takes_away(fields: Fields) -> bool:
    named = set(list_tokens(fields.combined(b"connection") or b"")) - _OF_CONNECTION
    return not named.isdisjoint(fields.names())


def _reaching(proxy: ProxyOptions) -> Set[bytes]:
    """Fields that are passed on, or that what is sent is made of."""
    passed: Set[bytes] = frozenset()
    if proxy.pass_request_headers:
        passed = UNKEYED_FIELDS - {name.lower() for name, _ in proxy.set_header}
    return passed | _read(proxy.reads)


def _read(variables: Iterable[str]) -> frozenset[bytes]:
    """The request fields that are read by *variables*, in every form."""
    names = {name[5:].replace("_", "-").encode() for name in variables if name[:5] == "http_"}
    return spellings(names & (STEERING_FIELDS | METHOD_FIELDS))
