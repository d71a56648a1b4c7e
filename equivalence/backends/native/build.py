"""From a kernel tree to an image: the process that runs its hugetlb code."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from equivalence.backends.native.cache import cache_folder, digest, publish_file
from equivalence.backends.native.compiler import Built, Compiler, Unit
from equivalence.backends.native.configure import SHIM, prepare
from equivalence.backends.native.linker import link
from equivalence.backends.native.neighbours import NEIGHBOURS
from equivalence.backends.native.tree import HOSTED, KernelTree, open_tree


@dataclass(frozen=True, slots=True)
class NativeImage:
    """A linked image of one tree.

    ``unmodelled`` are the functions that nothing defines: a call of one ends an operation.
    ``warnings`` are the compiler's, for the hosted files only: file -> messages.
    ``keys`` name the objects of the hosted files: equal keys mean equal inputs.
    """

    path: Path
    tree: Path
    release: str
    compiler: str
    configuration: Path
    unmodelled: tuple[str, ...]
    warnings: dict[str, tuple[str, ...]]
    keys: dict[str, str]
    #: The objects of all files of the tree that are in the image, by source.
    objects: dict[str, Path]


#: Blocks tell that they run, and every condition of the source stays a branch of its own.
_MARKS = (
    "-fsanitize-coverage=trace-pc",
    "--param=logical-op-non-short-circuit=0",
    "-fno-ssa-phiopt",
    "-fno-if-conversion",
    "-fno-if-conversion2",
    "-fno-crossjumping",
    "-fno-tree-tail-merge",
    "-fno-thread-jumps",
    "-fno-tree-dominator-opts",
    "-fno-tree-vrp",
)
#: Functions and blocks write down that they run. What one function becomes must not depend on
#: another, so that a patch changes what it touches only: nothing is inlined but what says so.
_RECORD = (
    "-fsanitize-coverage=trace-pc",
    "-finstrument-functions",
    "-finstrument-functions-exclude-file-list=include/,arch/,generated/",
    "-fno-inline-functions",
    "-fno-inline-functions-called-once",
    "-fno-inline-small-functions",
    "-fno-ipa-cp",
    "-fno-ipa-icf",
    "-fno-ipa-ra",
    "-fno-ipa-sra",
    "-fno-partial-inlining",
)


#: Checks that ``--sanitize`` adds to hosted files; each calls a handler of ``sanitize.c``.
SANITIZERS: Final = {
    "address": (
        "-fsanitize=kernel-address",
        "--param=asan-instrumentation-with-call-threshold=0",
        "--param=asan-stack=0",
        "--param=asan-globals=0",
    ),
    "undefined": ("-fsanitize=shift,bounds,integer-divide-by-zero,unreachable,bool,enum",),
}


def units(
    tree: KernelTree,
    *,
    coverage: Collection[str] = (),
    record: bool = False,
    sanitize: Collection[str] = (),
) -> list[Unit]:
    """Everything that goes into an image of the tree, hosted files first.

    ``coverage`` are the files whose blocks are marked; a header's are where it is included. With
    ``record`` these files write down their calls and blocks in order instead. ``sanitize`` names
    checks of :data:`SANITIZERS` for the hosted files.
    """
    checks = tuple(flag for name in sorted(sanitize) for flag in SANITIZERS[name])

    def flags(name: str) -> tuple[str, ...]:
        marks = _RECORD if record else _MARKS
        return marks if name in coverage else ()

    found = [Unit(f"hosted_{_flat(name)}", name, flags(name) + checks) for name in HOSTED]
    found += [
        Unit(
            f"shim_{path.stem}",
            str(path),
            (("-DNH_RECORD",) if record and path.stem == "host" else ())
            + (("-DNH_SANITIZE",) if sanitize else ()),
        )
        for path in sorted(SHIM.glob("*.c"))
    ]
    found += [
        Unit(f"neighbour_{_flat(name)}", name, flags(name))
        for name in NEIGHBOURS
        if (tree.root / name).is_file()
    ]
    return found


def compiled_files(tree: KernelTree) -> frozenset[str]:
    """The sources of the tree that go into its image."""
    return frozenset(unit.source for unit in units(tree) if not unit.source.startswith("/"))


def _flat(name: str) -> str:
    return re.sub(r"\W", "_", name.removesuffix(".c"))


def build(
    tree: KernelTree | Path,
    *,
    jobs: int | None = None,
    base: KernelTree | None = None,
    coverage: Collection[str] = (),
    record: bool = False,
    sanitize: Collection[str] = (),
) -> NativeImage:
    """Compile and link a tree; what was built before comes from the cache.

    ``coverage`` names the files whose blocks are marked, or with ``record`` written down;
    ``sanitize`` the checks of :data:`SANITIZERS` that the hosted files make. With
    ``base`` the configuration of that tree is used (a later step of a series keeps it).

    Raises:
        TreeError: no kernel tree.
        ToolMissingError: a program is missing.
        BuildError: it does not compile or link; the message names the file or symbol.
    """
    found = tree if isinstance(tree, KernelTree) else open_tree(tree)
    cache = cache_folder()
    configuration = prepare(base or found, cache)
    compiler = Compiler(found, configuration, cache)
    workers = jobs or min(4, os.cpu_count() or 1)
    built = compiler.compile_all(
        units(found, coverage=coverage, record=record, sanitize=sanitize), workers
    )
    key = digest(
        *(f"{one.unit.name}={one.key}" for one in built), (SHIM / "hosted.ld").read_bytes()
    )
    image = cache / "images" / key[:2] / key
    note = image.with_suffix(".json")
    if image.is_file() and note.is_file():
        missing = tuple(json.loads(note.read_text()))
    else:
        missing = _link(built, cache, image, found.root)
        with tempfile.TemporaryDirectory(prefix=".noting-", dir=cache) as name:
            partial = Path(name) / "note"
            partial.write_text(json.dumps(missing))
            publish_file(partial, note)
    hosted = [one for one in built if one.unit.name.startswith("hosted_")]
    return NativeImage(
        path=image,
        tree=found.root,
        release=found.release,
        compiler=compiler.version,
        configuration=configuration,
        unmodelled=missing,
        warnings={one.unit.source: one.warnings for one in hosted if one.warnings},
        keys={one.unit.source: one.key for one in hosted},
        objects={one.unit.source: one.path for one in built if not one.unit.source.startswith("/")},
    )


def _link(built: Sequence[Built], cache: Path, image: Path, tree: Path) -> tuple[str, ...]:
    return link_named({one.unit.name: one.path for one in built}, cache, image, tree)


def link_named(
    objects: Mapping[str, Path], scratch: Path, image: Path, tree: Path
) -> tuple[str, ...]:
    """Link objects by the names of their units; the names that got stubs.

    The linker script tells hosted objects by their names, so they are given names, in a folder of
    their own in ``scratch``. ``tree`` is where to look for what is missing.

    Raises:
        BuildError: they do not fit together.
    """
    with tempfile.TemporaryDirectory(prefix=".names-", dir=scratch) as folder:
        named: list[Path] = []
        for name, target in objects.items():
            path = Path(folder) / f"{name}.o"
            path.symlink_to(target)
            named.append(path)
        return link(named, (), image, tree)
