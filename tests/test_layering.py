"""The direction of imports, read from the source with ``ast``.

``errors < http < template < policy < config < proxy < {storage, net} < service``: a module
imports only from packages to the left of its own, and so do the packages inside ``proxy``.
Up to and including ``proxy`` nothing may reach the network, the clock, the file system or
chance: those come in as arguments.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
SOURCE = TOP / "cacheproxy"

#: Layer by package; what is equal may not import each other. Modules at the top that
#: are not named here (service, tap, resource …) stand above all of them.
LAYERS = {
    "errors": 0,
    "http": 1,
    "template": 2,
    "policy": 3,
    "config": 4,
    "proxy": 5,
    "storage": 6,
    "net": 6,
}
TOP_LAYER = 7
PURE_UP_TO = LAYERS["proxy"]

#: The packages of ``proxy``, each of which imports from those before it alone.
PROXY_ORDER = ("interfaces", "site", "exchange", "answer", "upstream", "cache", "slice", "front")

IMPURE = {
    "OpenSSL",
    "asyncio",
    "concurrent",
    "diskcache",
    "mmap",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "twisted",
    "uvloop",
}
#: Module → what it may import all the same, and why.
EXCEPTIONS = {
    "config/source.py": {"os"},  # The only reader of files below storage.
}

MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def imported(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Each module that *path* imports, the line, and whether it is for type checkers alone."""
    tree = ast.parse(path.read_text(), str(path))
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in checking
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in NAMES else node.module, node.lineno, id(node) in checking


def layer(module: str) -> int:
    """The layer of a module of ours."""
    parts = module.split(".")
    return LAYERS.get(parts[1], TOP_LAYER) if len(parts) > 1 else -1


def package(module: str) -> str:
    """What of ours a module belongs to: a package, or itself at the top."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_left(path: Path) -> None:
    """A module imports only from its own package and from those below."""
    here = name_of(path)
    for module, line, _ in imported(path):
        if not module.startswith("cacheproxy") or package(module) == package(here):
            continue
        allowed = layer(module) < layer(here) or layer(module) == layer(here) == TOP_LAYER
        assert allowed, f"{path}:{line}: {here} imports {module}"


def place_in_proxy(module: str) -> int:
    """Which of ``PROXY_ORDER`` a module belongs to; -1 where it stands elsewhere."""
    parts = module.split(".")
    inside = parts[:2] == ["cacheproxy", "proxy"] and len(parts) > 2
    return PROXY_ORDER.index(parts[2]) if inside else -1


@pytest.mark.parametrize(
    "path", [path for path in MODULES if place_in_proxy(name_of(path)) >= 0], ids=name_of
)
def test_packages_of_proxy_point_left(path: Path) -> None:
    """Inside ``proxy`` too a package imports from those before it, also for types alone."""
    here = name_of(path)
    for module, line, _ in imported(path):
        assert place_in_proxy(module) <= place_in_proxy(here), f"{path}:{line}: imports {module}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if layer(name_of(path)) <= PURE_UP_TO], ids=name_of
)
def test_lower_layers_are_pure(path: Path) -> None:
    """No clock, no chance, no file, no socket, no reactor up to and including ``proxy``."""
    allowed = EXCEPTIONS.get(str(path.relative_to(SOURCE)), set())
    for module, line, checking in imported(path):
        root = module.split(".")[0]
        assert checking or root not in IMPURE - allowed, f"{path}:{line}: imports {module}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if layer(name_of(path)) <= PURE_UP_TO], ids=name_of
)
def test_lower_layers_read_no_clock(path: Path) -> None:
    """``datetime`` may compute there, but what time it is comes in as an argument."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = ast.unparse(node.func.value).rpartition(".")[2]
            clock = of in ("date", "datetime") and node.func.attr in ("now", "today", "utcnow")
            assert not clock, f"{path}:{node.lineno}: reads the clock"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_reactor_at_module_level(path: Path) -> None:
    """The reactor is chosen by the command; importing a module must not install one."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            assert not (node.module == "twisted.internet" and "reactor" in names), path
        elif isinstance(node, ast.Import):
            assert all(alias.name != "twisted.internet.reactor" for alias in node.names), path


def test_no_cycles() -> None:
    """Imports form no circle, for types alone neither: each module can be read with those below."""
    graph = {
        name_of(path): {module for module, _, _ in imported(path) if module in NAMES}
        for path in MODULES
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail, module))
        if module not in done:
            for other in graph[module] - {module}:
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_exceptions_are_needed() -> None:
    """A listed exception that nothing uses any more is removed."""
    for relative, allowed in EXCEPTIONS.items():
        used = {module.split(".")[0] for module, _, _ in imported(SOURCE / relative)}
        assert allowed <= used, relative
