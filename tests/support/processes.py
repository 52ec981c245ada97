"""Processes under test: the proxy, nginx, gunicorn. Each is ended by its own id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port

__all__ = [
    "NGINX",
    "TOP",
    "TWISTD",
    "Daemon",
    "Proxy",
    "accepts",
    "fill",
    "gunicorn",
    "nginx",
    "proxy",
    "run_twistd",
    "wait_until",
]

TOP = Path(__file__).resolve().parent.parent.parent
NGINX = shutil.which("nginx")
#: twistd as this interpreter runs it, whether or not its script is on the PATH.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
#: Seconds; generous, because the machine may be busy. Nothing waits this long when it works.
START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0


def wait_until(
    condition: Callable[[], object], what: str, timeout: float = START_TIMEOUT, step: float = 0.01
) -> None:
    """Poll *condition* until it is true; fail naming *what* after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {timeout} seconds"
        time.sleep(step)


def accepts(address: int | Path) -> bool:
    """Whether something listens on a loopback port, or on a UNIX socket."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family) as probe:
        probe.settimeout(1)
        target = ("127.0.0.1", address) if isinstance(address, int) else str(address)
        return probe.connect_ex(target) == 0


def fill(text: str, values: Mapping[str, object]) -> str:
    """Replace each key of *values* in *text*; a key that does not occur is a mistake."""
    for name, value in values.items():
        assert name in text, f"{name!r} does not occur"
        text = text.replace(name, str(value))
    return text


def environment(**extra: str) -> dict[str, str]:
    """This process's environment with the source tree on the path."""
    path = os.pathsep.join(filter(None, [str(TOP), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


class Daemon:
    """One running process whose output goes to a file."""

    def __init__(
        self, command: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=dict(env or environment()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self, ready: Callable[[], object], what: str) -> None:
        """Wait for *ready*; an early end fails at once, with the output."""

        def check() -> bool:
            status = self.process.poll()
            assert status is None, f"{what} ended with {status}:\n{self.output}"
            return bool(ready())

        try:
            wait_until(check, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait for the end and return the exit status."""
        return self.process.wait(timeout)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, by force where asking does not help; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return int(self.process.returncode)

    def rss(self) -> int:
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def descriptors(self) -> int:
        """How many file descriptors it holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Proxy(Daemon):
    """The proxy under twistd, with its folder and how long it took to listen."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        pid_file: Path | None,
        ports: Sequence[int],
        reactor: str | None,
        extra_env: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self.pid_file = pid_file
        if pid_file is not None:
            pid_file.unlink(missing_ok=True)
        options = [f"--reactor={reactor}"] if reactor else []
        started = time.monotonic()
        super().__init__(
            [*TWISTD, *options, "-n", "--pidfile=", "cacheproxy", *arguments],
            folder / "proxy.log",
            folder,
            environment(**extra_env),
        )
        try:
            if pid_file is not None:
                self.wait_ready(pid_file.exists, "the proxy's pid file")
            self.wait_ready(lambda: all(accepts(port) for port in ports), "the proxy's ports")
        except BaseException:
            self.stop()
            raise
        #: Seconds from the start of the interpreter to listening.
        self.start_seconds = time.monotonic() - started


def default_reactor() -> str | None:
    """The reactor that the environment asks the tests to use (``REACTOR``), if any."""
    return os.environ.get("REACTOR") or None


@contextmanager
def proxy(
    folder: Path,
    conf: str | None = None,
    *,
    arguments: Sequence[str] = (),
    ports: Sequence[int] = (),
    reactor: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Proxy]:
    """Run the proxy with *conf* (written to ``folder/site.conf``), or with *arguments* alone.

    A ``pid`` directive is added where *conf* has none, ``events`` likewise. Ready
    when the pid file is there and each of *ports* accepts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pid_file: Path | None = None
    command = list(arguments)
    if conf is not None:
        pid_file = folder / "proxy.pid"
        if "\npid " not in "\n" + conf:
            conf = f"pid {pid_file};\n{conf}"
        else:
            line = next(line for line in conf.splitlines() if line.startswith("pid "))
            pid_file = Path(line.split()[1].rstrip(";"))
        if "events {" not in conf:
            conf = f"events {{}}\n{conf}"
        path = folder / "site.conf"
        path.write_text(conf)
        command = ["--config", str(path), *command]
    running = Proxy(folder, command, pid_file, ports, reactor or default_reactor(), env or {})
    try:
        yield running
    finally:
        running.stop()


def run_twistd(
    *arguments: str, cwd: Path, timeout: float = START_TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run twistd to its end, output and errors captured together in ``stdout``."""
    return subprocess.run(
        [*TWISTD, *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def nginx(folder: Path, http: str, *, ports: Sequence[int] = ()) -> Iterator[Daemon]:
    """Run nginx with *http* as the content of its ``http`` block."""
    assert NGINX
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    # Its workers must read the test's folders, which belong to who runs the test.
    user = "user root;" if os.getuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off;\n{user}\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{\n{temporary}\n{http}\n}}\n"
    )
    running = Daemon(
        [NGINX, "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log")],
        folder / "nginx.log",
        folder,
    )
    try:
        running.wait_ready(lambda: all(accepts(port) for port in ports), "nginx's ports")
        yield running
    finally:
        running.stop()


@contextmanager
def gunicorn(
    folder: Path,
    app: str,
    code: Path,
    *,
    bind: int | Path | None = None,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[int | Path]:
    """Run ``gunicorn app`` with *code* as its folder; the port (or socket) it listens on."""
    folder.mkdir(parents=True, exist_ok=True)
    address: int | Path = free_port() if bind is None else bind
    target = f"127.0.0.1:{address}" if isinstance(address, int) else f"unix:{address}"
    running = Daemon(
        [sys.executable, "-m", "gunicorn", "--bind", target, "--workers", "1",
         "--worker-class", "gthread", "--threads", "8", "--keep-alive", "30",
         "--worker-tmp-dir", str(folder), *arguments, app],
        folder / "gunicorn.log",
        code,
        environment(**{"PYTHONDONTWRITEBYTECODE": "1", **(env or {})}),
    )  # fmt: skip
    try:
        running.wait_ready(lambda: accepts(address), "gunicorn")
        yield address
    finally:
        running.stop()
