"""``ssl_certificate`` with the server name in its path, beside nginx; renewals at a reload."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.certificates import make_certificate
from tests.support.ports import free_port
from tests.support.processes import NGINX, nginx, proxy, wait_until


def presented(port: int, name: str | None, alpn: list[str] | None = None) -> str:
    """The subject and serial number of the certificate shown for *name*, or the alert."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=name) as secure:
                found = secure.getpeercert(binary_form=True)
        except ssl.SSLError as failure:
            return str(failure).partition("] ")[2].partition(" (")[0]
    assert found is not None
    certificate = x509.load_der_x509_certificate(found)
    return f"{certificate.subject.rfc4514_string()} {certificate.serial_number}"


def servers(folder: Path, port: int) -> str:
    """Two servers: one with the name in its paths, and the default with a fixed certificate."""
    return (
        f"server {{ listen 127.0.0.1:{port} ssl default_server; server_name fixed.example;"
        f" ssl_certificate {folder}/fixed.example.pem;"
        f" ssl_certificate_key {folder}/fixed.example.key; return 200; }}\n"
        f"server {{ listen 127.0.0.1:{port} ssl; server_name *.site.example;"
        f" ssl_certificate {folder}/$ssl_server_name.pem;"
        f" ssl_certificate_key {folder}/$ssl_server_name.key; return 200; }}\n"
    )


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_names_choose_certificates_as_in_nginx(tmp_path: Path) -> None:
    """A name without a certificate is refused by both, each with an alert of its own."""
    for name in ("fixed.example", "a.site.example", "b.site.example"):
        make_certificate(tmp_path, name)
    ours, theirs = free_port(), free_port()
    conf = f"error_log {tmp_path}/error.log;\nhttp {{ {servers(tmp_path, ours)} }}\n"
    with (
        proxy(tmp_path / "ours", conf, ports=(ours,)),
        nginx(tmp_path / "theirs", servers(tmp_path, theirs), ports=(theirs,)),
    ):
        for known in ("a.site.example", "b.site.example", "fixed.example", "other.example", None):
            assert presented(ours, known) == presented(theirs, known), known
        assert presented(ours, "c.site.example") == "tlsv1 unrecognized name"
        assert "CN=" not in presented(theirs, "c.site.example")
        for offered in (["spdy/9"], ["http/1.1", "spdy/9"], None):
            assert presented(ours, None, offered) == presented(theirs, None, offered)
        assert presented(ours, None, ["spdy/9"]) == "tlsv1 alert no application protocol"
    assert f'cannot load certificate "{tmp_path}/c.site.example.pem"' in (
        tmp_path / "error.log"
    ).read_text()


def test_renewed_certificate_is_shown_after_a_reload(tmp_path: Path) -> None:
    """Its path is the same; a certificate whose path holds the name needs no reload."""
    for name in ("fixed.example", "a.site.example"):
        make_certificate(tmp_path, name)
    port = free_port()
    conf = f"http {{ {servers(tmp_path, port)} }}\n"
    with proxy(tmp_path / "ours", conf, ports=(port,)) as running:
        before = [presented(port, name) for name in ("fixed.example", "a.site.example")]
        for name in ("fixed.example", "a.site.example"):
            make_certificate(tmp_path, name)
        assert presented(port, "a.site.example") != before[1]
        assert presented(port, "fixed.example") == before[0]
        running.send_signal(signal.SIGHUP)
        wait_until(lambda: presented(port, "fixed.example") != before[0], "the new one")
