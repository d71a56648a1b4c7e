"""Write an initramfs: the "newc" archive format of the kernel's initramfs-buffer description."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_DIRECTORY = 0o040000
_CHARACTER_DEVICE = 0o020000
_REGULAR = 0o100000


@dataclass(frozen=True, slots=True)
class Member:
    """One archive member: its path without a leading slash, full mode, content and device."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str) -> Member:
    """Return a directory `path` (mode 0755)."""
    return Member(path, _DIRECTORY | 0o755)


def executable(path: str, content: bytes) -> Member:
    """Return a regular file `path` (mode 0755) with `content`."""
    return Member(path, _REGULAR | 0o755, content)


def character_device(path: str, major: int, minor: int) -> Member:
    """Return a character device node `path` (mode 0600); writing the archive needs no root."""
    return Member(path, _CHARACTER_DEVICE | 0o600, device=(major, minor))


def archive(members: Iterable[Member]) -> bytes:
    """Return the archive of `members`, owned by root, dated 0: the same bytes for the same input.

    Raises `ValueError` for a path that begins with a slash.
    """
    out = bytearray()
    for inode, member in enumerate(members, start=1):
        if member.path.startswith("/"):
            msg = f"cpio: member path {member.path!r} begins with a slash; give it relative to /"
            raise ValueError(msg)
        out += _record(inode, member)
    out += _record(0, Member("TRAILER!!!", 0))
    return bytes(out)


def _record(inode: int, member: Member) -> bytes:
    name = member.path.encode() + b"\0"
    links = 2 if member.mode & 0o170000 == _DIRECTORY else 1
    fields = (
        inode,
        member.mode,
        0,  # uid
        0,  # gid
        links,
        0,  # mtime
        len(member.content),
        0,  # device that holds the archive
        0,
        *member.device,
        len(name),
        0,  # checksum, unused in this variant
    )
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(member.content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
