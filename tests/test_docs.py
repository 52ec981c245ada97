"""The documentation: its configurations are accepted, its lists are complete."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from cacheproxy.config.build import loads
from cacheproxy.config.reference import directives_rst
from cacheproxy.errors import ConfigErrors
from cacheproxy.proxy.site.variables import resolve

TOP = Path(__file__).resolve().parent.parent
PAGES = sorted((TOP / "docs").glob("*.rst"))
README = TOP / "README.rst"

#: Where a block of a page may stand.
PLACES = ("%s", "server { %s }", "server { location / { proxy_pass http://127.0.0.1:8; %s } }")


def blocks() -> list[str]:
    """What stands below ``.. code-block:: nginx``."""
    found = []
    for page in (README, *PAGES):
        for match in re.finditer(r"\.\. code-block:: nginx\n\n((?: .*\n|\n)+)", page.read_text()):
            found.append(textwrap.dedent(match.group(1)))
    return found


def accepted(text: str) -> bool:
    """Whether the whole configuration has no fault."""
    try:
        loads(text, "page.conf", "/", resolve)
    except ConfigErrors:
        return False
    return True


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.split("\n", 1)[0])
def test_configurations_are_accepted(block: str) -> None:
    """A reader who copies one is told of no fault."""
    if block.startswith("http {"):
        assert accepted(block)
        return
    zone = "" if "proxy_cache_path" in block else "proxy_cache_path /zone keys_zone=site:1m;"
    assert any(accepted(f"http {{ {zone} {place % block} }}") for place in PLACES)


def test_readme_has_a_whole_configuration() -> None:
    """What a reader copies into a file of its own must start."""
    blocks_of_it = re.findall(r"\.\. code-block:: nginx\n\n(   .*\n)", README.read_text())
    assert blocks_of_it == ["   http {\n"]


def test_readme_names_every_page() -> None:
    """A page that nothing leads to is not read."""
    listed = set(re.findall(r"``docs/([a-z-]+\.rst)``", README.read_text()))
    assert listed == {page.name for page in PAGES}


def defined(tree: ast.Module, name: str) -> bool:
    """Whether the module has the function, class or ``Class.method`` called *name*."""
    body: list[ast.stmt] = tree.body
    for part in name.split("."):
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part
        ]
        if not found:
            return False
        body = found[0].body
    return True


def test_architecture_names_what_exists() -> None:
    """Each file, and each function or class in it; every package of the source is described."""
    text = (TOP / "docs" / "architecture.rst").read_text()
    source = TOP / "cacheproxy"
    named = re.findall(r"``([a-z0-9_/]+\.py)(?:: ([A-Za-z_.]+))?``", text)
    assert len([function for _, function in named if function]) > 20
    for path, function in named:
        files = [source / path, TOP / path] if "/" in path else [*source.rglob(path)]
        files = [file for file in files if file.exists()]
        assert files, path
        if function:
            assert defined(ast.parse(files[0].read_text()), function), f"{path}: {function}"
    packages = {file.parent.relative_to(source) for file in source.rglob("__init__.py")}
    for package in packages - {Path(".")}:
        assert package.name in text, package


def test_own_directives_are_explained() -> None:
    """What nginx's own documentation cannot tell is on a page here, and in the README."""
    rows = re.findall(r"\* - ``(\w+)``\n(?:     -.*\n)*?     - Ours", directives_rst())
    assert len(rows) >= 6
    readme = README.read_text()
    pages = "".join(page.read_text() for page in PAGES if page.name != "directives.rst")
    for name in rows:
        assert f"``{name}``" in readme, name
        assert re.search(rf"^ +{name} .*;$", pages, re.MULTILINE), f"{name} has no example"


def test_page_on_the_reactor_names_what_is_there() -> None:
    """Every module of both packages, every private name of Twisted's, the oldest release."""
    page = (TOP / "docs" / "reactor-and-tls.rst").read_text()
    for package in ("reactor", "tls"):
        for module in (TOP / "cacheproxy" / "net" / package).glob("[a-z]*.py"):
            assert f"``{module.name}``" in page, module.name
    source = "".join(
        path.read_text() for path in (TOP / "cacheproxy" / "net" / "reactor").glob("*.py")
    )
    imported = re.findall(r"from (twisted\.\S*\._\w+) import (\w+)", source)
    imported += re.findall(r"from (twisted\.\S+) import (_\w+)", source)
    assert len(imported) >= 2
    for module, name in imported:
        assert f"``{module}.{name}``" in page, name
    listed = re.findall(r"``(_\w+)``", page)
    assert len(listed) > 10
    for name in listed:
        assert re.search(rf"\b{name}\b", source), f"{name} is not used any more"
    oldest = re.search(r"twisted>=([0-9.]+)", (TOP / "setup.cfg").read_text())
    assert oldest is not None
    assert f"work from Twisted {oldest.group(1)} on" in " ".join(page.split())
