"""The tier ``native`` as the engine sees it: a series on a tree, its steps as systems.

Steps are built when they are first asked for. Points of evidence are lines ``file:number`` of the
hosted files at that step.
"""

from __future__ import annotations

import difflib
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from equivalence.backends.native import sandbox
from equivalence.backends.native.build import NativeImage, build, units
from equivalence.backends.native.cache import cache_folder
from equivalence.backends.native.compiler import Compiler, Unit, compiler_version
from equivalence.backends.native.configure import prepare
from equivalence.backends.native.coverage import CoverageMap
from equivalence.backends.native.errors import BuildError
from equivalence.backends.native.neighbours import NEIGHBOURS
from equivalence.backends.native.series import PatchSeries, StepTree, fate_of, make_steps
from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.backends.native.tree import HOSTED, KernelTree
from equivalence.subject import Change, Changes, Hunk, PatchInfo, Role, System
from models.schema.trace import Scalar

_REASONS: Final = {
    "not compiled": "the configuration of the hosted tree does not compile this file",
    "not hosted": "no code of the kernel image",
    "not applied": "changes to what runs while building are not applied unless allowed",
    "header": "reaches the checked code only through what includes it",
    "neighbour": "linked in and running, without coverage",
}
#: Bytes of the bitmap that the text of an image can reach: one bit for each byte, 1 MiB of text.
_TEXT_BITS: Final = 1 << 17
_DEFINITION: Final = re.compile(r"^[a-zA-Z_][^;{}#]*?\b(\w+)\(", re.MULTILINE)


class NativeEvidenceSystem(NativeSystem):
    """A system of an image built for coverage."""

    def __init__(self, image: NativeImage, coverage: CoverageMap) -> None:
        self._native = Runner(image)
        super().__init__(image, runner=self._native)
        self._coverage = coverage

    def coverable(self) -> Mapping[str, frozenset[str]]:
        """Function -> its lines."""
        return self._coverage.functions()

    def covered(self) -> Mapping[str, frozenset[str]]:
        """Function -> its lines that ran."""
        ran: set[str] = set()
        for worker in self._native.workers:
            ran |= self._coverage.ran(worker.coverage())
        return {name: lines & ran for name, lines in self._coverage.functions().items()}

    def rows(self) -> Mapping[str, Mapping[tuple[Scalar, ...], int]]:
        """No predicates are declared for C."""
        return {}

    def progress(self) -> int:
        """How many blocks ran: grows with every block that runs for the first time."""
        return sum(
            int.from_bytes(worker.coverage()[:_TEXT_BITS], "little").bit_count()
            for worker in self._native.workers
        )

    def forget(self) -> None:
        """Forget what ran."""
        for worker in self._native.workers:
            worker.forget_coverage()


class NativeTier:
    """A series on a tree. Use as a context manager: it keeps a scratch folder."""

    name = "native"

    def __init__(
        self,
        tree: KernelTree,
        series: PatchSeries,
        *,
        jobs: int | None = None,
        allow_build_files: bool = False,
    ) -> None:
        self.series = series.name
        self.patches: Sequence[PatchInfo] = tuple(
            PatchInfo(f"{number:04}", patch.title, patch.declares_change)
            for number, patch in enumerate(series.patches, start=1)
        )
        self._tree, self._source, self._jobs = tree, series, jobs
        self._allow = allow_build_files
        self._scratch = Path(tempfile.mkdtemp(prefix="equivcheck-series-"))
        self._steps: list[StepTree] = make_steps(
            tree, series, self._scratch, allow_build_files=allow_build_files
        )
        self.limits: Mapping[str, str] = {
            "architecture": f"x86-64 on {platform.machine()}, one task, no weak memory",
            "configuration": "allnoconfig with the shim's kconfig.fragment; without the hugetlb "
            "vmemmap optimisation, GENERIC_BUG, PER_VMA_LOCK and inlined unlocks",
            "compiler": compiler_version(),
            "kernel": tree.release,
            "isolation": sandbox.describe(),
            "coverage": "lines, by the basic blocks the compiler marks",
        }
        self._images: dict[tuple[int, bool], NativeImage | str] = {}
        self._maps: dict[Path, CoverageMap] = {}

    def close(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> NativeTier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def image(self, step: int, *, coverage: bool = False) -> NativeImage:
        """The image of a step.

        Raises:
            BuildError: why there is none.
        """
        key = (step, coverage)
        if key not in self._images:
            tree = self._steps[step].tree
            if tree is None:
                self._images[key] = self._steps[step].obstacle or "has no tree"
            else:
                try:
                    self._images[key] = build(
                        tree,
                        jobs=self._jobs,
                        base=self._tree,
                        coverage=coverage,
                    )
                except BuildError as error:
                    self._images[key] = str(error)
        found = self._images[key]
        if isinstance(found, str):
            raise BuildError(found)
        return found

    def obstacle(self, step: int) -> str | None:
        """Why a step cannot be run, or None."""
        try:
            self.image(step)
        except BuildError as error:
            return str(error)
        return None

    def system(self, step: int, *, effects: bool = False, evidence: bool = True) -> System:
        """A fresh system of a step; with ``evidence`` it reports the lines that ran.

        Raises:
            BuildError: the step has an obstacle.
        """
        image = self.image(step, coverage=evidence)
        if not evidence:
            return NativeSystem(image)
        return NativeEvidenceSystem(image, self._map(image))

    def _map(self, image: NativeImage) -> CoverageMap:
        if image.path not in self._maps:
            self._maps[image.path] = CoverageMap(image.path)
        return self._maps[image.path]

    def _code_lines(self, step: int) -> frozenset[str] | None:
        """The lines of a step that hold code; None if it cannot be built."""
        try:
            functions = self._map(self.image(step, coverage=True)).functions()
        except BuildError:
            return None
        return frozenset(line for lines in functions.values() for line in lines)

    def new_warnings(self, step: int) -> dict[str, tuple[str, ...]]:
        """Compiler warnings of a step that the step before did not have, by file.

        Raises:
            BuildError: one of the two has an obstacle.
        """
        old, new = self.image(step - 1).warnings, self.image(step).warnings
        found = {
            name: tuple(text for text in texts if text not in old.get(name, ()))
            for name, texts in new.items()
        }
        return {name: texts for name, texts in found.items() if texts}

    def changes(self, before: int, after: int) -> Changes:
        """How two steps differ: every hunk of the patches between them is accounted for."""
        compiled = frozenset(HOSTED) | frozenset(NEIGHBOURS)
        hunks: list[Hunk] = []
        lines_before: dict[str, set[str]] = {}
        lines_after: dict[str, set[str]] = {}
        for number in range(before, after):
            for hunk in self._source.patches[number].hunks():
                fate = fate_of(hunk.file, compiled, allow_build_files=self._allow)
                if fate in ("not compiled", "not hosted", "not applied"):
                    kind = "not compiled" if fate == "not compiled" else "not hosted"
                    hunks.append(
                        Hunk(hunk.where, kind, _REASONS[fate])  # type: ignore[arg-type]
                    )
        for name in HOSTED:
            one, two = self._text(before, name), self._text(after, name)
            if one != two:
                _note_changes(name, one, two, lines_before, lines_after)
        if self._same_code(before, after):
            return Changes(identical=True, hunks=tuple(hunks))
        # declarations, comments and braces hold no code: they owe nothing
        code = self._code_lines(before), self._code_lines(after)
        functions: list[Change] = []
        for name in sorted({*lines_before, *lines_after}):
            old, new = (
                frozenset(lines.get(name, ())) & (known if known is not None else lines[name])
                if name in lines
                else frozenset[str]()
                for lines, known in zip((lines_before, lines_after), code, strict=True)
            )
            role: Role = (
                "changed"
                if name in lines_before and name in lines_after
                else ("added" if name in lines_after else "removed")
            )
            functions.append(Change(name, role, old, new))
        changed = {*lines_before, *lines_after}
        callers = self._callers(before, changed) | self._callers(after, changed)
        functions += [Change(name, "caller") for name in sorted(callers - changed)]
        return Changes(identical=False, functions=tuple(functions), hunks=tuple(hunks))

    def _callers(self, step: int, names: set[str]) -> set[str]:
        """The hosted functions that call any of the names, by their text."""
        if not names:
            return set()
        pattern = re.compile(r"\b(" + "|".join(map(re.escape, sorted(names))) + r")\(")
        found: set[str] = set()
        for name in HOSTED:
            text = self._text(step, name)
            owners = _function_of(text)
            for number, line in enumerate(text.splitlines(), start=1):
                if owners[number] and line[:1] in "\t " and pattern.search(line):
                    found.add(owners[number])
        return found

    def _text(self, step: int, name: str) -> str:
        tree = self._steps[step].tree
        if tree is None:
            return ""
        try:
            return (tree.root / name).read_text(errors="replace")
        except OSError:
            return ""

    def _same_code(self, before: int, after: int) -> bool:
        """Whether both steps are the same instructions and data.

        The hosted files are compiled once more without debug lines and with every line number 0:
        code that only moved, or whose comments changed, stays the same.
        """
        one, two = self._steps[before].tree, self._steps[after].tree
        if one is None or two is None:
            return False
        old, new = self._steps[before].changed, self._steps[after].changed
        differing = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        for name in differing - set(HOSTED):
            if fate_of(name, compiled_files(one)) in ("neighbour", "header"):
                return False
        try:
            return _without_lines(one, self._tree) == _without_lines(two, self._tree)
        except BuildError:
            return False


def _without_lines(tree: KernelTree, base: KernelTree) -> list[bytes]:
    cache = cache_folder()
    compiler = Compiler(tree, prepare(base, cache), cache)
    flags = ("-Wno-builtin-macro-redefined", "-D__LINE__=0", "-g0")
    return [
        compiler.compile(Unit(f"bare_{number}", name, flags)).path.read_bytes()
        for number, name in enumerate(HOSTED)
    ]


def _function_of(text: str) -> list[str]:
    """For every line (from 1; index 0 unused) the function whose definition holds it, or ''."""
    lines = text.splitlines()
    owner = [""] * (len(lines) + 2)
    start, name = 0, ""
    for number, line in enumerate(lines, start=1):
        if line and not line[0].isspace() and line[0] not in "{}#/*":
            match = _DEFINITION.match(line)
            if match is not None:
                start, name = number, match[1]
            elif not line.endswith((")", ",", ":")):
                start, name = 0, ""
        if line == "}" and name:
            for inside in range(start, number + 1):
                owner[inside] = name
            start, name = 0, ""
    return owner


def _note_changes(
    name: str,
    one: str,
    two: str,
    before: dict[str, set[str]],
    after: dict[str, set[str]],
) -> None:
    """Which functions changed, and their changed lines that may hold code."""
    left, right = one.splitlines(), two.splitlines()
    owners = _function_of(one), _function_of(two)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        for number in range(a + 1, b + 1):
            function = owners[0][number]
            if function:
                lines = before.setdefault(function, set())
                if left[number - 1].strip():
                    lines.add(f"{name}:{number}")
        for number in range(c + 1, d + 1):
            function = owners[1][number]
            if function:
                lines = after.setdefault(function, set())
                if right[number - 1].strip():
                    lines.add(f"{name}:{number}")
    for function in set(before) | set(after):
        if function in owners[0]:
            before.setdefault(function, set())
        if function in owners[1]:
            after.setdefault(function, set())


def compiled_files(tree: KernelTree) -> frozenset[str]:
    """The sources of the tree that go into its image."""
    return frozenset(unit.source for unit in units(tree) if not unit.source.startswith("/"))
