"""The few OpenSSL calls that pyOpenSSL has no method for.

Everything that reaches behind pyOpenSSL's public interface stands here and copes
with a version that lacks it, so that an update can break one small file only.

Source: OpenSSL's manual pages of the functions named. Imports pyOpenSSL only.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

__all__ = [
    "MODE_RELEASE_BUFFERS",
    "OP_PRIORITIZE_CHACHA",
    "error_reason",
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
