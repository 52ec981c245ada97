"""Passwords beside nginx: ``auth_basic``, its file's formats, and ``satisfy``."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.differential.sides import Side, ask, build, compare, pair
from tests.support.origins import Origin, Seen, reply
from tests.support.processes import NGINX

pytestmark = [
    pytest.mark.differential,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on the PATH"),
]

HTTP = """
server {
    listen 127.0.0.1:@PORT@;
    location /open/ { proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /asked/ { auth_basic "a realm"; auth_basic_user_file @DIR@/users;
        proxy_pass http://127.0.0.1:@ORIGIN@; proxy_set_header X-User $remote_user;
        location /asked/off/ { auth_basic off; proxy_pass http://127.0.0.1:@ORIGIN@; }
        location /asked/named/ { auth_basic "for $arg_name"; proxy_pass http://127.0.0.1:@ORIGIN@; }
        location /asked/post/ { auth_basic off; proxy_pass http://127.0.0.1:@ORIGIN@;
            limit_except GET { auth_basic "to write"; } }
    }
    location /variable/ { auth_basic $arg_realm; auth_basic_user_file @DIR@/$arg_file;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /missing/ { auth_basic x; auth_basic_user_file @DIR@/none;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /paged/ { auth_basic x; auth_basic_user_file @DIR@/users; error_page 401 /open/page;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    auth_basic_user_file @DIR@/users;
    location /all-in/ { auth_basic x; allow all; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /all-out/ { auth_basic x; deny all; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /any-in/ { satisfy any; auth_basic x; allow all;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /any-out/ { satisfy any; auth_basic x; deny all;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /any-other/ { satisfy any; auth_basic x; deny 192.0.2.1;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /any-off/ { satisfy any; auth_basic $arg_realm; deny all;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /any-rules/ { satisfy any; deny all; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /any-password/ { satisfy any; auth_basic x; proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /any-missing/ { satisfy any; auth_basic x; auth_basic_user_file @DIR@/none; deny all;
        proxy_pass http://127.0.0.1:@ORIGIN@; }
    location /returned/ { auth_basic x; return 200 "the rewrite phase comes first"; }
}
"""

#: Of "secret", but for those of users who cannot come in.
USERS = """# me:{PLAIN}comment
plain:{PLAIN}secret
apr1:$apr1$salt1234$G61s9lpZAELkzUFCbj/53/
sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
ssha:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0
bcrypt:$2y$04$7AntdvCe4GrWPUMXiRQDE.FfgRpa3Wc5D0qWUBGPD330kSj1CdUuu
sha512:$6$salt1234$XlM3TAPQpzPux1K5SXljYTSlmwnoAbsunXwwWMLH2USuV84oQBkDPWUDYWZltiv6PdqNfuqoMB4aXKHtDfWeo/
commented:{PLAIN}secret:and more
twice:{PLAIN}other
twice:{PLAIN}secret
empty:
star:*
odd:secret
"""

LOCATIONS = [
    "/open/", "/asked/", "/asked/off/", "/asked/named/", "/asked/post/", "/missing/", "/paged/",
    "/all-in/", "/all-out/", "/any-in/", "/any-out/", "/any-other/", "/any-off/",
    "/any-rules/", "/any-password/", "/any-missing/", "/returned/",
]  # fmt: skip
NAMES = [line.partition(":")[0] for line in USERS.splitlines() if line[0] != "#"]


def coded(text: str) -> str:
    """The field's value for a user and a password."""
    return "Basic " + base64.b64encode(text.encode()).decode()


def answer(made: Origin, seen: Seen) -> bytes:
    """The origin shows who was let in."""
    data = reply(f"{seen.method} {seen.get('x-user')}".encode())
    return data[: data.index(b"\r\n\r\n") + 4] if seen.method == "HEAD" else data


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """nginx and the proxy, in this order."""
    with pair(tmp_path_factory.mktemp("auth"), HTTP, answer) as both:
        for side in both:
            (side.folder / "users").write_text(USERS)
            side.folder.chmod(0o755)
        yield both


def hold(sides: tuple[Side, Side], target: str, given: str | None, method: str = "GET") -> int:
    """Both answer the same; the status."""
    data, _ = build(target, method, {} if given is None else {"Authorization": given})
    theirs, ours = (ask(side.port, data, method) for side in sides)
    compare(sides, (theirs, ours))
    assert ours is not None
    return ours.status


@pytest.mark.parametrize("name", NAMES)
def test_every_format(sides: tuple[Side, Side], name: str) -> None:
    """The right password, the same again, wrong ones."""
    for password in ("secret", "secret", "wrong", "", "other", "*"):
        status = hold(sides, "/asked/x", coded(f"{name}:{password}"))
        if password == "secret" and name not in ("twice", "empty", "star", "odd"):
            assert status == 200, name


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("given", [None, coded("plain:secret"), coded("plain:wrong")])
def test_where_it_is_asked(sides: tuple[Side, Side], location: str, given: str | None) -> None:
    """Inheritance, ``satisfy``, error pages, methods."""
    for method in ("GET", "POST"):
        hold(sides, f"{location}x?name=n&realm=r", given, method)
    hold(sides, f"{location}x?realm=off", given)


@pytest.mark.parametrize(
    "given",
    ["", "Basic", "Basic ", "Basic  " + coded("plain:secret")[6:], "bAsIC cGxhaW46c2VjcmV0",
     "Bearer cGxhaW46c2VjcmV0", coded("plain"), coded(":secret"), coded("plain:secret:x"),
     "Basic !", "Basic cGxhaW46c2VjcmV", "Basic cGxhaW46c2VjcmV0=", coded("me:comment"),
     coded("# me:comment"), coded("nobody:secret"), "BasiccGxhaW46c2VjcmV0"],
)  # fmt: skip
def test_every_kind_of_field(sides: tuple[Side, Side], given: str) -> None:
    """What is no user with a password is asked for one."""
    hold(sides, "/asked/x", given)
    hold(sides, "/asked/off/x", given)


def test_file_and_realm_of_variables(sides: tuple[Side, Side]) -> None:
    """They are rendered for every request."""
    for query in ("realm=r&file=users", "realm=off&file=users", "realm=r&file=none", "file=users"):
        for given in (None, coded("plain:secret"), coded("plain:wrong")):
            hold(sides, f"/variable/x?{query}", given)


def test_changed_file_holds_from_the_next_request_on(sides: tuple[Side, Side]) -> None:
    """What is remembered is not what the file says any more."""
    given = coded("late:one")
    for text, expected in (("late:{PLAIN}one\n", 200), ("late:{PLAIN}two22\n", 401), ("", 401)):
        for side in sides:
            (side.folder / "changing").write_text(text)
        for _ in range(2):
            assert hold(sides, "/variable/x?realm=r&file=changing", given) == expected
    for side in sides:
        (side.folder / "changing").unlink()
    assert hold(sides, "/variable/x?realm=r&file=changing", given) == 403


def test_error_log(sides: tuple[Side, Side]) -> None:
    """Both say why, in nginx's words."""
    for target, given, words in (
        ("/asked/log", coded("plain:bad"), 'user "plain": password mismatch'),
        ("/asked/log", coded("none:bad"), 'user "none" was not found in'),
        ("/missing/log", coded("plain:secret"), "No such file"),
    ):
        hold(sides, target, given)
        for side in sides:
            texts = [path.read_text(errors="replace") for path in side.folder.rglob("*.log")]
            assert any(words in text for text in texts), (words, side.folder)
