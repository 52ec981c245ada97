"""The suite of cache tests (npm ``http-cache-tests``): install it, list it, run it.

The suite has three parts: an origin that answers as each test tells it, a client that
makes the requests and checks the answers, and the tests themselves. Two layouts are
known: that of the release in npm's registry, and that of the sources since.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import Daemon, accepts

__all__ = ["PACKAGE", "CacheTest", "Group", "Results", "Suite", "install"]

PACKAGE = "http-cache-tests"
#: The sources that the documented score is for. The release in the registry is much older.
SOURCES = "github:http-tests/cache-tests#b55b8bda3dbb8c927c04e85bd8d496a8caa3e4ba"
#: Seconds that all of the client's run may take; it takes about two minutes.
RUN_TIMEOUT = 600
INSTALL_TIMEOUT = 300
#: For a try that may well come to nothing.
SOURCES_TIMEOUT = 40

#: Prints the groups of tests as JSON; the npm release keeps one group apart.
_LIST = """\
import tests from './tests/index.mjs'
import fs from 'node:fs'
const groups = [...tests]
const apart = './tests/surrogate-control.mjs'
if (fs.existsSync(apart)) groups.push((await import(apart)).default)
console.log(JSON.stringify(groups.map(group => ({
  id: group.id, name: group.name, tests: group.tests.map(test => ({
    id: test.id, name: test.name, kind: test.kind, depends_on: test.depends_on,
    browser_only: test.browser_only === true
  }))
}))))
"""

#: What the client reports of each test: True, or the kind of failure and its message.
Results = Mapping[str, "bool | list[str]"]


@dataclass(frozen=True)
class CacheTest:
    """One test; *kind* is ``required``, ``optimal`` or ``check``."""

    id: str
    name: str
    kind: str
    depends_on: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Tests about one subject, without those that are for browsers only."""

    id: str
    name: str
    tests: tuple[CacheTest, ...]


@dataclass(frozen=True)
class Suite:
    """An installed suite."""

    folder: Path

    @property
    def version(self) -> str:
        """Which of the two it is; both state the same version."""
        number = json.loads((self.folder / "package.json").read_text())["version"]
        return "current sources" if self.current else f"release {number}"

    @property
    def current(self) -> bool:
        """Whether it is made of the suite's current sources, not of the older release."""
        return (self.folder / "test-engine").exists()

    def _script(self, name: str) -> str:
        nested = self.folder / "test-engine" / name
        return str(nested if nested.exists() else self.folder / name)

    def groups(self) -> list[Group]:
        """All tests, in the suite's order."""
        output = _node(["--input-type=module", "--eval", _LIST], self.folder, {}, 60)
        return [
            Group(
                group["id"],
                group["name"],
                tuple(
                    CacheTest(
                        test["id"],
                        " ".join(test["name"].split()),
                        test.get("kind") or "required",
                        tuple(test.get("depends_on") or ()),
                    )
                    for test in group["tests"]
                    if not test["browser_only"]
                ),
            )
            for group in json.loads(output)
        ]

    @contextmanager
    def origin(self, folder: Path) -> Iterator[int]:
        """Run the suite's origin; yields its port."""
        port = free_port()
        settings = {
            "npm_config_protocol": "http",
            "npm_config_port": str(port),
            "npm_config_pidfile": str(folder / "origin.pid"),
        }
        command = ["node", "--no-warnings", self._script("server/server.mjs")]
        running = Daemon(command, folder / "origin.log", self.folder, {**os.environ, **settings})
        try:
            running.wait_ready(lambda: accepts(port), "the suite's origin")
            yield port
        finally:
            running.stop()

    def run(self, port: int, only: str = "") -> str:
        """Run the client against 127.0.0.1:*port*; what it prints (JSON unless *only* one ran)."""
        settings = {
            "npm_config_base": f"http://127.0.0.1:{port}",
            "npm_config_id": only,
            "npm_package_config_id": "",  # what npm would set, and the client reads next
        }
        return _node(["--no-warnings", self._script("cli.mjs")], self.folder, settings, RUN_TIMEOUT)


def install(cache: Path, source: str | None) -> Suite:
    """The suite below *cache*, installed if it is not there; or that in the folder *source*."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is needed (Debian: apt install nodejs npm)")
    if source is not None:
        return Suite(Path(source).resolve())
    folder = cache / "node_modules" / PACKAGE
    if not (folder / "package.json").exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "package.json").write_text('{"private": true}\n')
        if not _npm(cache, SOURCES, SOURCES_TIMEOUT):
            print("The suite's sources are out of reach: taking its (older) release.")
            if not _npm(cache, PACKAGE, INSTALL_TIMEOUT):
                sys.exit(f"npm could not install {PACKAGE}")
    return Suite(folder)


def _npm(cache: Path, what: str, timeout: float) -> bool:
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--fetch-retries=0", what]
    # A session of its own: what npm starts (git) ends with it.
    process = subprocess.Popen(command, cwd=cache, start_new_session=True)
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return status == 0 and (cache / "node_modules" / PACKAGE / "package.json").exists()


def _node(
    arguments: list[str], folder: Path, settings: Mapping[str, str], timeout: float
) -> str:
    done = subprocess.run(
        ["node", *arguments],
        cwd=folder,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        sys.exit(f"node ended with {done.returncode}")
    return done.stdout
