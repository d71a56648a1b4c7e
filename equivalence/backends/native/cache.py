"""The folder in which prepared configurations, objects and images are kept between runs.

Every entry is written under a temporary name and renamed into place, so that two runs on one cache
see whole entries or none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from equivalence.backends.native.errors import CacheError

_LEFT_SECONDS = 24 * 3600


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/equivcheck/native``, made if it does not exist.

    Raises:
        CacheError: it can neither be made nor written to.
    """
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base).resolve() / "equivcheck" / "native"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = (
            f"{folder}: the cache cannot be written ({error.strerror}); "
            "set XDG_CACHE_HOME to a folder that can"
        )
        raise CacheError(msg) from None
    _sweep(folder)
    return folder


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove what runs that were killed left behind, a day later."""
    places = (folder, folder / "configuration", folder / "images")
    for entry in [one for place in places if place.is_dir() for one in place.glob(".*-*")]:
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)


def digest(*parts: str | bytes) -> str:
    """A key of the parts, in order."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()[:32]


def publish_folder(final: Path, fill: Callable[[Path], None]) -> Path:
    """Make the folder ``final`` with what ``fill`` writes, unless it exists."""
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=final.parent))
    try:
        fill(scratch)
        try:
            scratch.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


def publish_file(source: Path, final: Path) -> Path:
    """Move a finished file into place."""
    final.parent.mkdir(parents=True, exist_ok=True)
    source.replace(final)
    return final


class FileHashes:
    """Content hashes of files, remembered by path, size and time for this process."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}

    def of(self, path: str) -> str | None:
        """The hash of a file's content; None if there is no such file, or none that stays so.

        The path may come from code that is not trusted: no device, pipe or process is opened.
        """
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode) or path.startswith(("/proc/", "/sys/", "/dev/")):
            return None
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            data = Path(path).read_bytes()
        except OSError:
            return None
        value = hashlib.blake2b(data, digest_size=16).hexdigest()
        self._known[path] = (stamp, value)
        return value
