"""Every directive on the fast path: its answers are those of the general path, byte by byte.

The table of directives is walked. For each there is a setting under which answers may be
kept ready, which are then really used, and for those that rule it out one under which
none is. What ``config.fast_path`` says of a directive is shown here.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call,misc"

from __future__ import annotations

import os
import re
from typing import Any

from cacheproxy.config.directives import ROWS
from cacheproxy.config.fast_path import FAST_PATH, Hot, OnlyIf
from cacheproxy.config.table import Context, Row
from cacheproxy.storage import static_files
from tests.proxy.harness import Bench, BenchCase, Client, http_date, message, response

#: Those that every configuration below has, or that are nothing without others.
STRUCTURAL = {
    *("events", "geo", "http", "listen", "location", "log_format", "map", "pid", "proxy_cache"),
    *("proxy_cache_path", "proxy_pass", "server", "server_name", "upstream", "user"),
    *("worker_processes", "worker_shutdown_timeout"),
}

#: Those that only count where a connection reads them: in the default server.
AROUND = {"keepalive_time"}

#: Settings with which answers are kept ready; in the location where they may stand there.
READY = {
    "absolute_redirect": "absolute_redirect off;",
    "rewrite_log": "rewrite_log on;",
    "access_log": "access_log other.log l if=$arg_b;",
    "add_header": "add_header X-Uri $uri$upstream_cache_status always;",
    "alias": "alias $folder/files/;",
    "allow": "allow 192.0.2.0/24; deny all;",
    "charset": "charset utf-8;",
    "charset_types": "charset utf-8; charset_types text/css;",
    "chunked_transfer_encoding": "chunked_transfer_encoding off;",
    "client_body_buffer_size": "client_body_buffer_size 1k;",
    "client_body_temp_path": "client_body_temp_path bodies;",
    "client_body_timeout": "client_body_timeout 5s;",
    "client_header_buffer_size": "client_header_buffer_size 2k;",
    "client_header_timeout": "client_header_timeout 5s;",
    "client_max_body_size": "client_max_body_size 2;",
    "default_type": "default_type text/x-other;",
    "deny": "deny 192.0.2.77;",
    "error_log": "error_log other_error.log;",
    "error_page": "error_page 404 410 /other;",
    "etag": "etag off;",
    "expires": "expires 1h;",
    "gzip": "gzip on; gzip_min_length 1;",
    "gzip_buffers": "gzip on; gzip_min_length 1; gzip_buffers 4 4k;",
    "gzip_comp_level": "gzip on; gzip_min_length 1; gzip_comp_level 9;",
    "gzip_disable": "gzip on; gzip_min_length 1; gzip_disable msie6;",
    "gzip_http_version": "gzip on; gzip_min_length 1; gzip_http_version 1.0;",
    "gzip_min_length": "gzip on; gzip_min_length 300;",
    "gzip_proxied": "gzip on; gzip_min_length 1; gzip_proxied any;",
    "gzip_types": "gzip on; gzip_min_length 1; gzip_types *;",
    "gzip_vary": "gzip on; gzip_min_length 1; gzip_vary on;",
    "if_modified_since": "if_modified_since off;",
    "ignore_invalid_headers": "ignore_invalid_headers off;",
    "index": "index other.html;",
    "keepalive_disable": "keepalive_disable msie6;",
    "keepalive_requests": "keepalive_requests 5;",
    "keepalive_time": "keepalive_time 30s;",
    "keepalive_timeout": "keepalive_timeout 20s 15s;",
    "large_client_header_buffers": "large_client_header_buffers 2 2k;",
    "limit_except": "limit_except GET { deny all; }",
    "lingering_close": "lingering_close always;",
    "lingering_time": "lingering_time 5s;",
    "lingering_timeout": "lingering_timeout 1s;",
    "log_not_found": "log_not_found off;",
    "max_headers": "max_headers 20;",
    "max_ranges": "max_ranges 0;",
    "merge_slashes": "merge_slashes off;",
    "port_in_redirect": "port_in_redirect off;",
    "proxy_buffer_size": "proxy_buffer_size 16k; proxy_busy_buffers_size 16k;",
    "proxy_buffering": "proxy_buffering off;",
    "proxy_buffers": "proxy_buffers 8 16k;",
    "proxy_busy_buffers_size": "proxy_busy_buffers_size 24k;",
    "proxy_cache_background_update": "proxy_cache_background_update on;",
    "proxy_cache_bypass": "proxy_cache_bypass $http_x_bypass;",
    "proxy_cache_convert_head": "proxy_cache_convert_head off;",
    "proxy_cache_cookies": "proxy_cache_cookies lang;",
    "proxy_cache_deception_armor": "proxy_cache_deception_armor off;",
    "proxy_cache_heuristic": "proxy_cache_heuristic 1h;",
    "proxy_cache_ignore_args": "proxy_cache_ignore_args b;",
    "proxy_cache_key": "proxy_cache_key $scheme$host$uri$is_args$args;",
    "proxy_cache_lock": "proxy_cache_lock off;",
    "proxy_cache_lock_age": "proxy_cache_lock_age 1s;",
    "proxy_cache_lock_timeout": "proxy_cache_lock_timeout 1s;",
    "proxy_cache_max_range_offset": "proxy_cache_max_range_offset 1;",
    "proxy_cache_methods": "proxy_cache_methods GET POST;",
    "proxy_cache_min_uses": "proxy_cache_min_uses 2;",
    "proxy_cache_purge": "proxy_cache_purge $arg_purge;",
    "proxy_cache_revalidate": "proxy_cache_revalidate off;",
    "proxy_cache_sort_args": "proxy_cache_sort_args on;",
    "proxy_cache_status": "proxy_cache_status off;",
    "proxy_cache_use_stale": "proxy_cache_use_stale updating http_500;",
    "proxy_cache_valid": "proxy_cache_valid any 5s;",
    "proxy_connect_timeout": "proxy_connect_timeout 5s;",
    "proxy_force_ranges": "proxy_force_ranges on;",
    "proxy_hide_header": "proxy_hide_header X-Hidden;",
    "proxy_http_version": "proxy_http_version 1.0;",
    "proxy_ignore_client_abort": "proxy_ignore_client_abort on;",
    "proxy_ignore_headers": "proxy_ignore_headers Vary X-Accel-Charset;",
    "proxy_intercept_errors": "proxy_intercept_errors on; error_page 404 /other;",
    "proxy_max_temp_file_size": "proxy_max_temp_file_size 0;",
    "proxy_method": "proxy_method GET;",
    "proxy_next_upstream": "proxy_next_upstream off;",
    "proxy_next_upstream_timeout": "proxy_next_upstream_timeout 5s;",
    "proxy_next_upstream_tries": "proxy_next_upstream_tries 1;",
    "proxy_no_cache": "proxy_no_cache $http_x_bypass;",
    "proxy_pass_header": "proxy_pass_header Server;",
    "proxy_pass_request_body": "proxy_pass_request_body off;",
    "proxy_pass_request_headers": "proxy_pass_request_headers off;",
    "proxy_read_timeout": "proxy_read_timeout 5s;",
    "proxy_redirect": "proxy_redirect http://origin/ /;",
    "proxy_cookie_domain": "proxy_cookie_domain origin example.com;",
    "proxy_cookie_flags": "proxy_cookie_flags ~ secure;",
    "proxy_cookie_path": "proxy_cookie_path / /app/;",
    "proxy_request_buffering": "proxy_request_buffering off;",
    "proxy_send_timeout": "proxy_send_timeout 5s;",
    "proxy_set_body": "proxy_set_body x;",
    "proxy_set_header": "proxy_set_header X-Agent $http_user_agent;",
    "proxy_socket_keepalive": "proxy_socket_keepalive on;",
    "proxy_ssl_certificate": "proxy_ssl_certificate c.pem; proxy_ssl_certificate_key k.pem;",
    "proxy_ssl_certificate_key": "proxy_ssl_certificate c.pem; proxy_ssl_certificate_key k.pem;",
    "proxy_ssl_ciphers": "proxy_ssl_ciphers HIGH;",
    "proxy_ssl_crl": "proxy_ssl_crl crl.pem;",
    "proxy_ssl_name": "proxy_ssl_name $host;",
    "proxy_ssl_protocols": "proxy_ssl_protocols TLSv1.3;",
    "proxy_ssl_server_name": "proxy_ssl_server_name on;",
    "proxy_ssl_session_reuse": "proxy_ssl_session_reuse off;",
    "proxy_ssl_trusted_certificate": "proxy_ssl_trusted_certificate ca.pem;",
    "proxy_ssl_verify": "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;",
    "proxy_ssl_verify_depth": "proxy_ssl_verify_depth 2;",
    "proxy_store": "proxy_store off;",
    "proxy_store_access": "proxy_store_access user:rw all:r;",
    "proxy_temp_file_write_size": "proxy_temp_file_write_size 32k;",
    "proxy_temp_path": "proxy_temp_path spool;",
    "proxy_websocket": "proxy_websocket on;",
    "real_ip_header": "set_real_ip_from 192.0.2.0/24; real_ip_header X-Forwarded-For; "
    "deny 6.6.6.6;",
    "real_ip_recursive": "set_real_ip_from 192.0.2.0/24; real_ip_header X-Forwarded-For; "
    "real_ip_recursive on; deny 6.6.6.7;",
    "recursive_error_pages": "recursive_error_pages on;",
    "root": "root $folder/$server_name;",
    "send_timeout": "send_timeout 60s;",
    "server_name_in_redirect": "server_name_in_redirect on;",
    "server_tokens": "server_tokens off;",
    "satisfy": "satisfy any; allow all;",
    "set_real_ip_from": "set_real_ip_from 192.0.2.1; deny 6.6.6.8;",
    "slice": "slice 0;",
    "ssl_buffer_size": "ssl_buffer_size 4k;",
    "ssl_certificate": "",
    "ssl_certificate_key": "",
    "ssl_ciphers": "ssl_ciphers HIGH;",
    "ssl_conf_command": "ssl_conf_command Options KTLS;",
    "ssl_dhparam": "ssl_dhparam dh.pem;",
    "ssl_ecdh_curve": "ssl_ecdh_curve auto;",
    "ssl_password_file": "ssl_password_file p;",
    "ssl_prefer_server_ciphers": "ssl_prefer_server_ciphers on;",
    "ssl_protocols": "ssl_protocols TLSv1.3;",
    "ssl_session_cache": "ssl_session_cache none;",
    "ssl_session_ticket_key": "ssl_session_ticket_key t.key;",
    "ssl_session_tickets": "ssl_session_tickets off;",
    "ssl_session_timeout": "ssl_session_timeout 5m;",
    "types": "types { text/x-other txt; }",
    "underscores_in_headers": "underscores_in_headers on;",
    "uwsgi_modifier1": "uwsgi_modifier1 1;",
    "uwsgi_modifier2": "uwsgi_modifier2 1;",
    "uwsgi_param": "uwsgi_param HTTP_ACCEPT_ENCODING $http_x_bypass;",
}

#: Settings with which no answer is kept ready in the cached location.
NOT_READY = {
    "add_header": "add_header X-Agent $http_user_agent;",
    "add_trailer": "add_trailer X-Agent a;",
    "auth_basic": "auth_basic all; auth_basic_user_file $folder/passwords;",
    "auth_basic_user_file": "auth_basic off; auth_basic_user_file $folder/passwords;",
    "charset": "charset $http_x_charset;",
    "expires": "expires $kind;",
    "gzip_disable": "gzip on; gzip_disable x;",
    "internal": "internal;",
    "keepalive_disable": "keepalive_disable safari;",
    "keepalive_timeout": "keepalive_timeout 0;",
    "proxy_cache_bypass": "proxy_cache_bypass $http_x_bypass;",
    "proxy_cache_key": "proxy_cache_key $uri$http_user_agent;",
    "proxy_cache_purge": "proxy_cache_purge $http_x_purge;",
    "proxy_store": "proxy_store $folder/stored$uri;",
    "break": "break;",
    "if": "if ($http_x_stop) { return 403; }",
    "return": "return 200 text;",
    "rewrite": "rewrite ^/x /y;",
    "set": "set $own 1;",
    "send_timeout": "send_timeout 5s;",
    "slice": "slice 1k; proxy_cache_key $uri$slice_range;",
    "try_files": "try_files /none /other;",
}

#: The same for files.
NOT_READY_FILES = {
    "alias": "alias $folder/$http_x_dir/files/;",
    "root": "root $folder/$http_x_dir;",
}

REQUESTS: tuple[tuple[bytes, bytes, tuple[bytes, ...]], ...] = (
    (b"GET", b"%b", ()),
    (b"GET", b"%b", (b"User-Agent: x",)),
    (b"GET", b"%b", (b"Accept-Encoding: gzip",)),
    (b"GET", b"%b", (b"Cookie: lang=de; a=1",)),
    (b"GET", b"%b", (b"X-Forwarded-Proto: https",)),
    (b"GET", b"%b", (b"X-Forwarded-For: 6.6.6.7, 192.0.2.6, 6.6.6.6:80",)),
    (b"GET", b"%b", (b"X-Forwarded-For: 6.6.6.7, 192.0.2.6",)),
    (b"GET", b"%b", (b"X-Real-IP: 6.6.6.8",)),
    (b"GET", b"%b", (b"X-Real-IP: 6.6.6.9",)),
    (b"GET", b"%b", (b"X-Bypass: 1", b"X-Purge: 1")),
    (b"HEAD", b"%b", ()),
    (b"GET", b"%b?b=1", ()),
    (b"GET", b"%b?b=2&a", ()),
    (b"GET", b"%b?purge=1", ()),
    (b"GET", b"%b", (b"Range: bytes=1-2",)),
    (b"GET", b"%b", (b"If-Modified-Since: " + http_date(0),)),
    (b"GET", b"%b", (b"Host: other.example",)),
)


class DirectiveTests(BenchCase):
    """One directive after the other, before a cached origin and before files."""

    def setUp(self) -> None:
        self.patch(static_files, "SETTLED", -1.0)  # else files this young are not kept

    def bench_with(self, row: Row | None, text: str) -> Bench:
        """A bench where *text* stands in both locations, or around them where it must."""
        inner = text
        if row is not None and (row.name in AROUND or not row.contexts & Context.LOCATION):
            inner = ""
        outer = "" if inner else text
        files, cached = (inner, inner)
        if row is not None and row.name == "alias":
            cached = ""
        if row is not None and row.name.startswith("proxy_store"):
            files = ""
        zone = "" if "proxy_store $" in text else "proxy_cache z;"
        root = "" if row is not None and row.name in ("root", "alias") else "root $folder;"
        self.bench = Bench(
            self,
            f"""
            proxy_cache_path cache levels=1:2 keys_zone=z:1m inactive=1h;
            log_format l '$status $body_bytes_sent $bytes_sent $upstream_cache_status $request'
                ' $connection_requests $sent_http_content_length $sent_http_etag $uri'
                ' $remote_addr $remote_port $realip_remote_addr';
            map $http_x_kind $kind {{ default 1h; }}
            geo $country {{ default XX; }}
            upstream app {{ server 127.0.0.1:8000; keepalive 8; }}
            access_log access.log l;
            server {{
                listen 127.0.0.1:80; server_name test.example;
                {"" if outer.startswith("access_log") else outer}
                location / {{ proxy_pass http://app; {zone} {cached} }}
                location /files/ {{ {root} {files} }}
                location /other {{ return 200 other; }}
            }}
            """,
            outside="error_log error.log info; pid p.pid; worker_shutdown_timeout 1s;",
        )
        for folder in ("files", "test.example/files", "other.example/files"):
            path = self.bench.write(f"{folder}/a.txt", b"a text\n" * 30)
            os.utime(path, (1000, 1000))
        self.bench.origin().default = response(
            200,
            b"content " * 50,
            b"Cache-Control: max-age=60",
            b"Content-Type: text/html",
            b'ETag: "e"',
            b"X-Hidden: 1",
            b"Vary: Accept-Encoding",
        )
        return self.bench

    def tell(self, row: Row | None, text: str, path: bytes, hot: bool) -> tuple[object, int]:
        """What clients and logs show of all requests for *path*; how many were answered hot."""
        bench = self.bench_with(row, text)
        used = 0
        seen: list[bytes] = []
        clients: list[Client] = []

        def connect() -> Client:
            client: Any = bench.client(hot=hot)
            answer = client.protocol._hot

            def count(downstream: object, head: object) -> object:
                nonlocal used
                ready = answer(downstream, head)
                used += ready is not None
                return ready

            client.protocol._hot = count
            clients.append(client)
            return clients[-1]

        client = connect()
        for method, target, fields in REQUESTS:
            for pause in (0, 1):
                if client.transport.closed:
                    client = connect()
                client.send(message(method, target % path, *fields))
                bench.advance(pause, 1)
        bench.advance(31, 31)
        for _ in range(2):
            if client.transport.closed:
                client = connect()
            client.send(message(b"GET", path))
        for one in clients:
            seen.append(one.received)
        asked = [request.head for request in bench.origin().requests]
        # Which connection it was is counted over all of them.
        errors = [re.sub(r"\*\d+ ", "", line) for line in bench.log("error.log")]
        told = (seen, bench.log(), bench.log("other.log"), errors, asked)
        names = bench.folder.encode()
        bench.close()
        return _without(told, names), used

    def compare(self, row: Row | None, text: str, path: bytes) -> int:
        """Hold both paths equal; how many requests the fast one answered."""
        fast, used = self.tell(row, text, path, True)
        general, none = self.tell(row, text, path, False)
        self.assertEqual(none, 0)
        self.assertEqual(fast, general, (text, path))
        return used

    def test_every_directive_that_may_be_hot_has_a_setting_here(self) -> None:
        """And every one that may not."""
        rows = {row.name for row in ROWS if not row.without_effect}
        able = {name for name, rule in FAST_PATH.items() if rule is not Hot.NO}
        self.assertEqual(able & rows, READY.keys() | STRUCTURAL)
        ruled_out = {name for name, rule in FAST_PATH.items() if rule is Hot.NO}
        conditional = {name for name, rule in FAST_PATH.items() if isinstance(rule, OnlyIf)}
        self.assertEqual(
            (ruled_out | conditional) - {"proxy_cache", "proxy_pass"},
            NOT_READY.keys() | NOT_READY_FILES.keys(),
        )

    def test_nothing_said_is_hot(self) -> None:
        """The measure for the cases below."""
        for path in (b"/page", b"/files/a.txt"):
            self.assertGreater(self.compare(None, "", path), 5)

    def test_hits_equal_the_general_path_under_each_directive(self) -> None:
        """Each that says that answers may be ready in spite of it: they are, and are the same."""
        self.compare_all(b"/page", {"alias", "proxy_cache_bypass"})

    def test_files_equal_the_general_path_under_each_directive(self) -> None:
        """The same for files, with all that is not about origins alone."""
        origins = {row.name for row in ROWS if row.name.startswith(("proxy_", "uwsgi_"))}
        self.compare_all(b"/files/a.txt", origins - {"proxy_cache_bypass"})

    def compare_all(self, path: bytes, apart_from: set[str]) -> None:
        """Hold both paths equal for *path* under every directive, and see the fast one used."""
        for row in ROWS:
            text = READY.get(row.name)
            if text and row.name not in apart_from and row.contexts is not Context.UPSTREAM:
                self.assertGreater(self.compare(row, text, path), 0, (text, path))

    def test_fast_path_is_not_used_where_a_directive_rules_it_out(self) -> None:
        """Each that says so, or with a setting that does."""
        rows = {row.name: row for row in ROWS if row.contexts & Context.LOCATION}
        for name, text in NOT_READY.items():
            self.assertEqual(self.compare(rows[name], text, b"/page"), 0, text)
        for name, text in NOT_READY_FILES.items():
            self.assertEqual(self.compare(rows[name], text, b"/files/a.txt"), 0, text)


def _without(told: Any, name: bytes) -> object:
    """*told* without the name of a bench's folder."""
    if isinstance(told, bytes):
        return told.replace(name, b"")
    if isinstance(told, str):
        return told.replace(name.decode(), "")
    return [_without(one, name) for one in told]
