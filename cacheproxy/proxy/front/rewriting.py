"""The rewrite module at work: ``rewrite``, ``set``, ``if``, ``break``, ``return``.

A server's instructions run before a location is looked for, a location's once it is found (its
first phase). Variables that ``set`` gives a value, captures, ``$uri`` and ``$args`` change on the
way; an ``if`` whose condition holds changes the location that the phases after it are those of.

Unlike in nginx a URI whose dot segments lead above what its replacement starts with is answered
404: what is captured can form them (``rewrite ^/f(.*)$ /d/$1`` with ``/f../x``).

Source: nginx ``ngx_http_rewrite_handler``, ``ngx_http_script_regex_end_code``.
Imports: ``policy``, ``proxy`` below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cacheproxy.policy.containment import literal_start, rendered_climbs
from cacheproxy.policy.options import Return
from cacheproxy.policy.rewrite import (
    Break,
    Comparison,
    Condition,
    FileTest,
    Flag,
    If,
    Instruction,
    PatternTest,
    Rewrite,
    SetVariable,
    escape_args,
    joined_args,
    unescape_redirect,
)
from cacheproxy.proxy.answer.answers import answer_redirect, answer_return
from cacheproxy.proxy.exchange.exchange import Exchange
from cacheproxy.proxy.exchange.request import Request
from cacheproxy.proxy.site.phases import Progress
from cacheproxy.template import Template

__all__ = ["rewrite_in_location", "rewrite_in_server"]

#: Takes the lines of ``rewrite_log``.
Note = Callable[[str], None]


@dataclass(slots=True)
class _Outcome:
    """What the instructions have come to; nothing of it is set where the request just goes on."""

    #: ``return`` answers.
    answer: Return | None = None
    #: A redirect answers: its status and where to.
    redirect: tuple[int, bytes] | None = None
    #: The rewritten URI is empty: 500.
    failed: bool = False
    #: Its dot segments lead above what the replacement starts with: 404.
    climbs: bool = False
    #: The URI has changed, and a location is to be looked for again.
    relocates: bool = False
    #: Whether ``set`` escapes numbered captures; until a ``rewrite`` has matched (nginx).
    escapes: bool = True


def rewrite_in_location(exchange: Exchange) -> Progress:
    """The phase of a location's own instructions."""
    request = exchange.request
    location = request.location
    outcome = _carry_out(exchange, location.location.instructions)
    if outcome is None:
        return Progress.ANSWERED
    if outcome.relocates:
        if not exchange.goes_in_circles():
            request.enter_inside()
            exchange.enter_location()
        return Progress.ANSWERED
    if request.location is location:
        return Progress.GO_ON
    exchange.run_phases(request.location.phases)
    return Progress.ANSWERED


def rewrite_in_server(exchange: Exchange) -> None:
    """Carry out the instructions of the server's own level, then enter a location.

    The request is at that level, with its URI and what was captured so far.
    """
    request = exchange.request
    outcome = _carry_out(exchange, request.server.root.location.instructions)
    if outcome is None:
        return
    if outcome.relocates:
        request.enter_inside()
    # By a route of its own: what decides where it goes is not Host and target alone.
    exchange.enter_location()


def _carry_out(exchange: Exchange, instructions: Sequence[Instruction]) -> _Outcome | None:
    """Carry out *instructions*; None where the request has been answered."""
    request = exchange.request
    note: Note | None = None
    if request.location.core.rewrite_log:

        def note(line: str) -> None:
            exchange.log_error("notice", line)

    outcome = _Outcome()
    _run(instructions, request, note, outcome)
    if outcome.answer is not None:
        answer_return(exchange, outcome.answer)
    elif outcome.redirect is not None:
        answer_redirect(exchange, *outcome.redirect)
    elif outcome.failed:
        exchange.log_error("error", "the rewritten URI has a zero length")
        exchange.answer_status(500)
    elif outcome.climbs:
        exchange.log_error("error", "the rewritten URI leads above the path that it starts with")
        exchange.answer_status(404)
    else:
        return outcome
    return None


def _run(
    instructions: Sequence[Instruction],
    request: Request,
    note: Note | None,
    outcome: _Outcome,
) -> bool:
    """Whether the instructions behind these are to be carried out too."""
    for instruction in instructions:
        if isinstance(instruction, Rewrite):
            if not _rewrite(instruction, request, note, outcome):
                return False
        elif isinstance(instruction, SetVariable):
            _set(instruction, request, outcome)
        elif isinstance(instruction, If):
            if _holds(instruction.condition, request):
                if instruction.location is not None:
                    request.enter_if(instruction.location)
                if not _run(instruction.instructions, request, note, outcome):
                    return False
        elif isinstance(instruction, Break):
            outcome.relocates = False
            return False
        else:
            outcome.answer = instruction
            return False
    return True


def _set(instruction: SetVariable, request: Request, outcome: _Outcome) -> None:
    made = instruction.value
    value = _render_escaped(made, request) if outcome.escapes else made.render(request)
    if instruction.name == "args":
        request.rewrite_to(request.route.uri, value)
    else:
        request.set_variable(instruction.name, value)


def _holds(condition: Condition, request: Request) -> bool:
    if isinstance(condition, Comparison):
        return condition.holds(request)
    if isinstance(condition, PatternTest):
        match = condition.pattern.search(condition.subject.render(request))
        request.capture(match)
        return (match is not None) is not condition.negated
    return _is_file(condition, request)


def _is_file(test: FileTest, request: Request) -> bool:
    files, path = request.world.files, test.subject.render(request)
    if test.kind == "f":
        found = files.is_file(path)
    elif test.kind == "d":
        found = files.is_directory(path)
    elif test.kind == "x":
        found = files.is_executable(path)
    else:
        found = files.exists(path)
    return found is not test.negated


def _rewrite(
    rewrite: Rewrite, request: Request, note: Note | None, outcome: _Outcome
) -> bool:
    uri: bytes = request.route.uri
    match = rewrite.pattern.search(uri)
    if note is not None:
        does = "matches" if match is not None else "does not match"
        note(f'"{rewrite.pattern.pattern.decode("latin-1")}" {does} "{uri.decode("latin-1")}"')
    request.capture(match)
    if match is None:
        return True
    own: bytes = request.route.args
    if rewrite.flag.status:
        location = _redirect(rewrite, request, own)
        outcome.redirect = rewrite.flag.status, location
        if note is not None:
            note(f'rewritten redirect: "{location.decode("latin-1")}"')
        return False
    outcome.escapes = False
    path = rewrite.path.render(request)
    made = None if rewrite.args is None else _render_escaped(rewrite.args, request)
    args = joined_args(rewrite, made, own)
    if note is not None:
        note(f'rewritten data: "{path.decode("latin-1")}", args: "{args.decode("latin-1")}"')
    outcome.failed = not path
    outcome.climbs = rendered_climbs(literal_start(rewrite.path.text) or b"/", path)
    if outcome.failed or outcome.climbs:
        return False
    request.rewrite_to(path, args)
    if rewrite.flag is Flag.BREAK:
        outcome.relocates = False
        request.keep_location()
    else:
        outcome.relocates = True
    return rewrite.flag is Flag.NEXT


def _redirect(rewrite: Rewrite, request: Request, own: bytes) -> bytes:
    """Where to: the replacement, with the request's query where it is kept."""
    location = _render_escaped(rewrite.path, request)
    if rewrite.args is not None:
        location += b"?" + _render_escaped(rewrite.args, request)
    location = unescape_redirect(location)
    if rewrite.keeps_args and own:
        location += (b"?" if rewrite.args is None else b"&") + own
    return location


def _render_escaped(template: Template, request: Request) -> bytes:
    """*template*, with the numbered captures escaped where the client's path had escapes.

    As in nginx: what was not escaped as it came needs no escapes on its way out.
    """
    raw = request.route.raw_path
    if b"%" not in raw and b"+" not in raw:
        return template.render(request)
    captures = {
        name: escape_args(value) if name.isdigit() else value
        for name, value in request.captures.items()
    }
    return template.render(request.with_captures(captures))
