"""Kept traces: a folder of trace files. What a search finds is written here and replayed first.

A file's name is the kind of finding and a hash of the trace (comments aside), so a trace is kept
once whoever finds it again. Files are written whole or not at all. Other files in the folder are
left alone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from equivalence.schedule import parse_schedule
from models.schema.trace import MAX_TRACE_BYTES, Trace, TraceError, format_trace, parse_trace

SUFFIX: Final = ".trace"
#: Hypothesis's own database, beside the traces: a cache.
CACHE: Final = ".hypothesis"
MAX_FILES: Final = 500


class StoreError(OSError):
    """The store cannot be read or written: the message names the path and what to do."""


class Store:
    """The traces kept in one folder, at most ``max_files``."""

    def __init__(self, folder: Path, max_files: int = MAX_FILES) -> None:
        self.folder = folder
        self.max_files = max_files

    def prepare(self) -> None:
        """Make the folder, and see that it can be written.

        Raises:
            StoreError: it cannot.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise self._refused("written", self.folder, error) from error

    def files(self) -> list[Path]:
        """The trace files, sorted by name.

        Raises:
            StoreError: the folder cannot be read.
        """
        try:
            found = [f for f in self.folder.iterdir() if f.suffix == SUFFIX and f.is_file()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refused("read", self.folder, error) from error
        return sorted(found)

    def load(self, subject: str, check: Callable[[Trace], None]) -> list[Trace]:
        """All kept traces of a subject, sorted by file name; other subjects' are passed over.

        Raises:
            StoreError: a file cannot be read.
            TraceError: a file is not a trace, or ``check`` refuses it.
        """
        traces = []
        for path in self.files()[: self.max_files]:
            trace = read_trace(path)
            if trace.subject == subject:
                check(trace)
                traces.append(trace)
        return traces

    def save(self, kind: str, trace: Trace) -> Path:
        """Keep a trace; its path. A full store gives up its largest file first.

        Raises:
            StoreError: the folder cannot be written.
        """
        path = self.folder / f"{kind}-{trace_hash(trace)}{SUFFIX}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            others = [file for file in self.files() if file != path]
            if len(others) >= self.max_files:
                max(others, key=lambda file: (file.stat().st_size, file.name)).unlink()
            write_atomically(path, format_trace(trace))
        except OSError as error:
            raise self._refused("written", path, error) from error
        return path

    def _refused(self, done: str, path: Path, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        return StoreError(
            f"store {path}: cannot be {done} ({reason}); name another folder or correct its rights"
        )


def trace_hash(trace: Trace) -> str:
    """Twelve hexadecimal digits that name a trace, whatever its comments."""
    bare = Trace(trace.subject, trace.world, trace.ops, trace.schedule)
    return sha256(format_trace(bare).encode()).hexdigest()[:12]


def read_trace(path: Path) -> Trace:
    """Read one trace file, never more of it than a trace may have.

    Raises:
        StoreError: it cannot be read.
        TraceError: it is not a trace.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TRACE_BYTES + 1)
    except OSError as error:
        msg = f"trace {path}: cannot be read ({error.strerror or error})"
        raise StoreError(msg) from error
    trace = parse_trace(data.decode("utf-8", errors="replace"), str(path))
    if trace.schedule:
        try:
            parse_schedule(trace.schedule)
        except TraceError as error:
            msg = f"{path}: {error}"
            raise TraceError(msg) from error
    return trace


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that its old content stays whole until the new content is."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
