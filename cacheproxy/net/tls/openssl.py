"""The few OpenSSL calls that pyOpenSSL has no method for.

Everything that reaches behind pyOpenSSL's public interface stands here and copes
with a version that lacks it, so that an update can break one small file only.

Source: OpenSSL's manual pages of the functions named. Imports pyOpenSSL only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from OpenSSL import SSL

__all__ = [
    "MODE_RELEASE_BUFFERS",
    "OP_PRIORITIZE_CHACHA",
    "NativePump",
    "PublicPump",
    "Pump",
    "error_reason",
    "make_pump",
    "session_reused",
    "set_groups",
    "set_signature_algorithms",
    "verify_error_text",
]

#: ``SSL_MODE_RELEASE_BUFFERS``: an idle connection keeps no record buffers (34 KB less).
MODE_RELEASE_BUFFERS = 0x10

#: ``SSL_OP_PRIORITIZE_CHACHA``.
OP_PRIORITIZE_CHACHA = 1 << 21

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)


def _call_list(context: SSL.Context, function: str, names: str) -> bool:
    call = getattr(_lib, function, None)
    native = getattr(context, "_context", None)
    if call is None or native is None:
        raise NotImplementedError(function)
    done = bool(call(native, names.encode("ascii", "replace")) == 1)
    if not done:
        _lib.ERR_clear_error()
    return done


def set_groups(context: SSL.Context, names: str) -> bool:
    """Key exchange groups, best first, colon-separated; False where a name is unknown.

    Raises ``NotImplementedError`` where the library has no such call.
    """
    return _call_list(context, "SSL_CTX_set1_curves_list", names)


def set_signature_algorithms(context: SSL.Context, names: str) -> bool:
    """Like ``set_groups`` for signature algorithms."""
    return _call_list(context, "SSL_CTX_set1_sigalgs_list", names)


def session_reused(connection: SSL.Connection) -> bool:
    """Whether the handshake resumed a session."""
    call = getattr(_lib, "SSL_session_reused", None)
    native = getattr(connection, "_ssl", None)
    return bool(call is not None and native is not None and call(native))


def verify_error_text(number: int) -> str:
    """The words for an X.509 verification error, or only the number."""
    call = getattr(_lib, "X509_verify_cert_error_string", None)
    if call is None:
        return str(number)
    text: bytes = _ffi.string(call(number))
    return f"{number}:{text.decode('latin-1')}"


def error_reason(error: Exception) -> str:
    """OpenSSL's own words for *error*, the part after the function names."""
    queue = error.args[0] if error.args else ()
    if isinstance(queue, list) and queue:
        return "; ".join(str(entry[-1] or entry[0]) for entry in queue)
    return str(error) or type(error).__name__


#: Bytes taken from OpenSSL at once; a record and what it adds, four times.
_BUFFER_SIZE = 66 * 1024


class Pump(Protocol):
    """Moves bytes through one connection's memory BIOs.

    Methods raise pyOpenSSL's errors, apart from ``WantReadError``, which is an empty
    result. To be used from one thread.
    """

    def feed(self, data: bytes) -> None:
        """Give OpenSSL what the peer sent."""

    def decrypt(self) -> bytes:
        """At most one record's plaintext; empty where more bytes are needed."""

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for *data*, which is not empty; also what else was waiting."""

    def encrypt_slices(self, data: bytes, size: int) -> Iterator[bytes]:
        """Like ``encrypt`` in records of at most *size* bytes of plaintext."""

    def take(self) -> bytes:
        """What OpenSSL wants sent, empty where there is nothing."""


class PublicPump:
    """``Pump`` by pyOpenSSL's public methods; works with any version."""

    __slots__ = ("_connection",)

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def feed(self, data: bytes) -> None:
        self._connection.bio_write(data)

    def decrypt(self) -> bytes:
        try:
            return self._connection.recv(_BUFFER_SIZE)
        except SSL.WantReadError:
            return b""

    def encrypt(self, data: bytes) -> bytes:
        return b"".join(self.encrypt_slices(data, len(data)))

    def encrypt_slices(self, data: bytes, size: int) -> Iterator[bytes]:
        view = memoryview(data)
        position = 0
        while position < len(data):
            # A peer may have asked for records shorter than the slice (RFC 6066 §4).
            position += self._connection.send(view[position : position + size])
            yield self.take()

    def take(self) -> bytes:
        parts = []
        try:
            while True:
                parts.append(self._connection.bio_read(_BUFFER_SIZE))
                if len(parts[-1]) < _BUFFER_SIZE:
                    break
        except SSL.WantReadError:
            pass
        return b"".join(parts)


class NativePump:
    """``Pump`` by OpenSSL's functions as pyOpenSSL binds them.

    A third of the time of the public methods for a small record: no buffer is
    allocated, nothing is raised to say "not yet", errors are looked at only where
    a call has failed.
    """

    __slots__ = ("_connection", "_from_ssl", "_into_ssl", "_ssl")

    def __init__(self, connection: SSL.Connection) -> None:
        native: Any = connection
        self._connection: Any = connection
        self._ssl = native._ssl
        self._into_ssl = native._into_ssl
        self._from_ssl = native._from_ssl

    def feed(self, data: bytes) -> None:
        if _BIO_write(self._into_ssl, data, len(data)) != len(data):
            raise SSL.Error([("", "BIO_write", "out of memory")])

    def decrypt(self) -> bytes:
        count = _SSL_read(self._ssl, _buffer, _BUFFER_SIZE)
        if count > 0:
            plain: bytes = _content[:count]
            return plain
        try:
            self._connection._raise_ssl_error(self._ssl, count)
        except SSL.WantReadError:
            pass
        return b""

    def encrypt(self, data: bytes) -> bytes:
        size = len(data)
        sent = _SSL_write(self._ssl, data, size)
        if sent != size:
            if sent <= 0:
                self._connection._raise_ssl_error(self._ssl, sent)
            return self.take() + b"".join(self.encrypt_slices(data[sent:], size))
        count = _BIO_read(self._from_ssl, _buffer, _BUFFER_SIZE)
        output: bytes = _content[:count]
        return output if count < _BUFFER_SIZE else output + self.take()

    def encrypt_slices(self, data: bytes, size: int) -> Iterator[bytes]:
        total = len(data)
        position = 0
        with _ffi.from_buffer(data) as start:
            while position < total:
                length = min(size, total - position)
                sent = _SSL_write(self._ssl, start + position, length)
                if sent <= 0:
                    self._connection._raise_ssl_error(self._ssl, sent)
                position += sent
                yield self.take()

    def take(self) -> bytes:
        count = _BIO_read(self._from_ssl, _buffer, _BUFFER_SIZE)
        if count <= 0:
            return b""
        output: bytes = _content[:count]
        return output if count < _BUFFER_SIZE else output + self.take()


def _native_works() -> bool:
    """Whether this pyOpenSSL binds what ``NativePump`` needs."""
    try:
        probe: Any = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        probe.set_connect_state()
        pump = NativePump(probe)
        pump.feed(b"probe")
        return pump.take() == b"" and callable(probe._raise_ssl_error) and _SSL_write is not None
    except Exception:
        return False


_SSL_read: Any = getattr(_lib, "SSL_read", None)
_SSL_write: Any = getattr(_lib, "SSL_write", None)
_BIO_read: Any = getattr(_lib, "BIO_read", None)
_BIO_write: Any = getattr(_lib, "BIO_write", None)
if _ffi is not None:
    _buffer = _ffi.new("char[]", _BUFFER_SIZE)
    _content = _ffi.buffer(_buffer)

_pump_class: type[NativePump] | type[PublicPump] = NativePump if _native_works() else PublicPump


def make_pump(connection: SSL.Connection) -> Pump:
    """The fastest pump that this pyOpenSSL allows."""
    return _pump_class(connection)
