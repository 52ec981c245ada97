"""OpenSSL contexts from ``ssl_*`` and ``proxy_ssl_*``.

Every file is read and every option set at load, so that ``--test`` reports each
fault: errors are ``ConfigError`` and name the file. What OpenSSL cannot be told
through pyOpenSSL is refused, never ignored.

Unlike nginx, a session cache lives in the context, one for each distinct set of
``ssl_*`` options: servers with equal options share context and cache, whatever the
cache's name, and a session is never resumed on a server with other options. Its
size is OpenSSL's own bound of 20480 sessions, whatever the size given.

Source: ngx_http_ssl_module, ngx_http_proxy_module. Imports ``config.model``,
``policy.options``, pyOpenSSL, cryptography.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from cacheproxy.config.model import SslOptions
from cacheproxy.errors import ConfigError
from cacheproxy.net.tls import openssl as tls_openssl
from cacheproxy.net.tls.named import NamedContexts
from cacheproxy.policy.options import ProxySsl

__all__ = [
    "HTTP1_PROTOCOLS",
    "ContextStore",
    "ServerContexts",
    "content_of",
    "make_client_context",
    "make_server_context",
]

#: The protocols accepted by ALPN, best first, as in nginx without HTTP/2.
HTTP1_PROTOCOLS = (b"http/1.1", b"http/1.0", b"http/0.9")

#: Longest password of a private key, bytes of one line (nginx ``NGX_SSL_PASSWORD_BUFFER_SIZE``).
MAX_PASSWORD = 4096

_VERSIONS = {
    "TLSv1": (SSL.TLS1_VERSION, SSL.OP_NO_TLSv1),
    "TLSv1.1": (SSL.TLS1_1_VERSION, SSL.OP_NO_TLSv1_1),
    "TLSv1.2": (SSL.TLS1_2_VERSION, SSL.OP_NO_TLSv1_2),
    "TLSv1.3": (SSL.TLS1_3_VERSION, SSL.OP_NO_TLSv1_3),
}

_OPTIONS = {
    "ServerPreference": SSL.OP_CIPHER_SERVER_PREFERENCE,
    "PrioritizeChaCha": tls_openssl.OP_PRIORITIZE_CHACHA,
    "NoRenegotiation": SSL.OP_NO_RENEGOTIATION,
    "-SessionTicket": SSL.OP_NO_TICKET,
    "-Compression": SSL.OP_NO_COMPRESSION,
}


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f'cannot load {what} "{path}": {error.strerror or error}') from error


def _passwords(files: Iterable[str]) -> list[bytes]:
    """Every line of ``ssl_password_file``."""
    passwords: list[bytes] = []
    for path in files:
        for line in _read(path, "password file").splitlines():
            if len(line) > MAX_PASSWORD:
                raise ConfigError(f'line in password file "{path}" is too long')
            if line:
                passwords.append(line)
    return passwords


def _load_key(path: str, passwords: list[bytes]) -> Any:
    """The private key in *path*, opened with the first password that fits."""
    data = _read(path, "certificate key")
    reason = ""
    for password in (None, *passwords):
        try:
            return load_pem_private_key(data, password)
        except TypeError as error:
            # Encrypted without a password, or the reverse: the next one may do.
            reason = str(error)
            if password is not None:
                try:
                    return load_pem_private_key(data, None)
                except (TypeError, ValueError) as plain:
                    reason = str(plain)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise ConfigError(f'cannot load certificate key "{path}": {reason}')


def _use_certificate(
    context: SSL.Context, certificate: str, key: str, passwords: list[bytes]
) -> bytes:
    """Load one pair; returns the bytes of the certificate file."""
    for path in (certificate, key):
        if path.startswith(("data:", "engine:", "store:")):
            raise ConfigError(f'certificates of the form "{path}" are not supported')
    content = _read(certificate, "certificate")
    private = _load_key(key, passwords)
    try:
        context.use_certificate_chain_file(certificate)
    except SSL.Error as error:
        reason = tls_openssl.error_reason(error)
        raise ConfigError(f'cannot load certificate "{certificate}": {reason}') from error
    try:
        context.use_privatekey(private)
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        reason = tls_openssl.error_reason(error)
        raise ConfigError(
            f'cannot use certificate key "{key}" with certificate "{certificate}": {reason}'
        ) from error
    return content


def _set_protocols(context: SSL.Context, protocols: frozenset[str]) -> None:
    unknown = sorted(protocols - _VERSIONS.keys())
    if unknown or not protocols:
        raise ConfigError(f'protocol "{unknown[0] if unknown else ""}" is not supported')
    wanted = [version for name, (version, _) in _VERSIONS.items() if name in protocols]
    context.set_min_proto_version(min(wanted))
    context.set_max_proto_version(max(wanted))
    for name, (_, option) in _VERSIONS.items():
        if name not in protocols:
            context.set_options(option)


def _set_ciphers(context: SSL.Context, ciphers: str) -> None:
    try:
        context.set_cipher_list(ciphers.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError) as error:
        raise ConfigError(f'no cipher match for "{ciphers}"') from error


def _set_groups(context: SSL.Context, names: str) -> None:
    try:
        known = tls_openssl.set_groups(context, names)
    except NotImplementedError as error:
        raise ConfigError('"ssl_ecdh_curve" is not supported by this OpenSSL') from error
    if not known:
        raise ConfigError(f'unknown curve in "{names}"')


def _set_signature_algorithms(context: SSL.Context, names: str) -> None:
    try:
        known = tls_openssl.set_signature_algorithms(context, names)
    except NotImplementedError as error:
        raise ConfigError("signature algorithms cannot be set with this OpenSSL") from error
    if not known:
        raise ConfigError(f'unknown signature algorithm in "{names}"')


def _set_ciphersuites(context: SSL.Context, names: str) -> None:
    try:
        context.set_tls13_ciphersuites(names.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError) as error:
        raise ConfigError(f'no TLSv1.3 cipher suite matches "{names}"') from error


def _set_bound(set_version: Callable[[int], None], name: str) -> None:
    if name not in _VERSIONS:
        raise ConfigError(f'protocol "{name}" is not supported')
    set_version(_VERSIONS[name][0])


def _set_option_names(context: SSL.Context, names: str) -> None:
    for name in filter(None, names.split(",")):
        if name not in _OPTIONS:
            raise ConfigError(f'option "{name}" of "ssl_conf_command Options" is not supported')
        context.set_options(_OPTIONS[name])


def _conf_command(context: SSL.Context, name: str, value: str) -> None:
    """One ``ssl_conf_command``; names as ``SSL_CONF_cmd`` has them for files."""
    commands: dict[str, Callable[[], None]] = {
        "ciphersuites": lambda: _set_ciphersuites(context, value),
        "cipherstring": lambda: _set_ciphers(context, value),
        "minprotocol": lambda: _set_bound(context.set_min_proto_version, value),
        "maxprotocol": lambda: _set_bound(context.set_max_proto_version, value),
        "curves": lambda: _set_groups(context, value),
        "groups": lambda: _set_groups(context, value),
        "signaturealgorithms": lambda: _set_signature_algorithms(context, value),
        "options": lambda: _set_option_names(context, value),
    }
    command = commands.get(name.lower())
    if command is None:
        raise ConfigError(f'"ssl_conf_command {name}" is not supported')
    command()


def _set_dhparam(context: SSL.Context, path: str) -> None:
    _read(path, "dhparam")
    try:
        context.load_tmp_dh(path)
    except SSL.Error as error:
        reason = tls_openssl.error_reason(error)
        raise ConfigError(f'cannot load dhparam "{path}": {reason}') from error


def _set_sessions(context: SSL.Context, options: SslOptions, identity: bytes) -> None:
    """``ssl_session_*``; *identity* binds sessions to the certificates they were made under."""
    if options.session_ticket_keys:
        raise ConfigError('"ssl_session_ticket_key" is not supported')
    if not options.session_tickets:
        context.set_options(SSL.OP_NO_TICKET)
    kind = options.session_cache.split(":", 1)[0]
    if kind == "off":
        mode = SSL.SESS_CACHE_OFF
    elif kind == "none":
        # "May be reused", yet nothing is kept: some old clients need to hear so (nginx).
        mode = SSL.SESS_CACHE_SERVER | SSL.SESS_CACHE_NO_INTERNAL
    elif kind in ("builtin", "shared"):
        mode = SSL.SESS_CACHE_SERVER
    else:
        raise ConfigError(f'invalid session cache "{options.session_cache}"')
    context.set_session_cache_mode(mode)
    context.set_timeout(max(1, int(options.session_timeout)))
    context.set_session_id(hashlib.sha256(identity).digest())


def _alpn_choice(
    protocols: tuple[bytes, ...],
) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    """The server's favourite of what the client offers.

    None in common ends the handshake with the alert ``no_application_protocol``
    (RFC 7301 §3.2), as in nginx: pyOpenSSL sends it where the callback raises.
    """

    def select(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for protocol in protocols:
            if protocol in offered:
                return protocol
        raise SSL.Error([("SSL routines", "", "no application protocol")])

    return select


def make_server_context(
    options: SslOptions, alpn: tuple[bytes, ...] = HTTP1_PROTOCOLS
) -> SSL.Context:
    """A context for one server; its app data is *options*.

    *alpn* are the protocols accepted, best first. Reads the certificate files.
    Raises ``ConfigError`` with the path of the file at fault. No compression, no
    renegotiation. Source: ngx_http_ssl_module.
    """
    if not options.certificates:
        raise ConfigError('no "ssl_certificate" is defined')
    return _make_context(options, alpn)


def _make_context(options: SslOptions, alpn: tuple[bytes, ...]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_SINGLE_DH_USE)
    context.set_mode(tls_openssl.MODE_RELEASE_BUFFERS)
    _set_protocols(context, options.protocols)
    # Before the certificates: the level in the cipher string ("@SECLEVEL=0") judges their keys.
    _set_ciphers(context, options.ciphers)
    passwords = _passwords(options.password_files)
    identity = b""
    for certificate, key in options.certificates:
        content = _use_certificate(context, certificate, key, passwords)
        identity += hashlib.sha256(content).digest()
    if options.prefer_server_ciphers:
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    if options.dhparam:
        _set_dhparam(context, options.dhparam)
    if options.ecdh_curve != "auto":
        _set_groups(context, options.ecdh_curve)
    _set_sessions(context, options, identity)
    context.set_alpn_select_callback(_alpn_choice(alpn))
    for name, value in options.conf_command:
        _conf_command(context, name, value)
    context.set_app_data(options)
    return context


class ContextStore:
    """Server contexts by their options and the content of their files, each made once.

    Servers whose ``ssl_*`` are equal share one, with its session cache and ticket keys. A
    reload makes a new store, which takes over from *before* what is still the same: a
    certificate that was renewed in its file is another, and what is no longer used goes.
    """

    def __init__(
        self,
        before: ContextStore | None = None,
        alpn: tuple[bytes, ...] = HTTP1_PROTOCOLS,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._alpn = alpn
        self._seconds = seconds
        self._before = {} if before is None else before._made
        self._made: dict[tuple[SslOptions, bytes], SSL.Context] = {}
        self._contexts: dict[SslOptions, SSL.Context] = {}
        self._named: dict[SslOptions, NamedContexts] = {}

    def get(self, options: SslOptions) -> SSL.Context:
        """The context for *options*; raises ``ConfigError`` as ``make_server_context``."""
        context = self._contexts.get(options)
        if context is None:
            key = options, content_of(_files(options))
            context = self._before.get(key) or make_server_context(options, self._alpn)
            self._contexts[options] = self._made[key] = context
        return context

    def forget_before(self) -> None:
        """Let go of what was not taken over: everything has been asked for."""
        self._before = {}

    def named(self, options: SslOptions) -> NamedContexts:
        """The contexts for *options* whose paths hold ``$ssl_server_name``.

        Raises ``ConfigError`` for what is wrong with them whatever the name.
        """
        found = self._named.get(options)
        if found is None:
            _make_context(replace(options, certificates=()), self._alpn)
            found = self._named[options] = NamedContexts(
                options, lambda rendered: make_server_context(rendered, self._alpn), self._seconds
            )
        return found


def _files(options: SslOptions) -> list[str]:
    pairs = [path for pair in options.certificates for path in pair]
    return [*pairs, *options.password_files, options.dhparam]


def content_of(paths: Iterable[str]) -> bytes:
    """A digest of files, as far as they can be read; an empty path is none."""
    digest = hashlib.sha256()
    for path in filter(None, paths):
        try:
            with open(path, "rb") as file:
                digest.update(hashlib.sha256(file.read()).digest())
        except OSError:
            digest.update(b"missing")
    return digest.digest()


def _no_choice(_name: str) -> SSL.Context | None:
    return None


class ServerContexts:
    """Which context a server name gets at one listening address.

    *exact* is asked first, by the name in lower case without a final dot; then
    *choose* (wildcards and regular expressions), which answers None where no
    server has the name; then *default* is used, also where the client names no
    server. *default* None refuses such handshakes (alert ``unrecognized_name``).
    """

    __slots__ = ("_choose", "_exact", "default")

    def __init__(
        self,
        default: SSL.Context | None,
        exact: Mapping[str, SSL.Context] = MappingProxyType({}),
        choose: Callable[[str], SSL.Context | None] = _no_choice,
    ) -> None:
        self.default = default
        self._exact = exact
        self._choose = choose

    def __call__(self, name: str | None) -> SSL.Context | None:
        if not name:
            return self.default
        name = name.lower().removesuffix(".")
        return self._exact.get(name) or self._choose(name) or self.default


def _trust(context: SSL.Context, options: ProxySsl) -> None:
    """``proxy_ssl_trusted_certificate`` and ``proxy_ssl_crl``."""
    path = options.trusted_certificate
    _read(path, "trusted certificate")
    try:
        context.load_verify_locations(path)
    except SSL.Error as error:
        reason = tls_openssl.error_reason(error)
        raise ConfigError(f'cannot load trusted certificate "{path}": {reason}') from error


def _revoke(context: SSL.Context, path: str) -> None:
    data = _read(path, "CRL")
    store = context.get_cert_store()
    marker = b"-----END X509 CRL-----"
    parts = [part + marker for part in data.split(marker)[:-1]]
    if store is None or not parts:
        raise ConfigError(f'cannot load CRL "{path}": no CRL found')
    try:
        for part in parts:
            store.add_crl(x509.load_pem_x509_crl(part[part.index(b"-----BEGIN") :]))
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
    except (ValueError, crypto.Error) as error:
        raise ConfigError(f'cannot load CRL "{path}": {error}') from error


def _note_verify_error(
    connection: SSL.Connection, _certificate: Any, number: int, _depth: int, passed: int
) -> bool:
    """Keep the first error of a chain for the message that the connection fails with."""
    if not passed and connection.get_app_data() is None:
        connection.set_app_data(tls_openssl.verify_error_text(number))
    return bool(passed)


def make_client_context(options: ProxySsl, passwords: tuple[str, ...] = ()) -> SSL.Context:
    """A context toward upstreams; *passwords* are the files of ``proxy_ssl_password_file``.

    Certificates are checked only with ``proxy_ssl_verify on``, as in nginx; the
    name is checked by the connection. Raises ``ConfigError``.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(tls_openssl.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    _set_protocols(context, options.protocols)
    _set_ciphers(context, options.ciphers)
    if options.certificate:
        if not options.certificate_key:
            raise ConfigError(
                f'no "proxy_ssl_certificate_key" is defined for certificate "{options.certificate}"'
            )
        _use_certificate(
            context, options.certificate, options.certificate_key, _passwords(passwords)
        )
    if options.trusted_certificate:
        _trust(context, options)
    elif options.verify:
        raise ConfigError("no proxy_ssl_trusted_certificate for proxy_ssl_verify")
    if options.crl:
        _revoke(context, options.crl)
    if options.verify:
        context.set_verify(SSL.VERIFY_PEER, _note_verify_error)
        context.set_verify_depth(options.verify_depth)
    else:
        context.set_verify(SSL.VERIFY_NONE)
    context.set_app_data(options)
    return context
