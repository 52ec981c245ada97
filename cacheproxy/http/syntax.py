"""The small grammars that fields share.

RFC 9110 §5.6 (tokens, lists, quoted strings, parameters), §5.6.7 (HTTP-date),
§8.8.3 (entity tags), §12.4.2 (quality values); RFC 9111 §1.2.2 (delta-seconds).

Imports nothing of the project.
"""

from __future__ import annotations

__all__ = ["is_token", "list_tokens"]

TOKEN_OCTETS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def is_token(value: bytes) -> bool:
    """Whether *value* is a ``token`` (RFC 9110 §5.6.2)."""
    return bool(value) and not value.translate(None, TOKEN_OCTETS)


def list_tokens(value: bytes) -> list[bytes]:
    """The members of a comma-separated list of tokens, lower-cased, empty ones left out.

    For fields whose members are tokens only (``Connection``, ``Upgrade``,
    ``Transfer-Encoding`` …); a quoted string is not understood.
    Source: RFC 9110 §5.6.1.2.
    """
    members = [member.strip(b" \t") for member in value.lower().split(b",")]
    return [member for member in members if member]
