"""Starts the demonstration: the origin, and the proxy before it with TLS and a cache.

Everything it makes is under ``.run`` at the top of the source tree: a certificate for
localhost, the configuration, the cache and the access log. Ctrl-C ends both processes.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cacheproxy.net.tls.devcert import self_signed

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
START_TIMEOUT = 15.0


def make_certificate(folder: Path) -> None:
    """Write ``localhost.pem`` and ``.key`` into *folder*, self-signed, good for a month."""
    certificate, key = self_signed(folder)
    Path(certificate).replace(folder / "localhost.pem")
    Path(key).replace(folder / "localhost.key")


def free_port() -> int:
    """A port on the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int, option: str) -> None:
    """Exit with a plain message where *port* cannot be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            sys.exit(
                f"port {port} cannot be used ({error.strerror}); choose another, "
                f"for example: make run {option}={port + 1000}"
            )


def write_config(folder: Path, https_port: int, http_port: int, origin_port: int) -> Path:
    """Fill ``site.conf`` in and return where the result is."""
    text = (HERE / "site.conf").read_text()
    for name, value in {
        "@RUN@": folder,
        "@STATIC@": HERE / "static",
        "@HTTPS_PORT@": https_port,
        "@HTTP_PORT@": http_port,
        "@ORIGIN_PORT@": origin_port,
    }.items():
        text = text.replace(name, str(value))
    path = folder / "site.conf"
    path.write_text(text)
    return path


def wait_until_serving(processes: list[subprocess.Popen[bytes]], pid_file: Path) -> None:
    """Return once the proxy has bound its ports; exit where a process ended instead."""
    deadline = time.monotonic() + START_TIMEOUT
    while not pid_file.exists():
        if any(process.poll() is not None for process in processes):
            raise SystemExit("a process ended at start; its message is above")
        if time.monotonic() > deadline:
            raise SystemExit(f"not serving after {START_TIMEOUT:.0f} seconds")
        time.sleep(0.02)


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End every process that still runs, the proxy first."""
    for process in reversed(processes):
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    """Start, print the addresses, wait for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--https-port", type=int, default=8443)
    parser.add_argument("--http-port", type=int, default=8080)
    parser.add_argument("--run-dir", type=Path, default=TOP / ".run")
    options = parser.parse_args()
    require_free(options.https_port, "HTTPS_PORT")
    require_free(options.http_port, "HTTP_PORT")

    folder = options.run_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    make_certificate(folder)
    origin_port = free_port()
    config = write_config(folder, options.https_port, options.http_port, origin_port)
    pid_file = folder / "proxy.pid"
    pid_file.unlink(missing_ok=True)

    # An end by signal runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Their own session: Ctrl-C reaches this process alone, which ends them in order.
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    commands = [
        [sys.executable, str(HERE / "origin.py"), str(origin_port)],
        [*twistd, "-n", "--pidfile=", "cacheproxy", "--config", str(config)],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, cwd=TOP, start_new_session=True))
        wait_until_serving(processes, pid_file)
        base = f"https://localhost:{options.https_port}"
        print(
            f"\nServing {base}/ (self-signed certificate: {folder}/localhost.pem)\n"
            f"    and http://localhost:{options.http_port}/, which redirects there.\n"
            "Try, twice each:\n\n"
            f"  curl -k -i {base}/\n"
            f"  curl -k -i {base}/json\n"
            f"  curl -k -i {base}/slow\n"
            f"  curl -k -i {base}/headers\n"
            f"  curl -k -i --compressed {base}/static/site.css\n\n"
            f"The access log is {folder}/access.log. Ctrl-C ends it.\n",
            flush=True,
        )
        while all(process.poll() is None for process in processes):
            time.sleep(0.2)
        raise SystemExit("a process ended by itself; its message is above")
    except KeyboardInterrupt:
        print("\nStopping.")
    finally:
        stop(processes)


if __name__ == "__main__":
    main()
