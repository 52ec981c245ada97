"""Tests of one zone's folder: opening it, finding in it, storing in it, keeping it in bounds."""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import SimpleNamespace

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cacheproxy.config.model import CacheZone
from cacheproxy.errors import StorageError
from cacheproxy.policy.purge import ByKey
from cacheproxy.storage.disk import disk as disk_module
from cacheproxy.storage.disk.body_file import TemporaryBody, new_token
from cacheproxy.storage.disk.disk import (
    BROKEN,
    Disk,
    Found,
    Store,
)
from cacheproxy.storage.disk.entry import SEAL_SIZE, Header, seal
from cacheproxy.storage.disk.index import INDEX_NAME, ROW_OVERHEAD, IndexLockedError, NewRow
from cacheproxy.storage.disk.purge_steps import DiskPurge
from tests.storage.support import descriptors, digest_of, head_of

#: Wall time of the tests.
NOW = 1000.0
#: Bodies up to this size are found whole.
LIMIT = 100
KEY = b"key"
DIGEST = digest_of(KEY)


def no_space(descriptor: int, data: bytes) -> int:
    """A write to a full disk."""
    raise OSError(28, "No space left on device")


class DiskCase(SynchronousTestCase):
    """A ``Disk`` in a temporary folder."""

    def setUp(self) -> None:
        self.path = os.path.join(os.path.abspath(self.mktemp()), "cache")
        self.lines: list[str] = []
        self.disk = self.make()
        self.disk.open()

    def make(self, **settings: object) -> Disk:
        values: dict[str, object] = {
            "name": "z",
            "path": self.path,
            "levels": (1, 2),
            "use_temp_path": False,
            "inactive": 600.0,
        }
        values.update(settings)
        zone = CacheZone(**values)  # type: ignore[arg-type]  # built from a table
        disk = Disk(zone, self.lines.append, LIMIT)
        self.addCleanup(disk.close)
        return disk

    def again(self, **settings: object) -> None:
        """Close in order and open with other *settings*."""
        self.disk.close()
        self.disk = self.make(**settings)
        self.disk.open()

    def store(self, key: bytes, content: bytes, now: float = NOW) -> bytes:
        digest = digest_of(key)
        body = self.disk.temporary()
        body.append(content)
        header = Header(head_of(key, body_length=len(content)), new_token(), new_token())
        self.commit(digest, digest, header, body, now)
        return digest

    def commit(
        self, digest: bytes, primary: bytes, header: Header, body: TemporaryBody, now: float
    ) -> None:
        """Store what is in *body*; raises what the store failed by."""
        store = Store(digest, primary, header, body, b"", now, lambda: True)
        for outcome in self.disk.commit_all([store]):
            if isinstance(outcome, StorageError):
                raise outcome
        self.disk.keep_bounds()

    def whole(self, key: bytes, content: bytes, wanted: bool = True) -> Store:
        """A store of which nothing was streamed."""
        digest = digest_of(key)
        header = Header(head_of(key, body_length=len(content)), new_token(), new_token())
        return Store(digest, digest, header, None, content, NOW, lambda: wanted)

    def found(self, digest: bytes, now: float = NOW) -> Found:
        found = self.disk.find(digest, now)
        assert isinstance(found, Found), found
        if found.descriptor >= 0:
            self.addCleanup(os.close, found.descriptor)
        return found

    def overwrite(self, digest: bytes, at: int, data: bytes) -> None:
        with open(self.disk.path(digest), "r+b") as file:
            file.seek(at)
            file.write(data)

    def temporaries(self) -> list[str]:
        return os.listdir(os.path.join(self.path, "temp"))


class OpeningTests(DiskCase):
    """The folder and its index."""

    def test_nothing_works_before_opening(self) -> None:
        """Each call fails as a disk does, so that the tier goes on without it."""
        disk = self.make()
        for call in (
            lambda: disk.find(DIGEST, NOW),
            disk.temporary,
            disk.check,
            disk.clear,
            lambda: disk.delete(DIGEST),
        ):
            self.assertRaises(StorageError, call)
        self.assertFalse(disk.sweep_step())
        disk.close()

    def test_folder_is_private(self) -> None:
        """Bodies may be what only one client was to see."""
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o700)

    def test_corrupt_index_is_set_aside_each_time(self) -> None:
        """The evidence of an earlier accident is not overwritten by the next."""
        self.store(KEY, b"body")
        for number in (1, 2):
            self.disk.close()
            with open(os.path.join(self.path, INDEX_NAME), "wb") as file:
                file.write(b"%d is no database" % number * 1000)
            self.disk = self.make()
            self.disk.open()
            aside = os.path.join(self.path, f"{INDEX_NAME}.corrupt-{number}")
            with open(aside, "rb") as file:
                self.assertTrue(file.read().startswith(b"%d is no" % number))
            self.assertEqual(len(self.lines), number)
            self.assertIn(aside, self.lines[-1])
        self.assertIsNone(self.disk.find(DIGEST, NOW))
        self.store(KEY, b"again")
        self.assertEqual(self.found(DIGEST).body, b"again")

    def test_damage_met_in_use_is_set_aside_at_reopening(self) -> None:
        """A healthy looking file is not trusted once a statement failed in it."""
        self.store(KEY, b"body")
        self.disk.damaged = True
        self.disk.reopen()
        self.assertTrue(os.path.exists(os.path.join(self.path, f"{INDEX_NAME}.corrupt-1")))
        self.assertFalse(self.disk.damaged)
        self.assertIsNone(self.disk.find(DIGEST, NOW))

    def test_reopening_keeps_the_rows(self) -> None:
        """A failure of the disk is no reason to forget."""
        self.store(KEY, b"body")
        self.disk.reopen()
        self.assertEqual(self.found(DIGEST).body, b"body")

    def test_missing_index_is_noticed(self) -> None:
        """``check`` is what finds that the folder was emptied under the zone."""
        self.disk.check()
        os.unlink(os.path.join(self.path, INDEX_NAME))
        self.assertRaises(StorageError, self.disk.check)

    def test_probe_leaves_nothing(self) -> None:
        """Neither when the disk works nor when it is full."""
        self.disk.probe()
        self.disk.write = no_space
        self.assertRaises(StorageError, self.disk.probe)
        self.assertEqual(self.temporaries(), [])


class TemporaryFolderTests(DiskCase):
    """``use_temp_path``, and what dead processes left."""

    def test_temp_path_on_the_same_file_system(self) -> None:
        """The configured folder is made and used."""
        chosen = os.path.join(os.path.dirname(self.path), "chosen")
        self.again(use_temp_path=True, temp_path=chosen)
        body = self.disk.temporary()
        self.addCleanup(body.discard)
        self.assertEqual(os.path.dirname(body.path), chosen)
        self.assertEqual(self.lines, [])

    def test_temp_path_on_another_file_system(self) -> None:
        """Bodies could not be renamed from there: written in the zone instead, with a line."""
        if os.stat("/dev/shm").st_dev == os.stat(self.path).st_dev:
            raise SkipTest("no second file system")
        other = tempfile.mkdtemp(dir="/dev/shm")
        self.addCleanup(shutil.rmtree, other)
        self.again(use_temp_path=True, temp_path=other)
        self.store(KEY, b"body")
        self.assertEqual(self.found(DIGEST).body, b"body")
        self.assertEqual(os.listdir(other), [])
        self.assertEqual(len(self.lines), 1)
        self.assertIn(other, self.lines[0])

    def test_only_the_dead_lose_their_files(self) -> None:
        """Files of a process that lives, this one's new ones and foreign names stay."""
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        folder = os.path.join(self.path, "temp")
        own, parent = os.getpid(), os.getppid()
        names = {
            f"cacheproxy-{dead.pid}-00": False,
            f"cacheproxy-{own}-new": True,
            f"cacheproxy-{own}-old": False,
            f"cacheproxy-{parent}-00": True,
            "cacheproxy-x-00": True,
            f"other-{dead.pid}-00": True,
        }
        for name in names:
            with open(os.path.join(folder, name), "wb"):
                pass
        os.utime(os.path.join(folder, f"cacheproxy-{own}-old"), (1, 1))
        self.again()
        self.assertEqual(set(self.temporaries()), {name for name, stays in names.items() if stays})


class FindingTests(DiskCase):
    """``find``: the entry whole, or nothing of it."""

    def test_small_whole_large_open(self) -> None:
        """Up to the limit the body itself, beyond it a descriptor."""
        for size in (0, 1, LIMIT):
            digest = self.store(b"%d" % size, bytes(size))
            found = self.found(digest)
            self.assertEqual((found.body, found.descriptor), (bytes(size), -1))
            self.assertEqual(found.primary, digest)
            self.assertEqual(found.header.stored.key, b"%d" % size)
        found = self.found(self.store(b"large", bytes(LIMIT + 1)))
        self.assertIsNone(found.body)
        self.assertEqual(os.pread(found.descriptor, LIMIT + 1, 0), bytes(LIMIT + 1))

    def test_inactive_is_missing(self) -> None:
        """The deadline itself still belongs to the entry (``inactive``)."""
        self.store(KEY, b"body")
        self.assertIsInstance(self.disk.find(DIGEST, NOW + 600.0), Found)
        self.assertIsNone(self.disk.find(DIGEST, NOW + 600.1))

    def test_other_token_is_broken(self) -> None:
        """A file that another store left is not this row's, whatever its length."""
        before = descriptors()
        for size in (10, LIMIT + 10):
            digest = self.store(b"%d" % size, bytes(size))
            self.overwrite(digest, size, seal(new_token()))
            self.assertIs(self.disk.find(digest, NOW), BROKEN)
        self.assertEqual(descriptors(), before)

    def test_no_seal_is_broken(self) -> None:
        """A file that was never finished, or goes on after its seal."""
        before = descriptors()
        for size in (10, LIMIT + 10):
            digest = self.store(b"%d" % size, bytes(size))
            path = self.disk.path(digest)
            for length in (size + SEAL_SIZE - 1, size, size // 2, 0):
                os.truncate(path, length)
                self.assertIs(self.disk.find(digest, NOW), BROKEN)
            digest = self.store(b"%d" % size, bytes(size))
            self.overwrite(digest, size + SEAL_SIZE, b"x")
            self.assertIs(self.disk.find(digest, NOW), BROKEN)
        self.assertEqual(descriptors(), before)

    def test_changed_small_body_is_broken(self) -> None:
        """The checksum is compared where the body is read anyway."""
        self.store(KEY, b"some body")
        self.overwrite(DIGEST, 3, b"X")
        self.assertIs(self.disk.find(DIGEST, NOW), BROKEN)

    def test_missing_file_is_broken(self) -> None:
        """The caller decides whether a store is about to put it there."""
        self.store(KEY, b"body")
        os.unlink(self.disk.path(DIGEST))
        self.assertIs(self.disk.find(DIGEST, NOW), BROKEN)

    def test_unreadable_head_is_broken(self) -> None:
        """Bytes that are no header make no entry."""
        self.store(KEY, b"body")
        self.disk.index.replace_value(DIGEST, lambda row: (row.value[:-1], frozenset()), 1)
        self.assertIs(self.disk.find(DIGEST, NOW), BROKEN)

    def test_failing_read_is_an_error(self) -> None:
        """What the system refuses is the disk's failure, not the entry's; nothing stays open."""
        self.store(KEY, b"body")
        os.unlink(self.disk.path(DIGEST))
        os.mkdir(self.disk.path(DIGEST))
        before = descriptors()
        self.assertRaises(StorageError, self.disk.find, DIGEST, NOW)
        self.assertEqual(descriptors(), before)


class StoringTests(DiskCase):
    """``commit``, ``update``, ``delete``, ``purge``."""

    def test_reader_keeps_what_it_opened(self) -> None:
        """A store over it and its deletion leave an open body whole."""
        self.store(KEY, b"o" * 200)
        old = self.found(DIGEST)
        self.store(KEY, b"n" * 300)
        new = self.found(DIGEST)
        self.disk.delete(DIGEST)
        self.assertEqual(os.pread(old.descriptor, 200, 0), b"o" * 200)
        self.assertEqual(os.pread(new.descriptor, 300, 0), b"n" * 300)
        self.assertIsNone(self.disk.find(DIGEST, NOW))

    def test_full_disk_leaves_the_older_entry(self) -> None:
        """When the seal no longer fits there is no trace of the newer store."""
        self.store(KEY, b"old")
        before = descriptors()
        body = self.disk.temporary()
        body.append(b"newer")
        self.disk.write = no_space
        header = Header(head_of(KEY, body_length=5), new_token(), new_token())
        with self.assertRaises(StorageError) as caught:
            self.commit(DIGEST, DIGEST, header, body, NOW)
        self.assertIn("No space left", str(caught.exception))
        self.assertEqual(self.found(DIGEST).body, b"old")
        self.assertEqual(self.temporaries(), [])
        self.assertEqual(descriptors(), before)
        self.assertEqual(self.disk.index.usage()[0], 1)

    def test_failing_rename_leaves_the_older_entry(self) -> None:
        """A folder of ``levels=`` that cannot be made."""
        other = digest_of(b"other")
        blocked = os.path.join(self.path, other.hex()[-1])
        self.store(KEY, b"old")
        self.assertNotEqual(other.hex()[-1], DIGEST.hex()[-1])
        with open(blocked, "wb"):
            pass
        self.assertRaises(StorageError, self.store, b"other", b"x")
        self.assertEqual(self.temporaries(), [])
        self.assertEqual(self.disk.index.usage()[0], 1)

    def test_whole_body_is_made_in_its_place(self) -> None:
        """Where nothing is to be replaced there is no temporary file; where there is, one."""
        self.store(b"other", b"makes no folder of this one")
        made: list[str] = []
        temporary = self.disk.temporary
        self.disk.temporary = lambda: made.append("temporary") or temporary()  # type: ignore[func-returns-value,method-assign]
        for content in (b"first", b"second", b"third"):
            self.assertEqual(self.disk.commit_all([self.whole(KEY, content)]), [True])
            self.assertEqual(self.found(DIGEST).body, content)
            made.append(content.decode())
        # The first finds no folder, the others find a file.
        self.assertEqual(made, ["temporary", "first", "temporary", "second", "temporary", "third"])
        self.disk.delete(DIGEST)
        made.clear()
        self.assertEqual(self.disk.commit_all([self.whole(KEY, b"fourth")]), [True])
        self.assertEqual((self.found(DIGEST).body, made), (b"fourth", []))

    def test_group_has_an_outcome_each(self) -> None:
        """A body that meets a full disk, one that nobody wants, and their neighbours."""
        before = descriptors()
        write = self.disk.write

        def fail_large(descriptor: int, data: bytes) -> int:
            if len(data) > 1000:
                raise OSError(28, "No space left on device")
            return write(descriptor, data)

        self.disk.write = fail_large
        unwanted = self.whole(b"unwanted", b"x", wanted=False)
        unwanted.body = self.disk.temporary()
        stores = [
            self.whole(b"a", b"a"),
            self.whole(b"large", bytes(2000)),
            unwanted,
            self.whole(b"b", b"b"),
        ]
        outcomes = self.disk.commit_all(stores)
        self.assertEqual((outcomes[0], outcomes[2:]), (True, [False, True]))
        self.assertIn("No space left", str(outcomes[1]))
        self.assertEqual(self.found(digest_of(b"a")).body, b"a")
        self.assertEqual(self.found(digest_of(b"b")).body, b"b")
        self.assertEqual(self.disk.index.usage()[0], 2)
        self.assertEqual(self.temporaries(), [])
        self.assertEqual(descriptors(), before)

    def test_group_whose_rows_fail_goes_one_by_one(self) -> None:
        """One row that cannot be made leaves the others whole, moved files and all."""
        self.store(b"old", b"old")
        stores = [self.whole(b"%d" % number, b"%d" % number) for number in range(4)]
        replaced = self.whole(b"old", b"new")
        put_all = self.disk.index.put_all
        bad = stores[2].digest

        def fail_one(rows: Sequence[NewRow]) -> None:
            if len(rows) == 1 and rows[0].digest != bad:
                put_all(rows)
                return
            for row in rows:
                row.place(self.disk.path(row.digest))
                if row.digest == bad:
                    raise StorageError("this one cannot be")

        self.disk.index.put_all = fail_one  # type: ignore[method-assign]
        outcomes = self.disk.commit_all([replaced, *stores])
        self.assertIn("cannot be", str(outcomes.pop(3)))
        self.assertEqual(outcomes, [True] * 4)
        self.assertEqual(self.found(digest_of(b"old")).body, b"new")
        for number in (0, 1, 3):
            self.assertEqual(self.found(digest_of(b"%d" % number)).body, b"%d" % number)
        self.assertIsNone(self.disk.find(bad, NOW))
        self.assertFalse(os.path.exists(self.disk.path(bad)))
        self.assertEqual(self.temporaries(), [])

    def test_end_between_renames_and_commit(self) -> None:
        """A group whose process ended there: what it was to replace is a miss, nothing is left."""
        digest = self.store(b"old", b"old")

        def end(rows: Sequence[NewRow]) -> None:
            for row in rows:
                row.place(self.disk.path(row.digest))
            raise KeyboardInterrupt

        self.disk.index.put_all = end  # type: ignore[method-assign]
        stores = [self.whole(b"old", b"new"), self.whole(b"new", b"new")]
        self.assertRaises(KeyboardInterrupt, self.disk.commit_all, stores)
        self.disk.index.close()
        self.disk = self.make()
        self.disk.open()
        self.assertIs(self.disk.find(digest, NOW), BROKEN)
        self.assertIsNone(self.disk.find(stores[1].digest, NOW))
        os.utime(self.disk.path(stores[1].digest), (1, 1))
        while self.disk.sweep_step():
            pass
        self.assertFalse(os.path.exists(self.disk.path(stores[1].digest)))

    def test_locked_index_is_waited_for_once(self) -> None:
        """A group that could not begin is not tried one by one."""
        tried: list[int] = []

        def locked(rows: Sequence[NewRow]) -> None:
            tried.append(len(rows))
            raise IndexLockedError("locked")

        self.disk.index.put_all = locked  # type: ignore[method-assign]
        stores = [self.whole(b"%d" % number, b"x") for number in range(3)]
        outcomes = self.disk.commit_all(stores)
        self.assertTrue(all(isinstance(outcome, IndexLockedError) for outcome in outcomes))
        self.assertEqual((tried, self.temporaries()), ([3], []))
        self.assertFalse(any(os.path.exists(self.disk.path(store.digest)) for store in stores))

    def test_size_is_in_blocks(self) -> None:
        """The seal counts: a body of one block occupies two."""
        sizes = []
        for length in (4096 - SEAL_SIZE, 4096):
            self.store(KEY, bytes(length))
            sizes.append(self.disk.index.usage()[1])
        self.assertEqual(sizes[1] - sizes[0], 4096)
        self.assertGreater(sizes[0], 4096 + ROW_OVERHEAD)
        self.assertLess(sizes[0], 4096 + ROW_OVERHEAD + 1000)

    def sibling(self, parent: bytes, content: bytes) -> bytes:
        digest = digest_of(b"encoded")
        body = self.disk.temporary()
        body.append(content)
        head = head_of(KEY, body_length=len(content))
        header = Header(head, new_token(), new_token(), parent)
        self.disk.commit_sibling(digest, DIGEST, header, body, NOW)
        return digest

    def test_sibling_of_another_edition_is_not_stored(self) -> None:
        """What was encoded from a head that was replaced meanwhile comes to nothing."""
        self.store(KEY, b"body")
        edition = self.found(DIGEST).header.edition
        self.assertIsNone(self.disk.find(self.sibling(new_token(), b"encoded"), NOW))
        self.assertEqual(self.temporaries(), [])
        digest = self.sibling(edition, b"encoded")
        found = self.found(digest)
        self.assertEqual((found.body, found.primary), (b"encoded", DIGEST))
        self.disk.update(DIGEST, head_of(KEY), new_token())
        self.assertIsNone(self.disk.find(digest, NOW))

    def test_sibling_of_an_unreadable_head_is_not_stored(self) -> None:
        """A damaged parent costs the sibling, not the disk, and leaves no file."""
        self.store(KEY, b"body")
        self.disk.index.replace_value(DIGEST, lambda row: (b"garbage", frozenset()), 1)
        self.assertIsNone(self.disk.find(self.sibling(new_token(), b"encoded"), NOW))
        self.assertEqual(self.temporaries(), [])

    def test_update_keeps_the_body(self) -> None:
        """A head of unknown or equal length replaces; one of another length does not."""
        self.store(KEY, b"body")
        for length in (-1, 4):
            edition = new_token()
            head = head_of(KEY, lifetime=5.0 + length, body_length=length)
            self.disk.update(DIGEST, head, edition)
            found = self.found(DIGEST)
            self.assertEqual(found.body, b"body")
            self.assertEqual(found.header.edition, edition)
            self.assertEqual(found.header.stored.lifetime, 5.0 + length)
            self.assertEqual(found.header.stored.body_length, 4)
        self.disk.update(DIGEST, head_of(KEY, lifetime=1.0, body_length=5), new_token())
        self.assertEqual(self.found(DIGEST).header.stored.lifetime, 9.0)

    def test_update_of_an_unreadable_head_is_ignored(self) -> None:
        """What is broken stays broken until it is looked up."""
        self.store(KEY, b"body")
        self.disk.index.replace_value(DIGEST, lambda row: (b"garbage", frozenset()), 1)
        self.disk.update(DIGEST, head_of(KEY), new_token())
        self.assertIs(self.disk.find(DIGEST, NOW), BROKEN)

    def test_purge_removes_variants(self) -> None:
        """Every entry of the primary digest, its file and no other."""
        kept = self.store(b"kept", b"k")
        digests = set()
        for variant in (b"a", b"b"):
            digest = digest_of(KEY + variant)
            body = self.disk.temporary()
            header = Header(head_of(KEY, body_length=0), new_token(), new_token())
            self.commit(digest, DIGEST, header, body, NOW)
            digests.add(digest)
        step = self.disk.purge_step(DiskPurge(ByKey(DIGEST), None, 1))
        self.assertEqual((set(step.digests), step.more), (digests, False))
        self.assertFalse(any(os.path.exists(self.disk.path(digest)) for digest in digests))
        self.assertEqual(self.found(kept).body, b"k")


class BoundsTests(DiskCase):
    """``max_size``, ``min_free``, ``inactive``."""

    def fill(self, count: int) -> list[bytes]:
        """Entries of a block each; the first is the longest unused."""
        return [self.store(b"%d" % number, bytes(50), NOW + number) for number in range(count)]

    def left(self, digests: list[bytes]) -> list[int]:
        """Which of *digests* there are, by number."""
        return [n for n, digest in enumerate(digests) if self.disk.find(digest, NOW) is not None]

    def test_store_culls_what_exceeds(self) -> None:
        """The longest unused go first; a use saves an entry."""
        self.again(max_size=40_000)
        digests = self.fill(3)
        self.assertEqual(self.left(digests), [0, 1, 2])
        self.disk.touch([digests[0]], NOW + 100)
        digests += [self.store(b"more", bytes(50), NOW + 50)]
        self.assertEqual(self.left(digests), [0, 1, 2, 3])
        digests += [self.store(b"last", bytes(50), NOW + 51)]
        self.assertEqual(self.left(digests), [0, 2, 3, 4])
        self.assertLessEqual(self.disk.index.usage()[1], 20_000)
        self.assertFalse(self.disk.over)

    def test_step_is_bounded(self) -> None:
        """A store does not cull more than a step; ``over`` tells that more is left."""
        digests = self.fill(6)
        self.patch(disk_module, "CULL_STEP", 2)
        self.again(max_size=20_000)
        self.assertEqual(self.disk.cull_excess(2), 2)
        self.assertEqual(self.left(digests), [2, 3, 4, 5])
        digests.append(self.store(b"more", bytes(50), NOW + 10))
        self.assertTrue(self.disk.over)
        self.assertEqual(self.left(digests), [4, 5, 6])
        self.assertEqual(self.disk.cull_excess(2), 1)
        self.assertEqual(self.left(digests), [5, 6])

    def test_entry_that_can_never_fit_displaces_nothing(self) -> None:
        """Its blocks and its head count as well as its body."""
        self.again(max_size=40_000)
        digests = self.fill(3)
        large = self.store(b"large", bytes(19_000), NOW + 10)
        self.assertIsNone(self.disk.find(large, NOW))
        self.assertEqual(self.left(digests), [0, 1, 2])
        self.assertEqual(self.temporaries(), [])

    def test_culled_entries_are_told(self) -> None:
        """Once each."""
        digests = self.fill(3)
        self.disk.cull_inactive(NOW + 602.5)
        self.assertEqual(self.disk.take_culled(), digests[:2] + digests[2:])
        self.assertEqual(self.disk.take_culled(), [])

    def test_min_free(self) -> None:
        """Room on the file system is made from this zone, as far as it has any."""
        digests = self.fill(3)
        self.assertEqual(self.disk.cull_excess(), 0)
        self.again(min_free=1)
        self.assertEqual(self.disk.cull_excess(), 0)
        self.assertEqual(self.left(digests), [0, 1, 2])
        self.again(min_free=1 << 60)
        self.assertEqual(self.disk.cull_excess(), 3)
        self.assertEqual(self.left(digests), [])

    def test_min_free_and_max_size(self) -> None:
        """Both hold, each where it is the narrower; a store alone sees to it."""
        room = [1 << 30]
        statvfs = os.statvfs

        def scarce(path: str) -> object:
            real = statvfs(path)
            # Before the index is open, too, there is to be room for it.
            opened = self.disk._index
            free = room[0] - (0 if opened is None else opened.usage()[1])
            return SimpleNamespace(f_bavail=free // real.f_frsize, f_frsize=real.f_frsize)

        self.patch(os, "statvfs", scarce)
        self.again(max_size=30_000, min_free=1 << 20)
        digests = self.fill(6)
        self.assertEqual(self.left(digests), [3, 4, 5])
        room[0] = (1 << 20) + 12_000
        digests.append(self.store(b"more", bytes(50), NOW + 10))
        self.assertEqual(self.left(digests), [5, 6])
        room[0] = 1 << 20
        self.again(min_free=1 << 20)
        digests.append(self.store(b"last", bytes(50), NOW + 11))
        self.assertEqual(self.left(digests), [])

    def test_inactive_in_steps(self) -> None:
        """Those whose last use is ``inactive`` ago, a step at a time."""
        digests = self.fill(5)
        self.disk.touch(digests[:1], NOW + 50)
        self.assertEqual(self.disk.cull_inactive(NOW + 604.0, 2), 2)
        self.assertEqual(self.disk.cull_inactive(NOW + 604.0, 2), 1)
        self.assertEqual(self.left(digests), [0, 4])

    def test_clear(self) -> None:
        """Everything goes, in as many steps as it takes."""
        self.patch(disk_module, "CULL_STEP", 2)
        digests = self.fill(5)
        self.disk.clear()
        self.assertEqual(self.left(digests), [])
        self.assertEqual(self.disk.index.usage(), (0, 0))
        self.assertFalse(any(os.path.exists(self.disk.path(digest)) for digest in digests))


class SweepTests(DiskCase):
    """Files without a row, left by a crash."""

    def orphan(self, number: int, *, old: bool = True) -> str:
        path = self.disk.path(digest_of(b"orphan %d" % number))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"orphan")
        if old:
            os.utime(path, (1, 1))
        return path

    def crash(self) -> None:
        """Open again without having closed in order."""
        self.disk.index.close()
        self.disk = self.make()
        self.disk.open()

    def test_nothing_is_searched_after_an_orderly_end(self) -> None:
        """A start costs no walk over a large zone."""
        while self.disk.sweep_step():
            pass
        orphan = self.orphan(1)
        self.again()
        self.assertFalse(self.disk.sweep_step())
        self.assertTrue(os.path.exists(orphan))

    def test_orphans_go_step_by_step(self) -> None:
        """In bounded steps; entries, and files newer than the opening, stay."""
        kept = self.store(KEY, b"body")
        os.utime(self.disk.path(kept), (1, 1))
        orphans = [self.orphan(number) for number in range(6)]
        self.crash()
        new = self.orphan(99, old=False)
        os.utime(new, (time.time() + 100, time.time() + 100))
        steps = 1
        while self.disk.sweep_step(2):
            steps += 1
            self.assertLessEqual(6 - sum(map(os.path.exists, orphans)), 2 * steps)
        self.assertGreaterEqual(steps, 4)
        self.assertEqual([path for path in orphans if os.path.exists(path)], [])
        self.assertTrue(os.path.exists(new))
        self.assertEqual(self.found(kept).body, b"body")
        self.assertFalse(self.disk.sweep_step())

    def test_foreign_files_stay(self) -> None:
        """What does not look like a body in its place is not ours to remove."""
        name = digest_of(b"foreign").hex()
        places = [
            os.path.join(self.path, name),
            os.path.join(self.path, "a", name),
            os.path.join(self.path, "a", "bb", name + ".bak"),
            os.path.join(self.path, "a", "bb", name.upper()[:31] + "Z"),
            os.path.join(self.path, "a", "zz", name),
            os.path.join(self.path, "temp", "xx", name),
        ]
        for place in places:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb"):
                pass
            os.utime(place, (1, 1))
        self.crash()
        while self.disk.sweep_step():
            pass
        self.assertEqual([place for place in places if not os.path.exists(place)], [])

    def test_search_that_was_not_finished_is_done_again(self) -> None:
        """Closing in the middle of it does not mark the zone as clean."""
        orphan = self.orphan(1)
        self.crash()
        self.again()
        self.assertTrue(os.path.exists(orphan))
        while self.disk.sweep_step():
            pass
        self.assertFalse(os.path.exists(orphan))
