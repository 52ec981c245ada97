"""Builders with defaults for the tests of ``policy``."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from cacheproxy.http.fields import Fields
from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.http.syntax import format_http_date
from cacheproxy.policy.options import CacheOptions
from cacheproxy.policy.stored import StoredResponse

#: Wall seconds at which the tests' responses arrive.
NOW = 1_800_000_000.0


def date(offset: float = 0.0) -> bytes:
    """The HTTP-date *offset* seconds after `NOW`."""
    return format_http_date(NOW + offset)


def fields(*pairs: tuple[bytes, bytes]) -> Fields:
    """Field lines from pairs."""
    return Fields(pairs)


def request(*pairs: tuple[bytes, bytes], method: bytes = b"GET", version: int = 11) -> RequestHead:
    """A request for ``/``."""
    return RequestHead(method, b"/", version, Fields(pairs))


def response(*pairs: tuple[bytes, bytes], status: int = 200) -> ResponseHead:
    """A response without a body."""
    return ResponseHead(status, Fields(pairs))


def cache_options(valid: dict[int | None, int] | None = None, **others: Any) -> CacheOptions:
    """The options of a location with ``proxy_cache zone``."""
    return CacheOptions(cache="zone", valid=MappingProxyType(valid or {}), **others)


def stored(*pairs: tuple[bytes, bytes], **attributes: Any) -> StoredResponse:
    """A 200, stored at `NOW`, fresh for 100 seconds."""
    values: dict[str, Any] = {
        "key": b"key",
        "status": 200,
        "reason": b"OK",
        "fields": Fields(pairs),
        "request_time": NOW,
        "response_time": NOW,
        "lifetime": 100.0,
    }
    values.update(attributes)
    return StoredResponse(**values)
