"""Who writes into an exchange: its own package alone, read from the source with ``ast``.

Others say what has happened, by a method of the exchange, its request, its response or its
record. So what an attribute means, and when it may change, can be read in one place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cacheproxy.proxy
from cacheproxy.proxy.exchange.exchange import Exchange

PROXY = Path(cacheproxy.proxy.__file__).parent
PACKAGE = PROXY.parent

#: What an exchange and its parts are called where they are attributes.
PARTS = frozenset({"exchange", "_exchange", "request", "response", "record"})
#: The classes of what is owned by ``proxy.exchange``.
CLASSES = frozenset({"Exchange", "Request", "Response", "Record"})

MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PROXY / "exchange"
)


def written(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Each attribute that is assigned to or deleted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node


def chain(node: ast.expr) -> list[str]:
    """The names of ``a.b.c``, also through calls: ``a.b().c``; empty where it has no name."""
    names: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            break
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def annotated(function: ast.FunctionDef) -> set[str]:
    """The parameters of *function* that are an exchange, or a part of one."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {
        argument.arg
        for argument in arguments
        if argument.annotation is not None
        and ast.unparse(argument.annotation).strip("'\"").split(".")[-1] in CLASSES
    }


def owned_names(function: ast.FunctionDef) -> set[str]:
    """The local names in *function* that stand for an exchange, or for a part of one."""
    names = annotated(function) | {"exchange"}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=False))
                for name, value in pairs:
                    if isinstance(name, ast.Name) and is_owned(value, names):
                        names.add(name.id)
    return names


def is_owned(value: ast.expr, names: set[str]) -> bool:
    """Whether *value* is an exchange or a part of one: by its name, or because it is made here."""
    if isinstance(value, ast.Call):
        made = ast.unparse(value.func)
        return made in CLASSES or made.endswith(".detached")
    found = chain(value)
    if not found:
        return False
    if len(found) == 1:
        return found[0] in names
    first, *rest = found
    if rest[-1] in ("exchange", "_exchange"):
        return True
    return rest[-1] in PARTS and (first in names or bool({"exchange", "_exchange"} & set(rest)))


def inherited(tree: ast.AST) -> Iterator[ast.Attribute]:
    """What a subclass of an owned class writes of what it has inherited."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and CLASSES & {ast.unparse(base) for base in node.bases}:
            for one in written(node):
                if isinstance(one.value, ast.Name) and one.attr in Exchange.__slots__:
                    yield one


def offences(source: str) -> Iterator[tuple[int, str]]:
    """The line and the text of each assignment to an attribute of an exchange or its parts."""
    tree = ast.parse(source)
    for node in inherited(tree):
        yield node.lineno, ast.unparse(node)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            names = owned_names(function)
            for node in written(function):
                if is_owned(node.value, names):
                    yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_else_writes_into_an_exchange(path: Path) -> None:
    """A module writes only into what it owns."""
    assert list(offences(path.read_text())) == []


@pytest.mark.parametrize(
    "text",
    [
        "exchange.lost = True",
        "exchange.request.method = b'GET'",
        "self.exchange.source = self",
        "self._exchange.record.cache_status += b''",
        "self.turn.exchange.response.status = 1",
        "request = exchange.request\n    request.method = b'GET'",
        "exchange, options = self.exchange, 1\n    exchange.lost = True",
        "other = cause.detached(1, 2)\n    other.logged = True",
        "made = Request()\n    made.method = b''",
        "given.state = 1",
        "del exchange.source",
    ],
)
def test_writing_is_found(text: str) -> None:
    """The test above sees through the ways in which an exchange is got at."""
    assert list(offences(f"def f(self, cause, given: Response):\n    {text}\n")), text


@pytest.mark.parametrize(
    "text",
    ["exchange.request.become_get()", "self.request = UpstreamRequest()", "record.status = 5"],
)
def test_what_is_a_modules_own_is_left_alone(text: str) -> None:
    """Methods are called, and other things may have the same names."""
    assert not list(offences(f"def f(self, exchange):\n    {text}\n")), text


def test_subclass_does_not_write_what_it_inherits() -> None:
    """It is not its own."""
    text = "class Other(Exchange):\n    def f(self):\n        self.{} = None\n"
    assert list(offences(text.format("source")))
    assert not list(offences(text.format("_own")))
