"""Regular expressions as nginx writes them (PCRE), compiled with :mod:`re`.

The two agree on what configurations use, apart from spelling: named groups,
``\\z``, ``\\h`` and POSIX classes are translated here. Groups are variables,
so their names become lower case, as those of variables are. What has no equal in
:mod:`re` is refused like any faulty expression.

Imports: ``errors``.
"""

from __future__ import annotations

import re
import warnings

from cacheproxy.errors import ConfigError

__all__ = ["compile_pattern"]

_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "space": r"\s",
    "word": r"\w",
    "xdigit": "0-9a-fA-F",
    "punct": r"!-/:-@\[-`{-~",
}

_SPELLING = re.compile(
    r"\\(?:k(?:<(?P<k1>\w+)>|'(?P<k2>\w+)'|\{(?P<k3>\w+)\})|(?P<escape>.))"
    r"|\[:(?P<posix>[a-z]+):\]"
    r"|\(\?P=(?P<back>\w+)\)"
    r"|\(\?(?:P?<(?P<name>\w+)>|'(?P<quoted>\w+)')",
    re.DOTALL,
)
_ESCAPES = {"z": r"\Z", "Z": r"(?=\n?\Z)", "h": r"[ \t]", "K": None, "G": None}


def compile_pattern(text: str, *, ignore_case: bool = False) -> re.Pattern[bytes]:
    """Compile a PCRE expression over bytes; raises :class:`ConfigError` if it is faulty."""
    flags = re.IGNORECASE if ignore_case else re.RegexFlag(0)
    try:
        with warnings.catch_warnings():
            # "[[" may come to mean a nested set in re: in PCRE and today it does not
            warnings.simplefilter("ignore", FutureWarning)
            source = _SPELLING.sub(_translate, text)
            return re.compile(source.encode("utf-8", "surrogateescape"), flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f'invalid regular expression "{text}": {error}') from error


def _translate(match: re.Match[str]) -> str:
    escape = match.group("escape")
    if escape is not None:
        translated = _ESCAPES.get(escape, match.group())
        if translated is None:
            raise re.error(f"\\{escape} is not supported")
        return translated
    posix = match.group("posix")
    if posix is not None:
        if posix not in _POSIX:
            raise re.error(f"unknown POSIX class name {posix}")
        return _POSIX[posix]
    name = match.group("name") or match.group("quoted")
    if name is not None:
        return f"(?P<{name.lower()}>"
    reference = next(filter(None, match.group("back", "k1", "k2", "k3")))
    return f"(?P={reference.lower()})"
