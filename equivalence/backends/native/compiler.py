"""Compiles single files of a tree and of the shim, and never the same thing twice.

An object is found again by its compiler, its flags, and the content of every file that went into
it. The list of those files comes from the compiler itself and is kept beside the object, one list
for each set of contents seen.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from equivalence.backends.native import sandbox
from equivalence.backends.native.cache import FileHashes, digest, publish_file
from equivalence.backends.native.configure import SHIM
from equivalence.backends.native.errors import BuildError
from equivalence.backends.native.tree import HOSTED, KernelTree

#: How the code is generated: as the kernel asks for, with what user space needs instead of the
#: kernel's memory model, and frame pointers so that a crash can be attributed.
_CODE = [
    "-nostdinc",
    "-D__KERNEL__",
    "-std=gnu11",
    "-fshort-wchar",
    "-funsigned-char",
    "-fno-common",
    "-fno-strict-aliasing",
    "-mno-sse",
    "-mno-mmx",
    "-mno-sse2",
    "-mno-3dnow",
    "-mno-avx",
    "-fcf-protection=none",
    "-m64",
    "-mno-80387",
    "-mno-fp-ret-in-387",
    "-mpreferred-stack-boundary=3",
    "-mskip-rax-setup",
    "-mtune=generic",
    "-mno-red-zone",
    "-mcmodel=small",
    "-fno-pic",
    "-fno-pie",
    "-fno-asynchronous-unwind-tables",
    "-fno-delete-null-pointer-checks",
    "-fno-allow-store-data-races",
    "-fno-stack-protector",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-fno-strict-overflow",
    "-fno-stack-check",
    "-fconserve-stack",
    "-fno-tree-loop-distribute-patterns",
    "-ffunction-sections",
    "-fdata-sections",
    "-O2",
    "-g1",
]

#: Warnings about hosted files: as the kernel asks for them, so that a patch's new ones show.
_WARNINGS = [
    "-Wall",
    "-Wundef",
    "-Werror=implicit-function-declaration",
    "-Werror=implicit-int",
    "-Werror=incompatible-pointer-types",
    "-Werror=return-type",
    "-Werror=strict-prototypes",
    "-Wno-address-of-packed-member",
    "-Wno-format-truncation",
    "-Wno-sign-compare",
    "-Wno-trigraphs",
]

#: What a file may be read by without the compiler's list of files naming it.
_UNLISTED = re.compile(rb"incbin|__has_include|__has_embed")

#: Changes when lists of files or objects mean something else than they did.
_FORMAT = "2"

_ERROR = re.compile(r"\b[Ee]rror:|out of memory|memory exhausted|signal terminated")
_WARNING = re.compile(r"^([^:\n]+):\d+:\d+: warning: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Unit:
    """One object: its name in the image, and the file it is made from.

    ``source`` is relative to the tree, or absolute below the shim.
    """

    name: str
    source: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """One object and the warnings the compiler gave for it (without places, which move)."""

    unit: Unit
    path: Path
    warnings: tuple[str, ...]
    key: str


def compiler_version() -> str:
    """The compiler, as it names itself."""
    try:
        done = subprocess.run(["gcc", "-v"], capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return (done.stderr.splitlines() or ["unknown"])[-1].strip()


class Compiler:
    """Compiles against one tree with one prepared configuration."""

    def __init__(self, tree: KernelTree, configuration: Path, cache: Path) -> None:
        self._tree = tree
        self._configuration = configuration
        self._cache = cache
        self._reads = [*tree.folders, configuration, SHIM]
        self._hashes = FileHashes()
        self._states: dict[tuple[str, str], str | None] = {}
        self._searched = [
            f"{SHIM}/include",
            *(
                f"{root}/{name}"
                for name in ("arch/x86/include", "include", "arch/x86/include/uapi", "include/uapi")
                for root in (tree.root, configuration)
            ),
            f"{configuration}/arch/x86/include/generated",
            f"{configuration}/arch/x86/include/generated/uapi",
        ]
        self._version = compiler_version()

    @property
    def version(self) -> str:
        """The compiler, as it names itself."""
        return self._version

    def flags(self, unit: Unit) -> list[str]:
        """The command line for a unit, without input and output."""
        made = self._configuration
        include = [
            f"-I{SHIM}/include",
            "-I./arch/x86/include",
            f"-I{made}/arch/x86/include/generated",
            "-I./include",
            f"-I{made}/include",
            "-I./arch/x86/include/uapi",
            f"-I{made}/arch/x86/include/generated/uapi",
            "-I./include/uapi",
            f"-I{made}/include/generated/uapi",
        ]
        for header in ("./include/linux/compiler-version.h", "./include/linux/kconfig.h"):
            include += ["-include", header]
        include += ["-include", f"{SHIM}/include/nh_config.h"]
        include += ["-include", "./include/linux/compiler_types.h"]
        stem = re.sub(r"\W", "_", Path(unit.source).stem)
        names = [
            f'-DKBUILD_MODFILE="{stem}"',
            f'-DKBUILD_BASENAME="{stem}"',
            f'-DKBUILD_MODNAME="{stem}"',
            f"-D__KBUILD_MODNAME=kmod_{stem}",
            f"-ffile-prefix-map={self._tree.root}=.",
            f"-ffile-prefix-map={SHIM}=shim",
            f"-ffile-prefix-map={made}=generated",
        ]
        extra = [f"-I{SHIM}", "-I.", "-fno-builtin"] if unit.source.startswith("/") else []
        return [*_CODE, *include, *names, "-I./mm", "-I./fs", *extra, *unit.flags]

    def compile_all(self, units: Iterable[Unit], jobs: int) -> list[Built]:
        """Compile what is not in the cache.

        Raises:
            BuildError: the first unit, in the order given, that does not compile.
        """
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            return list(pool.map(self.compile, units))

    def compile(self, unit: Unit) -> Built:
        """One object, from the cache or from the compiler.

        Raises:
            BuildError: it does not compile.
        """
        flags = [*self.flags(unit), *(_WARNINGS if unit.source in HOSTED else ["-w"])]
        # paths of the tree and of the cache say nothing about the code
        shape = digest(
            _FORMAT,
            self._version,
            "\0".join(flags)
            .replace(str(self._tree.root), "TREE")
            .replace(str(self._configuration), "MADE")
            .replace(str(SHIM), "SHIM"),
            unit.source.replace(str(SHIM), "SHIM"),
        )
        lists = self._cache / "lists" / shape[:2] / shape
        if self._reads_more(unit):
            return self._make(unit, flags, shape, lists)
        for manifest in sorted(lists.glob("*.json")) if lists.is_dir() else ():
            found = self._recall(unit, manifest)
            if found is not None:
                return found
        return self._make(unit, flags, shape, lists)

    def _place(self, name: str) -> str:
        """A dependency as it is kept: the tree and the cache move between runs."""
        path = os.path.normpath(os.path.join(self._tree.root, name))
        for root, word in (
            (self._configuration, "MADE"),
            (SHIM, "SHIM"),
            (self._tree.root, "TREE"),
        ):
            if path.startswith(f"{root}/"):
                return f"{word}{path[len(str(root)) :]}"
        return path

    def _resolve(self, place: str) -> str:
        word, slash, rest = place.partition("/")
        root = {"MADE": self._configuration, "SHIM": SHIM, "TREE": self._tree.root}.get(word)
        return f"{root}{slash}{rest}" if root else place

    def _reads_more(self, unit: Unit) -> bool:
        """Whether a file reads more than the compiler lists, so that no object can be recalled."""
        try:
            return _UNLISTED.search((self._tree.root / unit.source).read_bytes()) is not None
        except OSError:
            return False

    def _state(self, unit: Unit, place: str) -> str | None:
        """What a file holds, and which files would be read in its place by who looks before it."""
        folder = os.path.dirname(unit.source)
        key = (folder, place)
        if key not in self._states:
            path = self._resolve(place)
            value = self._hashes.of(path)
            if value is not None and path.endswith(".h"):
                value += self._rivals(folder, path)
            self._states[key] = value
        return self._states[key]

    def _rivals(self, folder: str, path: str) -> str:
        """The files of the same name in folders that are searched first, such as a patch adds."""
        found: list[str] = []
        for root in self._searched:
            if not path.startswith(f"{root}/"):
                continue
            name = path[len(root) + 1 :]
            for other in (os.path.join(self._tree.root, folder), *self._searched):
                if other == root:
                    break
                if os.path.exists(f"{other}/{name}"):
                    found.append(self._place(f"{other}/{name}"))
        return ":" + ",".join(found) if found else ""

    def _own(self, unit: Unit) -> str:
        """The place of the unit's own file."""
        return self._place(unit.source)

    def _recall(self, unit: Unit, manifest: Path) -> Built | None:
        try:
            kept = json.loads(manifest.read_text())
        except (OSError, ValueError):
            return None
        if self._own(unit) not in kept["files"]:
            return None
        for place, value in kept["files"].items():
            if value is None or self._state(unit, place) != value:
                return None
        path = self._cache / "objects" / kept["key"][:2] / f"{kept['key']}.o"
        if not path.is_file():
            return None
        return Built(unit, path, tuple(kept["warnings"]), kept["key"])

    def compile_once(self, unit: Unit, folder: Path) -> Path:
        """One object, in a folder: nothing is taken from the cache, nothing put there.

        Raises:
            BuildError: it does not compile.
        """
        output = folder / f"{unit.name}.o"
        self._run(unit, self.flags(unit), output, [])
        return output

    def _run(self, unit: Unit, flags: list[str], output: Path, more: list[str]) -> str:
        """Run the compiler; what it says of the code."""
        try:
            done = sandbox.run(
                ["gcc", *flags, *more, "-c", "-o", str(output), unit.source],
                read=self._reads,
                write=[output.parent],
                cwd=self._tree.root,
            )
        except subprocess.TimeoutExpired:
            msg = f"{unit.source}: the compiler did not end within its time limit"
            raise BuildError(msg, where=unit.source) from None
        if done.returncode or not output.is_file():
            raise _compile_error(unit, done.stderr)
        return done.stderr

    def _make(self, unit: Unit, flags: list[str], shape: str, lists: Path) -> Built:
        with tempfile.TemporaryDirectory(prefix=".compiling-", dir=self._cache) as name:
            scratch = Path(name)
            output, depends = scratch / "out.o", scratch / "out.d"
            said = self._run(unit, flags, output, ["-MD", "-MF", str(depends)])
            text = depends.read_text(errors="surrogateescape").replace("\\\n", " ")
            words = re.split(r"(?<!\\)\s+", text.partition(":")[2].strip())
            places = [self._place(word.replace("\\ ", " ")) for word in words]
            files = {place: self._state(unit, place) for place in places}
            warnings = sorted(found[1] for found in _WARNING.findall(said))
            unlisted = output.read_bytes() if self._reads_more(unit) else b""
            key = digest(shape, json.dumps(files, sort_keys=True), unlisted)
            path = self._cache / "objects" / key[:2] / f"{key}.o"
            publish_file(output, path)
            note = scratch / "note"
            note.write_text(json.dumps({"key": key, "files": files, "warnings": warnings}))
            publish_file(note, lists / f"{key}.json")
        return Built(unit, path, tuple(warnings), key)


def _compile_error(unit: Unit, log: str) -> BuildError:
    lines = [re.sub(r"/\S*/cc\w+\.s:\d+", "assembly", line) for line in log.splitlines()]
    first = next((line for line in lines if _ERROR.search(line)), "the compiler was stopped")[:300]
    where = unit.source.removeprefix(f"{SHIM}/")
    if unit.source.startswith("/"):
        msg = (
            f"the shim file {where} does not fit this tree: {first.replace(str(SHIM), 'shim')}; "
            "a header, a member or a prototype differs: add a version test there (docs/native.md)"
        )
    else:
        msg = f"{where} does not compile: {first}"
    return BuildError(msg, where=where, log=log)
