"""What every source file has (a test file, a docstring, ``__all__``), what the package declares."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
SOURCE = TOP / "cacheproxy"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")

#: Source files without a test file of their own, and where they are tested.
TESTED_ELSEWHERE = {
    "config/model.py",  # Records only: test_build.py
    "policy/options.py",  # Records only: config/test_build.py
    "policy/upstream_protocol.py",  # Protocols only: held by mypy
    "policy/stored.py",  # A record only: policy/test_reuse.py
    "proxy/interfaces.py",  # Protocols only: held by mypy
    "proxy/site/ready.py",  # Protocols only: held by mypy
    "net/reactor/interfaces.py",  # Protocols only: held by mypy
}
MAX_LINES = 700

#: Import name → distribution, where they differ.
DISTRIBUTIONS = {
    "OpenSSL": "pyopenssl",
    "service_identity": "service-identity",
    "zlib_ng": "zlib-ng",
    "zope": "zope.interface",
}


def relative(path: Path) -> str:
    """The path below ``cacheproxy/``, as the lists above name it."""
    return str(path.relative_to(SOURCE))


def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(), str(path))


def config() -> configparser.ConfigParser:
    """``setup.cfg``."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(TOP / "setup.cfg")
    return parser


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_has_a_test_file(path: Path) -> None:
    """``cacheproxy/a/b.py`` is tested by ``tests/a/test_b.py``."""
    test = TOP / "tests" / path.relative_to(SOURCE).parent / f"test_{path.name}"
    if relative(path) in TESTED_ELSEWHERE:
        assert not test.exists(), f"{relative(path)} no longer belongs in the list"
    else:
        assert test.exists(), f"{test.relative_to(TOP)} is missing"


def test_exclusions_exist() -> None:
    """The list of exclusions names real files."""
    assert {relative(path) for path in MODULES} >= TESTED_ELSEWHERE


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_has_docstring_and_all(path: Path) -> None:
    """A module says what it is for and what it offers; all it offers exists."""
    module = tree(path)
    assert ast.get_docstring(module), f"{relative(path)} has no docstring"
    names: list[str] | None = None
    defined: set[str] = set()
    for node in module.body:
        targets: list[ast.expr] = []
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            defined |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, (ast.If, ast.Try)):
            for inner in ast.walk(node):
                if isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                    defined.add(inner.name)
                elif isinstance(inner, ast.Assign):
                    targets += inner.targets
        for target in targets:
            if isinstance(target, ast.Name):
                defined.add(target.id)
                if target.id == "__all__" and isinstance(node, ast.Assign):
                    names = ast.literal_eval(node.value)
            elif isinstance(target, ast.Tuple):
                defined |= {e.id for e in target.elts if isinstance(e, ast.Name)}
    assert names is not None, f"{relative(path)} has no __all__"
    assert set(names) <= defined, set(names) - defined


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_public_names_are_documented(path: Path) -> None:
    """What ``__all__`` offers as class or function has a docstring."""
    module = tree(path)
    offered = {
        name
        for node in module.body
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
        for name in ast.literal_eval(node.value)
    }
    for node in module.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in offered:
            assert ast.get_docstring(node), f"{relative(path)}:{node.lineno}: {node.name}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_is_not_too_long(path: Path) -> None:
    """A file that nobody can read in one sitting is split."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_all_packages_are_declared() -> None:
    """A package that ``setup.cfg`` forgets would be missing from the wheel alone."""
    declared = set(config()["options"]["packages"].split())
    found = {
        ".".join(path.parent.relative_to(TOP).parts) for path in SOURCE.rglob("__init__.py")
    }
    assert declared == found | {"twisted.plugins"}


def test_twisted_plugins_is_no_package() -> None:
    """An ``__init__.py`` there would hide Twisted itself."""
    assert not list((TOP / "twisted").rglob("__init__.py"))


def test_third_party_imports_are_declared() -> None:
    """Each distribution that is imported is a dependency, and each dependency is imported."""
    declared = {
        re.split(r"[\s<>=!~;\[]", line)[0].lower()
        for line in config()["options"]["install_requires"].strip().splitlines()
    }
    used = set()
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                used |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module.split(".")[0])
    used -= set(sys.stdlib_module_names) | {"cacheproxy"}
    distributions = {DISTRIBUTIONS.get(name, name) for name in used}
    assert distributions <= declared, distributions - declared
    # examples/demo makes its certificate with cryptography, which PyOpenSSL needs anyway.
    assert declared <= distributions | {"cryptography"}, declared - distributions
