"""A zone against a dictionary: any sequence of operations agrees with the simple model.

The executors run their work when the machine says so, so that the sequences
include every order in which disk work may end.
"""

# trial's test cases have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cacheproxy.http.fields import Fields
from cacheproxy.policy.purge import (
    ByHost,
    ByKey,
    ByPrefix,
    ByTags,
    Everything,
    Selection,
    mark_stale,
    selects,
)
from cacheproxy.policy.stored import StoredResponse
from cacheproxy.proxy.interfaces import Entry, MissWriter
from cacheproxy.storage.disk import purge_steps as removal
from cacheproxy.storage.upkeep import purges as purging
from tests.storage.support import Harness, QueueExecutor, RecordingSink, digest_of, head_of

_keys = st.sampled_from([b"a", b"b"])
_variants = st.sampled_from([b"", b"1"])
_tags = st.sampled_from([b"", b"t", b"t u", b"u"])
_hosts = st.sampled_from([b"h", b"i"])
# Small, beyond the memory tier's limit of one body, and beyond one batch.
_sizes = st.sampled_from([0, 10, 5000, 300_000])
_selections = st.sampled_from(
    [
        ByKey(digest_of(b"a")),
        ByKey(digest_of(b"b")),
        ByPrefix(b"a"),
        ByPrefix(b""),
        ByHost(b"h"),
        ByTags(frozenset({b"t"})),
        ByTags(frozenset({b"t", b"u"})),
        Everything(),
    ]
)
_Name = tuple[bytes, bytes]
#: A stored body and its head: what may be answered.
_State = tuple[bytes, StoredResponse]


def _same(entry: Entry, stored: StoredResponse) -> bool:
    head = entry.stored
    return (head.lifetime, head.stale_while_revalidate, head.response_time) == (
        stored.lifetime,
        stored.stale_while_revalidate,
        stored.response_time,
    )


class ZoneMachine(RuleBasedStateMachine):
    """Rules call the zone and the model alike."""

    #: ``max_size`` of the zone: with it any entry may be culled at any time.
    max_size: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.path = tempfile.mkdtemp()
        self.pool, self.writer, self.reactor = QueueExecutor(), QueueExecutor(), QueueExecutor()
        self.harness = Harness(
            self.path,
            pool=self.pool,
            writer=self.writer,
            reactor=self.reactor,
            memory=32_000,
            max_size=self.max_size,
        )
        self.model: dict[_Name, _State] = {}
        self.open: list[tuple[_Name, bytes, MissWriter, StoredResponse]] = []
        #: Look-ups without an answer yet: every state that each may answer with.
        self.looking: list[tuple[_Name, list[_State | None]]] = []
        #: Responses asked for, of which nothing has come yet, and whether they were purged since.
        self.asked: list[tuple[_Name, StoredResponse, bool]] = []
        self.purged: list[tuple[float, Selection]] = []
        self.serial = 0
        # So that purges take several steps, with everything else between them.
        self.steps, removal.PURGE_STEP = removal.PURGE_STEP, 1
        self.marks, purging.MARK_LIMIT = purging.MARK_LIMIT, 1

    @initialize(sizes=st.lists(_sizes, min_size=3, max_size=3), forget=st.booleans())
    def fill(self, sizes: list[int], forget: bool) -> None:
        """Begin with something to purge."""
        for (key, variant, tags), size in zip(
            ((b"a", b"", b"t u"), (b"a", b"1", b"t"), (b"b", b"", b"u")), sizes, strict=True
        ):
            self.begin(key, variant, tags, b"h", size)
            self.end(0, True)
        self.settle()
        if forget:
            self.forget()

    def teardown(self) -> None:
        removal.PURGE_STEP, purging.MARK_LIMIT = self.steps, self.marks
        self.harness.zone.close()
        shutil.rmtree(self.path)

    def changed(self) -> None:
        """Note the model's new state for every look-up under way."""
        for name, states in self.looking:
            states.append(self.model.get(name))

    def now(self) -> float:
        """Every call comes a little later than the one before."""
        self.harness.scheduler.clock.advance(0.01)
        return self.harness.scheduler.wall()

    def head(self, key: bytes, tags: bytes, host: bytes) -> StoredResponse:
        """A head that is like no other; asked for now."""
        self.serial += 1
        return head_of(
            key,
            lifetime=1e6 + self.serial,
            request_time=self.now(),
            response_time=self.harness.scheduler.wall() + self.serial * 1e-3,
            fields=Fields([(b"xkey", tags)] if tags else []),
            host=host,
        )

    @rule(key=_keys, variant=_variants)
    def start_to_look(self, key: bytes, variant: bytes) -> None:
        """A look-up under way answers with a state that held since it was asked for."""
        name = (key, variant)
        item: tuple[_Name, list[_State | None]] = (name, [])
        if self.max_size is not None:
            item[1].append(None)
        self.looking.append(item)
        self.changed()

        def answered(entry: Entry | None) -> None:
            self.looking.remove(item)
            if entry is None:
                assert None in item[1]
            else:
                assert any(state is not None and _same(entry, state[1]) for state in item[1])
                entry.release()

        self.harness.zone.lookup(digest_of(key + variant), answered)

    def settle(self) -> None:
        while self.pool.queue or self.writer.queue or self.reactor.queue:
            self.pool.run()
            self.writer.run()
            self.reactor.run()

    @rule(key=_keys, variant=_variants, tags=_tags, host=_hosts)
    def ask(self, key: bytes, variant: bytes, tags: bytes, host: bytes) -> None:
        """A request goes to the origin."""
        self.asked.append(((key, variant), self.head(key, tags, host), False))

    @rule(at=st.integers(0, 3), size=_sizes)
    def answer(self, at: int, size: int) -> None:
        """Its response comes: it is stored unless it was purged since."""
        if at >= len(self.asked):
            return
        name, head, purged = self.asked.pop(at)
        self.store(name, head, size, purged)

    @rule(key=_keys, variant=_variants, tags=_tags, host=_hosts, size=_sizes)
    def begin(self, key: bytes, variant: bytes, tags: bytes, host: bytes, size: int) -> None:
        self.store((key, variant), self.head(key, tags, host), size, False)

    def store(self, name: _Name, head: StoredResponse, size: int, purged: bool) -> None:
        key, variant = name
        body = (b"%06d" % self.serial * (size // 6 + 1))[:size]
        writer = self.harness.zone.open_writer(digest_of(key + variant), digest_of(key), head)
        assert (writer is None) == purged
        if writer is None:
            return
        for start in range(0, size, 100_000):
            writer.write(body[start : start + 100_000])
        self.open.append((name, body, writer, head))
        if len(self.open) > 4:
            self.open.pop(0)[2].abort()

    @rule(at=st.integers(0, 3), whole=st.booleans())
    def end(self, at: int, whole: bool) -> None:
        if at >= len(self.open):
            return
        name, body, writer, head = self.open.pop(at)
        if whole:
            writer.finish()
            self.model[name] = (body, head)
            self.changed()
        else:
            writer.abort()

    @rule(key=_keys, variant=_variants, tags=_tags)
    def freshen(self, key: bytes, variant: bytes, tags: bytes) -> None:
        """A 304 comes at once; it may change the tags."""
        name = (key, variant)
        if name in self.model:
            body, old = self.model[name]
            head = replace(self.head(key, tags, old.host), body_length=len(body))
            self.harness.zone.update(digest_of(key + variant), head)
            self.model[name] = (body, head)
            self.changed()

    @rule(key=_keys, variant=_variants)
    def freshen_late(self, key: bytes, variant: bytes) -> None:
        """A 304 comes to a request that was asked before: a purge since voids it."""
        name = (key, variant)
        matching = [item for item in self.asked if item[0] == name]
        if name not in self.model or not matching:
            return
        self.asked.remove(matching[0])
        _, asked, _ = matching[0]
        body, old = self.model[name]
        head = replace(asked, body_length=len(body), host=old.host, fields=old.fields)
        voided = any(
            at > head.request_time and selects(selection, digest_of(key), head)
            for at, selection in self.purged
        )
        self.harness.zone.update(digest_of(key + variant), head)
        if not voided:
            self.model[name] = (body, head)
            self.changed()

    @rule(key=_keys, variant=_variants)
    def delete(self, key: bytes, variant: bytes) -> None:
        self.model.pop((key, variant), None)
        self.changed()
        self.harness.zone.delete(digest_of(key + variant))

    @rule(selection=_selections, soft=st.booleans(), quiet=st.booleans())
    def purge(self, selection: Selection, soft: bool, quiet: bool) -> None:
        if quiet:
            self.settle()
        now = self.now()
        taken = 0
        for name, (body, head) in list(self.model.items()):
            if selects(selection, digest_of(name[0]), head):
                taken += 1
                if soft:
                    self.model[name] = (body, mark_stale(head, now))
                else:
                    del self.model[name]
        self.changed()
        self.purged.append((now, selection))
        self.open = [
            item for item in self.open if not selects(selection, digest_of(item[0][0]), item[3])
        ]
        self.asked = [
            (name, head, purged or selects(selection, digest_of(name[0]), head))
            for name, head, purged in self.asked
        ]
        counts: list[int] = []
        self.harness.zone.purge(selection, counts.append, soft)
        if quiet:
            self.settle()
            assert counts == [taken] or (self.max_size is not None and counts[0] <= taken)

    @rule(
        selection=_selections,
        soft=st.booleans(),
        steps=st.integers(1, 3),
        name=st.tuples(_keys, _variants),
        tags=_tags,
        change=st.sampled_from(["", "begin", "freshen"]),
    )
    def act_while_purging(
        self,
        selection: Selection,
        soft: bool,
        steps: int,
        name: _Name,
        tags: bytes,
        change: str,
    ) -> None:
        """Look-ups, stores and updates between the steps of a purge."""
        self.settle()
        self.forget()
        self.purge(selection, soft, False)
        for _ in range(steps):
            self.reactor.run()
            self.writer.step()
        if change == "begin":
            self.begin(*name, tags, b"h", 10)
            self.end(len(self.open) - 1, True)
        elif change == "freshen":
            self.freshen(*name, tags)
        for other in ((b"a", b""), (b"a", b"1"), (b"b", b"")):
            self.start_to_look(*other)
        self.pool.run()
        self.reactor.run()

    @rule(selection=_selections, soft=st.booleans())
    def purge_and_restart(self, selection: Selection, soft: bool) -> None:
        """A purge that was begun is gone on with by the next process."""
        self.settle()
        self.purge(selection, soft, False)
        self.writer.step()
        self.restart(False)
        self.writer.step()

    @rule(key=_keys, variant=_variants, early=st.booleans())
    def look(self, key: bytes, variant: bytes, early: bool) -> None:
        """The answer is that of the model now, whenever it comes."""
        expected = self.model.get((key, variant))
        found: list[Entry | None] = []
        self.harness.zone.lookup(digest_of(key + variant), found.append)
        if early:
            self.pool.step()
            self.writer.step()
            self.reactor.step()
        self.settle()
        assert len(found) == 1
        entry = found[0]
        if entry is None and self.max_size is not None:
            return
        if expected is None or entry is None:
            assert entry is None and expected is None, (entry, expected)
            return
        body, head = expected
        sink = RecordingSink()
        entry.read(sink, 0, entry.stored.body_length)
        self.settle()
        entry.release()
        assert sink.body == body
        assert _same(entry, head), (entry.stored, head)

    @rule(count=st.integers(1, 3), which=st.integers(0, 2))
    def work(self, count: int, which: int) -> None:
        for _ in range(count):
            (self.pool, self.writer, self.reactor)[which].step()

    @rule()
    def forget(self) -> None:
        self.harness.forget_memory()

    @rule(key=_keys, variant=_variants)
    def encode(self, key: bytes, variant: bytes) -> None:
        entry = self.harness.zone.peek(digest_of(key + variant))
        if entry is not None:
            head = replace(entry.stored, reason=b"gzip")
            self.harness.zone.encoded(entry, b"gzip", 1, head, lambda sibling: None)

    @rule()
    def restart_in_order(self) -> None:
        self.restart(True)

    def restart(self, settled: bool) -> None:
        if settled:
            self.settle()
        for item in self.open:
            item[2].abort()
        self.open.clear()
        self.asked.clear()
        self.harness.zone.close()
        # Nobody hears what comes after the reactor has stopped.
        self.reactor.queue.clear()
        self.looking.clear()
        self.harness.zone = self.harness.make()

    @invariant()
    def memory_is_bounded(self) -> None:
        memory = self.harness.zone.memory
        assert memory.size <= 32_000
        assert memory.size == sum(entry.cost for entry in memory._entries.values())


class CullingZoneMachine(ZoneMachine):
    """A zone that holds a few entries: what the disk culls is found nowhere."""

    max_size = 500_000

    @rule(seconds=st.sampled_from([5.0, 20.0, 700.0]))
    def round(self, seconds: float) -> None:
        """After a round memory holds nothing that the disk does not, and all is within bounds."""
        self.settle()
        self.harness.scheduler.clock.advance(seconds)
        self.settle()
        zone = self.harness.zone
        held = [entry.digest for entry in zone.memory.entries()]
        assert zone.disk_queue.disk.absent(held) == []
        assert zone.memory.size <= self.max_size
        size = sum(
            os.stat(os.path.join(folder, name)).st_blocks * 512
            for folder, _, names in os.walk(self.path)
            for name in names
        )
        # Bodies that are still coming have files of their own.
        assert size <= self.max_size + sum(len(body) + 8192 for _, body, _, _ in self.open), size


ZoneMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
ZoneModelTests = ZoneMachine.TestCase
CullingZoneMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
CullingZoneModelTests = CullingZoneMachine.TestCase
