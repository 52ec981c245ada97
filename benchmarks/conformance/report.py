"""The score as text: what the run prints, and ``docs/conformance.rst``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

from benchmarks.conformance.decisions import reason
from benchmarks.conformance.score import Outcome, score
from benchmarks.conformance.suite import Group, Results

__all__ = ["document", "failures", "summary"]

KINDS = ("required", "optimal", "check")

_HEAD = """\
Conformance
===========

The public suite of HTTP cache tests (`its sources <https://github.com/http-tests/cache-tests>`_,
`results of other caches <https://cache-tests.fyi>`_), run by
``make conformance``: the suite's origin, the proxy before it with ``proxy_cache`` and
``proxy_cache_heuristic on`` (which is off by default), the suite's client; every other directive
of the cache has its default. Tests for browsers only are left out. A test counts
as passed only if the tests that it depends on pass too, as on the suite's site.

The score is for the suite's current sources. Its release in npm's registry, which is taken where
the sources are out of reach, is older than RFC 9111: of malformed ``Age`` fields, among others, it
asks for the opposite.

*Required* tests are about what RFC 9111 demands, *optimal* ones about using a stored response
where that is allowed; *checks* only show how a cache behaves, and have no right answer.
"""


def summary(groups: Sequence[Group], found: Mapping[str, Outcome]) -> str:
    """One line: the score of each kind."""
    total = score((test for group in groups for test in group.tests), found)
    return ", ".join(f"{total.of(kind)} {kind}" for kind in KINDS)


def failures(groups: Sequence[Group], found: Mapping[str, Outcome], results: Results) -> str:
    """The tests that did not pass, by group, with what the client said."""
    lines = []
    for group in groups:
        missed = [test for test in group.tests if found[test.id] is not Outcome.PASS]
        if missed:
            lines.append(f"{group.name}:")
        for test in missed:
            result = results.get(test.id)
            said = result[1] if isinstance(result, list) and len(result) > 1 else ""
            why = "" if test.kind == "check" else f" [{reason(test.id).split(':')[0].lower()}]"
            lines.append(f"  {test.kind:8} {test.id}: {found[test.id].value}. {said}{why}")
    return "\n".join(lines)


def document(
    version: str,
    groups: Sequence[Group],
    found: Mapping[str, Outcome],
    others: Mapping[str, Mapping[str, Outcome]],
) -> str:
    """``docs/conformance.rst``; *others* are the outcomes of other caches by their names."""
    parts = [_HEAD, _scores(version, groups, found, others), _by_group(groups, found)]
    parts.append(_missed(groups, found))
    return "\n".join(parts)


def _scores(
    version: str,
    groups: Sequence[Group],
    found: Mapping[str, Outcome],
    others: Mapping[str, Mapping[str, Outcome]],
) -> str:
    caches = [("cacheproxy", found), *others.items()]
    rows = [(name, *_row(groups, outcome)) for name, outcome in caches]
    title = f"The score, with the suite's {version}"
    return f"\n{title}\n{'-' * len(title)}\n\n" + _table(("", *KINDS), rows)


def _row(groups: Sequence[Group], found: Mapping[str, Outcome]) -> tuple[str, ...]:
    total = score((test for group in groups for test in group.tests), found)
    return tuple(total.of(kind) for kind in KINDS)


def _by_group(groups: Sequence[Group], found: Mapping[str, Outcome]) -> str:
    rows = []
    for group in groups:
        one = score(group.tests, found)
        rows.append((group.name, *(one.of(k) if one.total.get(k) else "" for k in KINDS)))
    return "\nBy group\n--------\n\n" + _table(("group", *KINDS), rows)


def _missed(groups: Sequence[Group], found: Mapping[str, Outcome]) -> str:
    lines = ["\nNot passed, and why\n-------------------\n"]
    for kind in ("required", "optimal"):
        for group in groups:
            for test in group.tests:
                if test.kind == kind and found[test.id] is not Outcome.PASS:
                    lines.append(f"``{test.id}`` ({kind})\n   {test.name}\n")
                    lines.append(_indented(reason(test.id)))
    return "\n".join(lines) + _checks(groups, found)


def _checks(groups: Sequence[Group], found: Mapping[str, Outcome]) -> str:
    """The checks that were answered with no, those with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for group in groups:
        for test in group.tests:
            if test.kind == "check" and found[test.id] is not Outcome.PASS:
                by_reason.setdefault(reason(test.id), []).append(f"``{test.id}``")
    if not by_reason:
        return ""
    title = "Checks answered with no, and why"
    lines = [f"\n{title}\n{'-' * len(title)}\n"]
    for text, names in by_reason.items():
        lines.append(_filled(f"{', '.join(names)}: {text}", "* ", "  "))
    return "\n".join(lines)


def _indented(text: str) -> str:
    return _filled(text, "   ", "   ")


def _filled(text: str, first: str, others: str) -> str:
    lines = wrap(text, 96, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    # A simple table takes an empty first cell for a continued row.
    body = [tuple(cell or "\\" for cell in row) for row in (head, *rows)]
    widths = [max(len(row[index]) for row in body) for index in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in body
    ]
    return "\n".join([rule, texts[0], rule, *texts[1:], rule, ""])
