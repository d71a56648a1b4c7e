"""The recordings that are part of the product, and reading recordings from files and archives."""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from equivalence.subjects.hugetlb.recording import MAX_BYTES, Recording, RecordingError, load

#: Recordings with operations of hugetlb-trace/1 alone.
OF_THE_FORMAT: Final = ("random.tar.xz", "scenarios.tar.xz")
ARCHIVES: Final = (*OF_THE_FORMAT, "extensions.tar.xz")
#: Bounds of an archive, unpacked.
MAX_ARCHIVE_BYTES: Final = 512 * 1024 * 1024
MAX_MEMBERS: Final = 20_000


def corpus(archives: Iterable[str] = ARCHIVES) -> list[Recording]:
    """The recordings that come with the product, by name."""
    here = files(__name__)
    found = [
        recording
        for archive in archives
        for recording in unpack((here / archive).read_bytes(), archive, trusted=True)
    ]
    return sorted(found, key=lambda recording: recording.name)


def read(paths: Iterable[Path]) -> list[Recording]:
    """Recordings from files (``.jsonl``), archives (``.tar.xz``) and folders of both, in order.

    Raises:
        RecordingError: a path cannot be read, holds no recording, or one is malformed.
    """
    return [recording for path in paths for recording in _read_path(path)]


def _read_path(path: Path) -> Iterator[Recording]:
    if path.is_dir():
        found = sorted(
            file for file in path.rglob("*") if file.suffix == ".jsonl" or _is_archive(file)
        )
        if not found:
            msg = f"{path}: no recording in this folder, expected files *.jsonl or *.tar.xz"
            raise RecordingError(msg)
        for file in found:
            yield from _read_path(file)
        return
    try:
        if path.stat().st_size > MAX_BYTES:
            msg = f"{path}: {path.stat().st_size} bytes, expected at most {MAX_BYTES}"
            raise RecordingError(msg)
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise RecordingError(msg) from error
    if _is_archive(path):
        yield from unpack(data, str(path))
    else:
        yield load(_text(data, str(path)), str(path))


def _is_archive(path: Path) -> bool:
    return path.name.endswith(".tar.xz")


def unpack(data: bytes, name: str, *, trusted: bool = False) -> Iterator[Recording]:
    """The recordings in an archive, by name; other members are left alone.

    ``trusted`` leaves their fields unchecked: a test checks those that come with the product.

    Raises:
        RecordingError: not an archive, without a recording, larger than the bounds, or a recording
            is malformed.
    """
    try:
        with lzma.open(io.BytesIO(data)) as stream:
            unpacked = stream.read(MAX_ARCHIVE_BYTES + 1)
        if len(unpacked) > MAX_ARCHIVE_BYTES:
            msg = f"{name}: unpacks to more than {MAX_ARCHIVE_BYTES} bytes"
            raise RecordingError(msg)
        texts = {}
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
            for count, member in enumerate(archive):
                if count >= MAX_MEMBERS:
                    msg = f"{name}: more than {MAX_MEMBERS} members"
                    raise RecordingError(msg)
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None and member.name.endswith(".jsonl"):
                    texts[member.name] = content.read(MAX_BYTES + 1)
    except (lzma.LZMAError, tarfile.TarError, EOFError) as error:
        msg = f"{name}: not an archive of recordings (.tar.xz): {error}"
        raise RecordingError(msg) from error
    if not texts:
        msg = f"{name}: no recording in this archive, expected members *.jsonl"
        raise RecordingError(msg)
    for member_name in sorted(texts):
        where = f"{name}:{member_name}"
        yield load(_text(texts[member_name], where), where, trusted=trusted)


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        msg = f"{where}: not UTF-8 text, expected a recording"
        raise RecordingError(msg) from None
