"""A response's body on its way to a file of its own (``proxy_store``).

The body goes to a temporary file, a batch at a time, in the disk threads; ``finish``
gives it its mode and time and renames it into its place, with the folders that are
missing. Nobody ever sees half a file under the name. Where the temporary folder is on
another file system the body is copied into a file beside the place first, as in nginx.

A failing or full disk is reported once, through *failed*; what is written after that is
dropped, and the client's response goes on.

Source: nginx ``ngx_http_upstream_store``, ``ngx_ext_rename_file``. Runs in the reactor
thread, apart from the methods that say otherwise.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from enum import Enum

from cacheproxy.storage.threads import CallFromThread, Executor

__all__ = ["FileWriter"]

#: Bytes gathered before a disk thread is given work.
BATCH = 256 * 1024
#: Bytes that may wait for the disk before the upstream is paused.
WAITING_LIMIT = 1 << 20


class _State(Enum):
    OPEN = "open"
    FINISHING = "finishing"
    DONE = "done"


class FileWriter:
    """A ``MissWriter`` whose body becomes the file *path*.

    *mode* is the file's; folders get it too, with the right to search them where it has
    the right to read. *mtime* (wall seconds) is the file's time, None for now.
    """

    __slots__ = (
        "_call_from_thread",
        "_descriptor",
        "_directory",
        "_drain",
        "_executor",
        "_failed",
        "_held",
        "_in_flight",
        "_mode",
        "_mtime",
        "_path",
        "_state",
        "_temporary",
    )

    def __init__(
        self,
        path: bytes,
        mode: int,
        mtime: float | None,
        directory: str,
        failed: Callable[[str], None],
        *,
        executor: Executor,
        call_from_thread: CallFromThread,
    ) -> None:
        self._path = path
        self._mode = mode
        self._mtime = mtime
        self._directory = directory
        self._failed = failed
        self._executor = executor
        self._call_from_thread = call_from_thread
        self._state = _State.OPEN
        # One buffer: a peer that sends single bytes must not make a list of a million pieces.
        self._held = bytearray()
        self._in_flight = 0
        self._drain: Callable[[], None] | None = None
        # The temporary file is that of the thread at work, of which there is one at a time.
        self._descriptor = -1
        self._temporary = b""

    def __repr__(self) -> str:
        return f"<FileWriter {self._path!r} {self._state.value}>"

    # -- as a MissWriter -------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Append; never blocks."""
        if self._state is not _State.OPEN:
            return
        self._held += data
        if len(self._held) >= BATCH and not self._in_flight:
            self._flush()

    @property
    def takes(self) -> bool:
        """Whether it may still become a file."""
        return self._state is _State.OPEN

    @property
    def congested(self) -> bool:
        """Whether more than ``WAITING_LIMIT`` waits for the disk."""
        return len(self._held) + self._in_flight > WAITING_LIMIT

    def on_drain(self, call: Callable[[], None] | None) -> None:
        """Call *call* whenever ``congested`` turns false again."""
        self._drain = call

    def finish(self) -> None:
        """The body is whole: move it into its place, as soon as the disk has it."""
        if self._state is _State.OPEN:
            self._state = _State.FINISHING
            self._drain = None
            if not self._in_flight:
                self._place()

    def abort(self) -> None:
        """Forget everything written."""
        if self._state is _State.OPEN:
            self._state = _State.DONE
            self._held.clear()
            if not self._in_flight and self._temporary:
                self._executor.submit(self._discard)

    # -- the disk --------------------------------------------------------------

    def _flush(self) -> None:
        batch = bytes(self._held)
        self._held.clear()
        self._in_flight = len(batch)
        self._executor.submit(lambda: self._write_batch(batch))

    def _write_batch(self, batch: bytes) -> None:
        """In a disk thread."""
        problem = ""
        try:
            self._append(batch)
        except OSError as error:
            problem = f"cannot write temporary file: {error}"
            self._discard()
        self._call_from_thread(self._written, problem)

    def _written(self, problem: str) -> None:
        congested, self._in_flight = self.congested, 0
        if problem and self._state is not _State.DONE:
            self._state = _State.DONE
            self._held.clear()
            self._fail(problem)
        elif self._state is _State.FINISHING:
            self._place()
        elif self._state is _State.DONE:
            if self._temporary:
                self._executor.submit(self._discard)
        elif len(self._held) >= BATCH:
            self._flush()
        if congested and not self.congested and self._drain is not None:
            self._drain()

    def _place(self) -> None:
        self._state = _State.DONE
        rest = bytes(self._held)
        self._held.clear()
        self._executor.submit(lambda: self._place_now(rest))

    def _place_now(self, rest: bytes) -> None:
        """In a disk thread."""
        try:
            self._append(rest)
            self._seal(self._descriptor)
            self._close()
            self._move()
        except OSError as error:
            self._discard()
            self._call_from_thread(self._fail, str(error))

    def _fail(self, problem: str) -> None:
        name = self._path.decode("utf-8", "replace")
        self._failed(f'response is not stored in "{name}": {problem}')

    # -- in a disk thread ------------------------------------------------------

    def _append(self, data: bytes) -> None:
        if self._descriptor < 0:
            folder = os.fsencode(self._directory)
            os.makedirs(folder, 0o700, exist_ok=True)
            self._descriptor, self._temporary = tempfile.mkstemp(
                prefix=b"cacheproxy-store-", dir=folder
            )
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _seal(self, descriptor: int) -> None:
        """Give the file its mode and its time."""
        os.fchmod(descriptor, self._mode)
        if self._mtime is not None:
            os.utime(descriptor, (self._mtime, self._mtime))

    def _move(self) -> None:
        try:
            self._rename(self._temporary)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = self._copy_beside()
            try:
                self._rename(beside)
            except OSError:
                os.unlink(beside)
                raise
            os.unlink(self._temporary)
        self._temporary = b""

    def _rename(self, source: bytes) -> None:
        try:
            os.replace(source, self._path)
        except FileNotFoundError:
            self._make_folders()
            os.replace(source, self._path)

    def _make_folders(self) -> None:
        """Make what is missing of the way to the file."""
        missing = []
        folder = os.path.dirname(self._path)
        while folder and not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        mode = self._mode | (self._mode & 0o444) >> 2
        for folder in reversed(missing):
            try:
                os.mkdir(folder, mode)
            except FileExistsError:
                pass  # another thread's

    def _copy_beside(self) -> bytes:
        """The body in a file on the place's own file system; returns its name."""
        self._make_folders()
        descriptor, beside = tempfile.mkstemp(
            prefix=b".cacheproxy-store-", dir=os.path.dirname(self._path)
        )
        try:
            with open(self._temporary, "rb") as source, open(descriptor, "wb") as copy:
                shutil.copyfileobj(source, copy, BATCH)
                copy.flush()
                self._seal(descriptor)
        except OSError:
            os.unlink(beside)
            raise
        return beside

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _discard(self) -> None:
        """Remove the temporary file."""
        try:
            self._close()
        except OSError:
            pass
        temporary, self._temporary = self._temporary, b""
        if temporary:
            try:
                os.unlink(temporary)
            except OSError:
                pass
