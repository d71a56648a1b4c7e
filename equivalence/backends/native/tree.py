"""A kernel source tree as the user gave it: read, never written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from equivalence.backends.native.errors import TreeError

#: The files whose code is under test: unmodified, with all their initcalls.
HOSTED = (
    "mm/hugetlb.c",
    "fs/hugetlbfs/inode.c",
    "mm/hugetlb_cgroup.c",
    "arch/x86/mm/hugetlbpage.c",
)

#: What decides the configuration and the generated headers; hashed to share the folder that holds
#: them between trees that agree on it.
_CONFIGURATION_INPUTS = (
    "Makefile",
    "Kbuild",
    "kernel/bounds.c",
    "arch/x86/kernel/asm-offsets.c",
    "arch/x86/kernel/asm-offsets_64.c",
    "include/linux/page-flags.h",
    "include/linux/mmzone.h",
    "include/linux/sched.h",
    "include/linux/spinlock_types.h",
    "include/asm-generic/Kbuild",
    "arch/x86/Makefile",
    "arch/x86/include/asm/Kbuild",
    "arch/x86/include/uapi/asm/Kbuild",
    "arch/x86/include/asm/cpufeatures.h",
    "arch/x86/entry/syscalls/syscall_64.tbl",
)
_CONFIGURATION_FOLDERS = ("arch/x86", "fs", "init", "kernel", "lib", "mm", "scripts/kconfig")


@dataclass(frozen=True, slots=True)
class KernelTree:
    """A folder with a kernel's sources; ``reads`` are further folders that its links lead to.

    ``salt`` tells apart trees that are configured differently though the usual files agree.
    """

    root: Path
    version: tuple[int, int, int]
    reads: tuple[Path, ...] = ()
    salt: str = ""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Everything that a compiler must see of the tree."""
        return (self.root, *self.reads)

    @property
    def release(self) -> str:
        """The version as the tree's Makefile states it, such as ``6.12.117``."""
        return ".".join(str(number) for number in self.version)

    def configuration_key(self, fragment: str) -> str:
        """A key of everything the configuration is made from."""
        state = hashlib.sha256(fragment.encode() + b"\0" + self.salt.encode())
        for path in self._configuration_files():
            state.update(str(path.relative_to(self.root)).encode() + b"\0")
            state.update(hashlib.sha256(path.read_bytes()).digest())
        return state.hexdigest()[:24]

    def _configuration_files(self) -> Iterable[Path]:
        for name in _CONFIGURATION_INPUTS:
            path = self.root / name
            if path.is_file():
                yield path
        for name in _CONFIGURATION_FOLDERS:
            found = (self.root / name).glob("Kconfig*")
            yield from sorted(path for path in found if path.is_file())


def is_configuration(name: str) -> bool:
    """Whether a file is among those that the configuration and generated headers are made from."""
    folder, _, last = name.rpartition("/")
    return name in _CONFIGURATION_INPUTS or (
        last.startswith("Kconfig") and folder in _CONFIGURATION_FOLDERS
    )


def _is_kernel(folder: Path) -> bool:
    """Whether a folder that links lead into is a kernel's, and not, say, a home."""
    return all((folder / name).is_file() for name in ("Kbuild", "Makefile", HOSTED[0]))


def open_tree(folder: Path, reads: Iterable[Path] = ()) -> KernelTree:
    """Look at a folder and say which kernel it holds.

    Raises:
        TreeError: no such folder, no kernel, or hosted files that are missing.
    """
    # one way to write it: files are told to be the tree's by their names
    root = folder.expanduser().resolve()
    if not root.is_dir():
        msg = f"{folder}: no such folder; expected the top of an unpacked kernel tree"
        raise TreeError(msg)
    if not (root / "Makefile").is_file():
        msg = f"{folder}: has no Makefile; expected the top of an unpacked kernel tree"
        raise TreeError(msg)
    try:
        with (root / "Makefile").open(errors="replace") as stream:
            head = stream.read(2000)
    except OSError as error:
        msg = f"{folder}/Makefile: cannot be read: {error.strerror}"
        raise TreeError(msg) from None
    words = dict(re.findall(r"^(\w+) *= *(\w*) *$", head, re.MULTILINE))
    try:
        version = (int(words["VERSION"]), int(words["PATCHLEVEL"]), int(words["SUBLEVEL"] or 0))
    except (KeyError, ValueError):
        msg = f"{folder}/Makefile: names no VERSION and PATCHLEVEL; expected a kernel's Makefile"
        raise TreeError(msg) from None
    missing = [name for name in HOSTED if not (root / name).is_file()]
    if missing:
        msg = f"{folder}: {missing[0]} is missing; expected a whole kernel tree"
        raise TreeError(msg)
    # a tree made of links is read where its links lead, and nowhere beside that
    linked = {
        target.parent if target.name == entry.name and _is_kernel(target.parent) else target
        for entry in root.iterdir()
        if entry.is_symlink() and (target := entry.resolve()).exists()
    }
    outside = {path for path in linked if not path.is_relative_to(root.resolve())}
    return KernelTree(root, version, tuple(dict.fromkeys([*reads, *sorted(outside)])))
