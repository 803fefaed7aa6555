"""A store file in SQLite, with its lock and its tip beside it."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..errors import CorruptError, StorageError
from .lock import FileLock
from .rows import Batch, DeliveredRow, EventRow, MetaRow

__all__ = ["APPLICATION_ID", "FORMAT", "SqliteFile"]

APPLICATION_ID = 0x53594E43  # "SYNC", as `file` and others show it
FORMAT = 4  # of the tables and what is in them; another one is refused, not guessed at
CHECKPOINT_PAGES = 400  # of the write-ahead log, before they go into the file itself: `normal` waits for the disk then
MAX_LOG_BYTES = 64 * 1024 * 1024  # a longer write-ahead log is cut back once it is empty

# A round and an id find an event: rounds hardly ever fall, so the index grows where it was touched last.
TABLES = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB, checksum INTEGER) WITHOUT ROWID",
    "event": "CREATE TABLE event (id INTEGER PRIMARY KEY, round INTEGER, top INTEGER, digest BLOB, record BLOB,"
    " checksum INTEGER)",
    "event_slot": "CREATE INDEX event_slot ON event (round, digest)",
    "delivered": "CREATE TABLE delivered (id INTEGER PRIMARY KEY, round INTEGER, digest BLOB, consensus_at INTEGER,"
    " order_hash BLOB, whitened_signature BLOB, closed_by INTEGER, checksum INTEGER)",
}
TROUBLE = {  # of the disk, which may pass
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EIO,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_LOCKED: errno.EBUSY,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    sqlite3.SQLITE_PERM: errno.EPERM,
    sqlite3.SQLITE_INTERRUPT: errno.EINTR,
}
MOVE_AWAY = "move it away, and start with joining_running_session=True"


class SqliteFile:
    """One peer's store: `NAME`, its write-ahead log, `NAME.tip` and `NAME.lock`."""

    def __init__(self, path: Path, *, page_bytes: int = 4096, must_exist: bool = False) -> None:
        """`page_bytes` counts when the file is made; with `must_exist` a file that is not there is an error."""
        self.path = path
        self.tip_path = path.with_name(path.name + ".tip")
        self._lock = FileLock(path.with_name(path.name + ".lock"), path)
        self._page_bytes = page_bytes
        self._must_exist = must_exist
        self._connection: sqlite3.Connection | None = None
        self._tip: int | None = None  # descriptor
        self._is_synced: bool | None = None  # what SQLite was told last
        self._is_doubtful = False  # a commit failed, and what was written before it may not have reached the disk

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def open(self) -> bool:
        """Take the file, and make it where there is none; whether it was there."""
        try:
            if self._must_exist and not self.path.is_file():
                raise StorageError(errno.ENOENT, f"{self.path}: no such file: give the path of a store")
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.take()
            existed = self.path.exists()
            with self._errors():
                self._connect(existed)
            if not existed:
                _sync_folder(self.path.parent)
        except StorageError:
            self.close()
            raise
        except OSError as error:
            self.close()
            if isinstance(error, FileExistsError | NotADirectoryError):
                raise StorageError(error.errno, f"{self.path.parent} is no folder: give one for the stores") from error
            raise StorageError(error.errno, f"{self.path}: the store cannot be opened: {error.strerror}") from error
        return existed

    def commit(self, batch: Batch, sync: bool) -> None:
        """Write all of a batch, or nothing."""
        with self._errors():
            if self._is_doubtful:
                # After a sync that failed the system may take for written what is not. What the log holds is written
                # once more, into the file itself, before anything builds on it.
                self._set_sync(True)
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._is_doubtful = False
            self._set_sync(sync)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._change(batch)
                self._db.execute("COMMIT")
            except BaseException:
                self._is_doubtful = True
                with contextlib.suppress(sqlite3.Error):  # some errors have ended the transaction already
                    self._db.execute("ROLLBACK")
                raise

    def meta(self) -> list[MetaRow]:
        """All rows about the file itself."""
        with self._errors():
            return [MetaRow(*row) for row in self._db.execute("SELECT name, value, checksum FROM meta")]

    def events(self, first: int, end: int) -> list[EventRow]:
        """Events by id."""
        query = "SELECT id, round, top, digest, record, checksum FROM event WHERE id >= ? AND id < ? ORDER BY id"
        with self._errors():
            return [EventRow(*row) for row in self._db.execute(query, (first, end))]

    def event(self, round: int, digest: bytes) -> EventRow | None:
        """An event by its round and its own id."""
        query = "SELECT id, round, top, digest, record, checksum FROM event WHERE round = ? AND digest = ?"
        with self._errors():
            row = self._db.execute(query, (round, digest)).fetchone()
            return None if row is None else EventRow(*row)

    def events_from(self, round: int) -> Iterator[EventRow]:
        """Events by round."""
        query = "SELECT id, round, top, digest, record, checksum FROM event WHERE round >= ? ORDER BY round, digest"
        with self._errors():
            for row in self._db.execute(query, (round,)):
                yield EventRow(*row)

    def delivered(self, first: int, end: int) -> list[DeliveredRow]:
        """Delivered events by index."""
        query = (
            "SELECT id, round, digest, consensus_at, order_hash, whitened_signature, closed_by, checksum"
            " FROM delivered WHERE id >= ? AND id < ? ORDER BY id"
        )
        with self._errors():
            return [DeliveredRow(*row) for row in self._db.execute(query, (first, end))]

    def size(self) -> int:
        """Bytes of the pages that are in use."""
        with self._errors():
            pages, free, size = (self._pragma(name) for name in ("page_count", "freelist_count", "page_size"))
            return (pages - free) * size

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        with self._errors():
            found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(20)")]
            return [] if found == ["ok"] else found

    def inode(self) -> int:
        """The file's inode."""
        return self.path.stat().st_ino

    def boot(self) -> bytes:
        """The id that the kernel drew when it started."""
        try:
            return uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
        except (OSError, ValueError):
            return b""

    def read_tip(self) -> bytes | None:
        """The bytes of the tip."""
        try:
            return self.tip_path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(error.errno, f"{self.tip_path}: {error.strerror}") from error

    def write_tip(self, tip: bytes, sync: bool) -> None:
        """Write the tip in one piece; with `sync` it is durable."""
        try:
            is_new = self._tip is None and not self.tip_path.exists()
            if self._tip is None:
                self._tip = os.open(self.tip_path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            os.lseek(self._tip, 0, os.SEEK_SET)
            os.write(self._tip, tip)
            if sync:
                os.ftruncate(self._tip, len(tip))  # whatever lay there before
                os.fsync(self._tip)
            if is_new:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise StorageError(error.errno, f"{self.tip_path}: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file, and of its lock."""
        connection, self._connection = self._connection, None
        tip, self._tip = self._tip, None
        try:
            if connection is not None:
                with self._errors():
                    connection.close()
            if tip is not None:
                os.close(tip)
        finally:
            self._lock.release()

    # -- private --------------------------------------------------------------------------------------

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._connection is not None, "the store file is not open"
        return self._connection

    def _connect(self, existed: bool) -> None:
        if not existed:  # SQLite would make it readable for everybody
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # One thread at a time uses it, but not always the same one.
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0)
        self._connection = connection
        for pragma in (
            f"page_size = {self._page_bytes}",
            "locking_mode = EXCLUSIVE",  # nobody else reads it, so that no shared memory has to lie beside it
            "trusted_schema = OFF",
            "cell_size_check = ON",
            "temp_store = MEMORY",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"journal_size_limit = {MAX_LOG_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        is_empty = self._pragma("schema_version") == 0
        if not is_empty:
            self._check_format()
        if self._db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise StorageError(errno.EIO, f"{self.path}: this file system does not take SQLite's write-ahead log")
        self._set_sync(True)
        if is_empty:
            self._create()

    def _check_format(self) -> None:
        if self._pragma("application_id") != APPLICATION_ID:
            raise StorageError(
                errno.EINVAL, f"{self.path} is no store of syncpoint: give another folder, or move it away"
            )
        found = self._pragma("user_version")
        if found != FORMAT:
            raise StorageError(
                errno.EINVAL,
                f"{self.path} has format {found}, and this version of syncpoint reads {FORMAT}: "
                "install the version that wrote it, or move it away and start with joining_running_session=True",
            )
        tables = dict(self._db.execute("SELECT name, sql FROM sqlite_master"))
        tables.pop("sqlite_autoindex_meta_1", None)
        if tables != TABLES:
            raise CorruptError(f"{self.path}: its tables are not those of a store; {MOVE_AWAY}")

    def _create(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for statement in TABLES.values():
            self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {FORMAT}")
        self._db.execute("COMMIT")

    def _change(self, batch: Batch) -> None:
        db = self._db
        db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", batch.events)
        db.executemany("INSERT INTO delivered VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch.delivered)
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", batch.meta)
        if batch.forget_events:
            db.execute("DELETE FROM event WHERE id < ?", (batch.forget_events,))
        if batch.forget_delivered:
            db.execute("DELETE FROM delivered WHERE id < ?", (batch.forget_delivered,))

    def _set_sync(self, sync: bool) -> None:
        if sync != self._is_synced:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._is_synced = sync

    def _pragma(self, name: str) -> int:
        (value,) = self._db.execute(f"PRAGMA {name}").fetchone()
        assert isinstance(value, int)
        return value

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Tell trouble of the disk, which may pass, from a file that is damaged."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            number = None if code is None else TROUBLE.get(code & 0xFF)
            if number is None:
                raise CorruptError(f"{self.path} is damaged ({error}); {MOVE_AWAY}") from error
            name = getattr(error, "sqlite_errorname", "")
            raise StorageError(number, f"{self.path}: {error} ({name})") from error
        except (OverflowError, UnicodeError) as error:  # what no row of ours makes SQLite say
            raise CorruptError(f"{self.path} is damaged ({error}); {MOVE_AWAY}") from error


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can do that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
