"""``examples/tls-front.conf``: several certificates on one address."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.certificates import Certificate, make_certificate
from tests.support.client import Connection, get
from tests.support.origins import Origin, Seen, origin, reply
from tests.support.ports import free_port
from tests.support.processes import TOP, fill, proxy

pytestmark = pytest.mark.e2e


@dataclass
class Front:
    """Ports, certificates by name and the two applications."""

    http: int
    https: int
    certificates: dict[str, Certificate]
    shop: Origin
    blog: Origin


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The example before two recording origins."""
    folder = tmp_path_factory.mktemp("tls")
    names = {
        "fallback": ("fallback.invalid",),
        "shop.example.com": ("shop.example.com",),
        "blog.example.com": ("blog.example.com", "*.blog.example.com"),
    }
    certificates = {name: make_certificate(folder, *alts) for name, alts in names.items()}
    http, https = free_port(), free_port()

    def answer(seen: Seen) -> bytes:
        return reply(f"{seen.get('Host')} {seen.get('X-Forwarded-Proto')}".encode())

    with origin(answer) as shop, origin(answer) as blog:
        values: dict[str, object] = {
            "/run/cacheproxy": folder,
            "/var/log/cacheproxy": folder,
            "127.0.0.1:8001": f"127.0.0.1:{shop.port}",
            "127.0.0.1:8002": f"127.0.0.1:{blog.port}",
            "listen 80 default_server;": f"listen {http} default_server;",
            "listen 443 ssl": f"listen {https} ssl",
        }
        for name, made in certificates.items():
            values[f"/etc/ssl/certs/{name}.pem"] = made.certificate
            values[f"/etc/ssl/private/{name}.key"] = made.key
        conf = fill((TOP / "examples" / "tls-front.conf").read_text(), values)
        with proxy(folder, conf, ports=(http, https)):
            yield Front(http, https, certificates, shop, blog)


def anyone() -> ssl.SSLContext:
    """A context that accepts any certificate: the tests look at it themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def presented(front: Front, name: str | None) -> str:
    """Which of the certificates a client gets that asks for *name*."""
    with Connection(front.https, context=anyone(), server_name=name) as connection:
        assert isinstance(connection.socket, ssl.SSLSocket)
        der = connection.socket.getpeercert(binary_form=True)
    for known, made in front.certificates.items():
        if ssl.PEM_cert_to_DER_cert(made.certificate.read_text()) == der:
            return known
    raise AssertionError("a certificate from nowhere")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.example.com", "shop.example.com"),
        ("SHOP.example.com", "shop.example.com"),
        ("blog.example.com", "blog.example.com"),
        ("one.blog.example.com", "blog.example.com"),
        ("elsewhere.example", "fallback"),
        (None, "fallback"),
    ],
)
def test_certificate_follows_the_name(front: Front, name: str | None, expected: str) -> None:
    """RFC 6066 §3: exact names, wildcards, and the default server for all others."""
    assert presented(front, name) == expected


def test_names_have_their_own_applications(front: Front) -> None:
    """The Host decides the application; a verifying client is content."""
    for name, application in (("shop.example.com", front.shop), ("blog.example.com", front.blog)):
        context = ssl.create_default_context(cafile=str(front.certificates[name].certificate))
        with Connection(front.https, context=context, server_name=name) as connection:
            response = connection.ask("/", host=name)
        assert response.body == f"{name} https".encode()
        assert application.requests[-1].get("Host") == name


def test_add_header_always(front: Front) -> None:
    """The shop's security field is on every answer."""
    name = "shop.example.com"
    with Connection(front.https, context=anyone(), server_name=name) as connection:
        response = connection.ask("/", host=name)
    assert response.get("Strict-Transport-Security") == "max-age=31536000"


def test_unknown_names_get_no_page(front: Front) -> None:
    """The default server answers 404 itself."""
    with Connection(front.https, context=anyone(), server_name="elsewhere.example") as connection:
        assert connection.ask("/", host="elsewhere.example").status == 404


def test_plain_http_is_redirected_by_name(front: Front) -> None:
    """``return 301 https://$host…`` keeps the name that was asked for."""
    response = get(front.http, "/a?b", host="blog.example.com")
    assert response.status == 301
    assert response.get("Location") == "https://blog.example.com/a?b"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(front: Front, version: ssl.TLSVersion) -> None:
    """A returning client skips the full handshake, in both versions."""
    context = anyone()
    context.minimum_version = context.maximum_version = version
    name = "shop.example.com"
    with Connection(front.https, context=context, server_name=name) as connection:
        assert connection.ask("/", host=name).status == 200
        assert isinstance(connection.socket, ssl.SSLSocket)
        session = connection.socket.session
    with (
        socket.create_connection(("127.0.0.1", front.https), 10) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as again,
    ):
        assert again.session_reused


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(front: Front, option: str) -> None:
    """``ssl_protocols TLSv1.2 TLSv1.3``: older handshakes fail, the process does not."""
    result = subprocess.run(
        ["openssl", "s_client", option, "-cipher", "ALL:@SECLEVEL=0",
         "-connect", f"127.0.0.1:{front.https}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )  # fmt: skip
    assert "Cipher is (NONE)" in result.stdout or result.returncode != 0
    assert presented(front, "shop.example.com") == "shop.example.com"


def test_plain_http_on_the_tls_port(front: Front) -> None:
    """nginx's 497: a plain request to a TLS port is told so with 400, or closed; never served."""
    with Connection(front.https) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
        answer = connection.rest()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ") or answer[:1] == b"\x15"
    assert presented(front, "shop.example.com") == "shop.example.com"


def test_garbage_instead_of_a_handshake(front: Front) -> None:
    """Bytes that are no TLS record end that connection alone."""
    with Connection(front.https) as connection:
        connection.send(b"\x16\x03\x01\xff\xff" + b"\x00" * 400)
        connection.socket.shutdown(1)
        connection.rest()
    assert presented(front, "blog.example.com") == "blog.example.com"
