"""The files that stand in for nginx's."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.config.bundled import MIME_TYPES
from tests.config import builders


class BundledTests(SynchronousTestCase):
    """``mime.types`` and ``proxy_params``."""

    def test_types(self) -> None:
        """The usual extensions of a web application have their types."""
        types = builders.location("root /srv;", "include mime.types;").core.types
        for extension, type_ in {
            "html": b"text/html",
            "css": b"text/css",
            "js": b"application/javascript",
            "json": b"application/json",
            "svg": b"image/svg+xml",
            "woff2": b"font/woff2",
            "webp": b"image/webp",
            "wasm": b"application/wasm",
            "pdf": b"application/pdf",
        }.items():
            self.assertEqual(types[extension], type_)

    def test_no_extension_twice(self) -> None:
        """Each extension means one type."""
        extensions = " ".join(MIME_TYPES.values()).split()
        self.assertEqual(len(extensions), len(set(extensions)))

    def test_proxy_params(self) -> None:
        """Debian's four fields."""
        proxy = builders.location("include proxy_params; proxy_pass http://a;").proxy
        self.assertEqual(
            [name for name, _ in proxy.set_header],
            [b"Host", b"X-Real-IP", b"X-Forwarded-For", b"X-Forwarded-Proto"],
        )
