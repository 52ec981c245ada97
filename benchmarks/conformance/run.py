"""``python -m benchmarks.conformance.run``: run the suite, print the score, write the document."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.conformance.report import document, failures, summary
from benchmarks.conformance.score import Outcome, outcomes
from benchmarks.conformance.suite import Results, Suite, install
from tests.support.ports import free_port
from tests.support.processes import TOP, Daemon, nginx, proxy

__all__ = ["main"]

#: Nothing but the cache: the origin's fields decide.
_HTTP = """\
access_log off;
proxy_cache_path {folder}/cache levels=1:2 keys_zone=suite:10m {memory};
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{origin};
        proxy_cache suite;
        {extra}
    }}
}}
"""


def _proxy(folder: Path, port: int, origin: int) -> AbstractContextManager[Daemon]:
    extra = "proxy_cache_heuristic on;"
    http = _HTTP.format(folder=folder, port=port, origin=origin, memory="memory=64m", extra=extra)
    return proxy(folder, f"error_log {folder}/error.log;\nhttp {{\n{http}}}\n", ports=(port,))


def _nginx(folder: Path, port: int, origin: int) -> AbstractContextManager[Daemon]:
    # With validation, as those who publish its results run it.
    extra = "proxy_cache_revalidate on;"
    http = _HTTP.format(folder=folder, port=port, origin=origin, memory="", extra=extra)
    return nginx(folder, http, ports=(port,))


def _run(
    suite: Suite, start: Callable[[Path, int, int], AbstractContextManager[Daemon]], only: str
) -> str:
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        folder = Path(name)
        port = free_port()
        with suite.origin(folder) as origin, start(folder / "server", port, origin):
            return suite.run(port, only)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description="Run the suite of HTTP cache tests.")
    parser.add_argument("--cache", type=Path, default=TOP / ".run" / "conformance")
    parser.add_argument("--suite", help="a folder with the suite, in place of npm's release")
    parser.add_argument("--id", default="", help="run one test and show its messages")
    parser.add_argument("--nginx", action="store_true", help="run nginx too, for comparison")
    parser.add_argument("--server", choices=("proxy", "nginx"), default="proxy")
    parser.add_argument("--write", action="store_true", help="write docs/conformance.rst")
    options = parser.parse_args()
    if shutil.which("nginx") is None and (options.nginx or options.server == "nginx"):
        sys.exit("nginx is not on the PATH")
    suite = install(options.cache, options.suite)
    start = _proxy if options.server == "proxy" else _nginx
    if options.id:
        print(_run(suite, start, options.id))
        return
    groups = suite.groups()
    results: Results = json.loads(_run(suite, start, ""))
    found = outcomes(groups, results)
    print(failures(groups, found, results))
    print(f"\n{options.server}: {summary(groups, found)}")
    others: dict[str, dict[str, Outcome]] = {}
    if options.nginx:
        others["nginx"] = outcomes(groups, json.loads(_run(suite, _nginx, "")))
        print(f"nginx: {summary(groups, others['nginx'])}")
    if not suite.current:
        print("This is the suite's older release; the documented score is for its sources.")
    elif options.write:
        text = document(suite.version, groups, found, others)
        (TOP / "docs" / "conformance.rst").write_text(text)


if __name__ == "__main__":
    main()
