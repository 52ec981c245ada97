"""The file of one body: how it is written, sealed, moved and discarded."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import zlib

from twisted.trial.unittest import SynchronousTestCase

from cacheproxy.errors import StorageError
from cacheproxy.storage.disk import body_file
from cacheproxy.storage.disk.body_file import TemporaryBody, Tokens, new_token
from cacheproxy.storage.disk.entry import seal
from tests.storage.support import descriptors


class TemporaryBodyTests(SynchronousTestCase):
    """``TemporaryBody``."""

    def setUp(self) -> None:
        self.path = self.mktemp()

    def test_short_writes_are_completed(self) -> None:
        """A system call that takes less than it is given is called again."""
        body = TemporaryBody(self.path, lambda descriptor, data: os.write(descriptor, data[:3]))
        body.append(b"some ")
        body.append(b"bytes")
        body.finish(b"12345678")
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), b"some bytes" + seal(b"12345678"))
        self.assertEqual(body.size, 10)

    def test_checksum_is_of_the_body_alone(self) -> None:
        """In pieces or whole, and without the seal."""
        whole = TemporaryBody(self.path, os.write)
        whole.append(b"some bytes")
        pieces = TemporaryBody(self.path + "2", os.write)
        pieces.append(b"some ")
        pieces.append(b"bytes")
        pieces.finish(new_token())
        self.assertEqual(whole.checksum, pieces.checksum)
        whole.discard()

    def test_large_body_has_no_checksum(self) -> None:
        """Beyond ``CHECKED`` it is 0, however the bytes came; up to it, that of all."""
        self.patch(body_file, "CHECKED", 10)
        for pieces, rest, checksum in (
            ([b"12345"], b"67890", zlib.crc32(b"1234567890")),
            ([b"12345"], b"678901", 0),
            ([b"12345678901", b"2"], b"3", 0),
        ):
            body = TemporaryBody(self.path + rest.decode(), os.write)
            for piece in pieces:
                body.append(piece)
            body.finish(new_token(), rest)
            self.assertEqual(body.checksum, checksum)

    def test_is_private_and_new(self) -> None:
        """A name that exists, be it a link, is never written to."""
        body = TemporaryBody(self.path, os.write)
        self.addCleanup(body.discard)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        with self.assertRaises(StorageError):
            TemporaryBody(self.path, os.write)
        os.symlink(self.path, self.path + ".link")
        with self.assertRaises(StorageError):
            TemporaryBody(self.path + ".link", os.write)

    def test_move_makes_folders(self) -> None:
        """Those of ``levels=`` are made when they are first needed."""
        body = TemporaryBody(self.path, os.write)
        body.finish(new_token())
        target = os.path.join(self.mktemp(), "c", "29", "name")
        body.move(target)
        self.assertTrue(os.path.exists(target))
        body.move(target)
        self.assertTrue(os.path.exists(target))
        body.discard()
        self.assertFalse(os.path.exists(target))

    def test_discard_twice(self) -> None:
        """The file goes, its descriptor is closed once."""
        before = descriptors()
        body = TemporaryBody(self.path, os.write)
        body.discard()
        body.discard()
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual(descriptors(), before)


class TokenTests(SynchronousTestCase):
    """Identities of files and heads."""

    def test_no_two_are_alike(self) -> None:
        """Over more than one draw from the system; of a seal's size."""
        tokens = Tokens()
        taken = [tokens.take() for _ in range(1000)]
        self.assertEqual(len(set(taken)), 1000)
        self.assertEqual({len(token) for token in taken}, {len(new_token())})
