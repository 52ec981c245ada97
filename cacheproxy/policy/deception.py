"""Web cache deception: pages that look like files, and URLs that are read in two ways.

A stranger has somebody who is logged in open ``/account/x.css``. The location caches
what looks like a style sheet, the application answers with the account, and the stranger
fetches it from the cache. It works where the operator's word alone makes a response
storable, and where the proxy and the origin do not read a URL alike.

So a response that its origin did not declare shareable is not stored where its path could
mean something else to the origin, or where its media type is not that of the file its
name promises. ``proxy_cache_deception_armor off``, a directive of ours, leaves it to the
operator, as nginx does.

Imports: ``cache_control``, ``freshness``, ``http``.
"""

from __future__ import annotations

import re

from cacheproxy.http.messages import RequestHead, ResponseHead
from cacheproxy.policy.cache_control import parse_targeted_directives, response_directives
from cacheproxy.policy.freshness import explicit_lifetime

__all__ = ["MEDIA_TYPES", "deceives", "declared_shareable", "is_ambiguous"]

#: A path with any of these is not surely the same resource for the origin as it is here: a
#: delimiter or control character, encoded (RFC 3986 §2.2: not equivalent to the plain one) or
#: out of place, an escape that is encoded again, an empty or a dot segment.
_AMBIGUOUS = re.compile(
    rb"""%(?: [01][0-9a-f] | 7f             # controls
            | 23 | 2e | 2f | 3b | 3f | 5c   # "#", ".", "/", ";", "?", backslash
            | 25(?=[0-9a-f]{2}) )           # what is an escape after decoding
       | [;\\\#] | // | /\.{1,2}(?:/|\Z)""",
    re.IGNORECASE | re.VERBOSE,
)

_ABSOLUTE = re.compile(rb"[A-Za-z]+://[^/?#]*")

_EXTENSION = re.compile(rb"\.([0-9A-Za-z]{1,12})\Z")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")

_IMAGE = ("image/",)
_MEDIA = ("audio/", "video/", "application/ogg", "application/vnd.apple.mpegurl",
          "application/x-mpegurl", "application/dash+xml", "application/mp4")  # fmt: skip
_FONT = ("font/", "application/font", "application/x-font", "application/vnd.ms-fontobject")
_SCRIPT = ("text/javascript", "application/javascript", "application/x-javascript",
           "application/ecmascript", "text/ecmascript")  # fmt: skip
_OFFICE = ("application/vnd.", "application/msword", "application/rtf", "text/rtf")
_PACKED = ("application/zip", "application/gzip", "application/x-", "application/vnd.",
           "application/zstd", "application/java-archive", "application/pdf",
           "application/postscript")  # fmt: skip

#: What a file may be, by the extensions that make a cache take it for one.
MEDIA_TYPES: dict[bytes, tuple[str, ...]] = {
    extension.encode(): types
    for names, types in (
        ("css", ("text/css",)),
        ("js mjs cjs", _SCRIPT),
        ("map", (*_SCRIPT, "application/json", "text/plain")),
        ("wasm", ("application/wasm",)),
        ("webmanifest", ("application/manifest+json", "application/json")),
        ("png jpg jpeg jpe gif webp avif apng bmp ico cur tif tiff heic heif jxl pict", _IMAGE),
        ("svg svgz", (*_IMAGE, "text/xml", "application/xml")),
        ("woff woff2 ttf otf ttc eot", _FONT),
        ("mp3 mp4 m4a m4v webm ogg oga ogv opus aac flac wav mid midi mov", _MEDIA),
        ("avi mkv mpg mpeg ts m3u8 mpd pls", (*_MEDIA, "application/pls+xml")),
        ("pdf ps eps ai", ("application/pdf", "application/postscript")),
        ("doc docx xls xlsx ppt pptx odt ods odp rtf", _OFFICE),
        ("zip gz tgz bz2 xz zst 7z rar tar jar war ear", _PACKED),
        ("exe msi dmg iso img bin apk deb rpm class swf", _PACKED),
        ("csv", ("text/csv", "text/plain", "application/csv", "application/vnd.ms-excel")),
        ("txt", ("text/plain",)),
    )
    for extension in names.split()
}  # fmt: skip

#: What says nothing but "some file", which no page is.
_ANY_FILE = ("application/octet-stream", "binary/octet-stream")


def declared_shareable(response: ResponseHead, response_time: float) -> bool:
    """Whether the response itself says, whatever is ignored of it, that it may be shared.

    ``public``, or a lifetime of its own in Cache-Control, CDN-Cache-Control or Expires, and
    nothing to the contrary.
    """
    fields = response.fields
    directives = response_directives(fields)
    targeted = fields.combined(b"cdn-cache-control")
    if targeted is not None:
        directives = parse_targeted_directives(targeted) or directives
    if directives.no_store or directives.private or directives.no_cache:
        return False
    lifetime = explicit_lifetime(fields, directives, response_time)
    return directives.public or (lifetime is not None and lifetime.seconds > 0)


def is_ambiguous(path: bytes) -> bool:
    """Whether a raw *path*, as the client wrote it, may be read in more than one way."""
    return _AMBIGUOUS.search(path) is not None


def deceives(request: RequestHead, response: ResponseHead) -> str:
    """What makes *response* suspect under the URL of *request*; empty if nothing does.

    ``path``: the path is ambiguous. ``type``: the name is a static file's, and the media
    type is another. A response other than a success says little of its own (most often it
    is an error page); its type counts only where the request has a cookie.
    """
    target = request.target
    if target[:1] != b"/":
        match = _ABSOLUTE.match(target)
        target = target[match.end() :] if match is not None else target
    path = target.partition(b"?")[0]
    if is_ambiguous(path):
        return "path"
    if response.status >= 300 and b"cookie" not in request.fields:
        return ""
    found = _EXTENSION.search(_ESCAPE.sub(lambda match: bytes((int(match.group(1), 16),)), path))
    promised = MEDIA_TYPES.get(found.group(1).lower()) if found is not None else None
    value = response.fields.get(b"content-type")
    if promised is None or value is None:
        return ""
    media_type = value.partition(b";")[0].strip(b" \t").lower().decode("latin-1")
    return "" if media_type.startswith((*promised, *_ANY_FILE)) else "type"
