"""The tier ``native`` as the engine sees it: a series on a tree, its steps as systems.

Steps are built when they are first asked for. Points of evidence are lines ``file:number`` of the
hosted files at that step.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

from equivalence.backends.native import sandbox
from equivalence.backends.native.build import NativeImage, build, compiled_files
from equivalence.backends.native.cache import cache_folder
from equivalence.backends.native.calls import record
from equivalence.backends.native.compiler import Compiler, Unit, compiler_version
from equivalence.backends.native.configure import prepare
from equivalence.backends.native.coverage import CoverageMap, Covered, lines_with_code
from equivalence.backends.native.diffs import SourceHunk
from equivalence.backends.native.errors import BuildError, NativeError
from equivalence.backends.native.functions import function_of, hunk_of, text_of
from equivalence.backends.native.hosting import check_boot
from equivalence.backends.native.mails import PatchSeries
from equivalence.backends.native.series import StepTree, fate_of, make_steps
from equivalence.backends.native.system import NativeSystem, Runner
from equivalence.backends.native.tree import HOSTED, KernelTree
from equivalence.backends.native.worker import Worker
from equivalence.calls import FunctionText, Recording
from equivalence.subject import Change, Changes, Hunk, PatchInfo, Role, System
from models.schema.trace import Scalar, Trace

_REASONS: Final = {
    "not compiled": "no file of the image that runs here",
    "not hosted": "no code of the image that runs here",
    "not applied": "changes to what runs while building are not applied unless allowed",
}
_NO_CODE: Final = (
    "no instruction has these lines: declarations, macros, comments, or code that the "
    "configuration leaves out"
)
#: CPU seconds after which an operation is a hang: ten times what the longest takes.
HANG_SECONDS: Final = 0.1


class NativeEvidenceSystem(NativeSystem):
    """A system of an image built for coverage."""

    def __init__(self, image: NativeImage, coverage: CoverageMap) -> None:
        self._native = Runner(image)
        super().__init__(image, runner=self._native, seconds=HANG_SECONDS)
        self._coverage = coverage
        self._covered = Covered(coverage)
        self._seen: dict[Worker, int] = {}
        self._taken = 0

    def coverable(self) -> Mapping[str, frozenset[str]]:
        """Function -> its lines, and the outcomes of its conditions."""
        return self._coverage.functions

    def covered(self) -> Mapping[str, frozenset[str]]:
        """Function -> its lines that ran, and the outcomes that were seen."""
        count = self.progress()
        if count != self._taken:
            for worker in self._native.workers:
                steps = worker.steps(self._seen.get(worker, 0))
                self._covered.add(steps)
                self._seen[worker] = self._seen.get(worker, 0) + len(steps)
            self._taken = count
        return self._covered.points()

    def rows(self) -> Mapping[str, Mapping[tuple[Scalar, ...], int]]:
        """No predicates are declared for C."""
        return {}

    def progress(self) -> int:
        """How many steps from block to block were made: grows with every new one."""
        return sum(worker.coverage_count() for worker in self._native.workers)

    def forget(self) -> None:
        """Forget what ran."""
        for worker in self._native.workers:
            worker.forget_coverage()
        self._covered.forget()
        self._seen.clear()
        self._taken = 0


class NativeTier:
    """A series on a tree. Use as a context manager: it keeps a scratch folder.

    ``limits`` gains what building shows: warnings that a patch adds.
    """

    name = "native"

    def __init__(
        self,
        tree: KernelTree,
        series: PatchSeries,
        *,
        jobs: int | None = None,
        allow_build_files: bool = False,
        base: str = "",
        reasons: Mapping[str, str] | None = None,
        sanitize: frozenset[str] = frozenset(),
    ) -> None:
        """``base`` says how the tree was checked against what the series names as its base;
        ``reasons`` why points of changed code cannot run; ``sanitize`` names checks that the hosted
        files make.

        Raises:
            SeriesError: git is missing or does not work.
        """
        self.series = series.name
        self.patches: Sequence[PatchInfo] = tuple(
            PatchInfo(f"{number}/{len(series.patches)}", patch.title, patch.declares_change)
            for number, patch in enumerate(series.patches, start=1)
        )
        self._tree, self._source, self._jobs = tree, series, jobs
        self._allow = allow_build_files
        self._reasons = dict(reasons or {})
        self._sanitize = sanitize
        scratch = Path(tempfile.mkdtemp(prefix="equivcheck-series-"))
        self._remove = weakref.finalize(self, _remove, scratch, os.getpid())
        self._steps: list[StepTree] = make_steps(
            tree, series, scratch, allow_build_files=allow_build_files
        )
        limits = {
            "architecture": f"x86-64 on {platform.machine()}, one CPU, no weak memory",
            "configuration": "allnoconfig with the shim's kconfig.fragment; without the hugetlb "
            "vmemmap optimisation, GENERIC_BUG, PER_VMA_LOCK and inlined unlocks",
            "compiler": compiler_version(),
            "kernel": tree.release,
            "isolation": sandbox.describe(),
            "coverage": "lines, and outcomes of conditions, by the basic blocks the compiler marks",
        }
        if sanitize:
            limits["sanitizers"] = ", ".join(sorted(sanitize))
        if base:
            limits["base"] = base
        if series.notes:
            limits["series"] = "; ".join(series.notes)
        self._limits: dict[str, str] = limits
        self.limits: Mapping[str, str] = limits
        changed = {name for patch in series.patches for name in patch.files}
        compiled = frozenset(compiled_files(tree))
        #: Files whose lines are evidence: the hosted ones, and what else the series changes.
        self._files = (
            *HOSTED,
            *sorted(
                name
                for name in changed - set(HOSTED)
                if fate_of(name, compiled) in ("neighbour", "header")
            ),
        )
        self._compiled = compiled
        self._images: dict[tuple[int, bool], NativeImage | str] = {}
        self._maps: dict[Path, CoverageMap] = {}
        self._code: dict[int, frozenset[str]] = {}
        self._prepared = False
        self._changes: dict[tuple[int, int], Changes] = {}

    def close(self) -> None:
        """Remove the scratch folder."""
        self._remove()

    def __enter__(self) -> NativeTier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self) -> None:
        """Build all steps, with evidence: once, before processes are forked that use them.

        What stands in a step's way is told by :meth:`obstacle`.

        Raises:
            ToolMissingError: a program is missing.
            NativeError: the cache cannot be used.
        """
        if self._prepared:
            return
        self._prepared = True
        self._try(0)
        if isinstance(self._images[0, True], str):
            return
        with ThreadPoolExecutor(self._jobs or min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(self._try, range(1, len(self._steps))))
        for step in range(1, len(self._steps)):
            if not self._broken(step - 1) and not self._broken(step):
                self._note_warnings(step)

    def _broken(self, step: int) -> bool:
        return isinstance(self._images.get((step, True)), str)

    def _try(self, step: int) -> None:
        try:
            image = self.image(step, coverage=True)
            try:
                check_boot(image)
            except BuildError as error:
                self._images[step, True] = str(error)
                raise
            self._map(image)
            tree = self._steps[step].tree
            if tree is not None and len(self._steps) > 1:
                _without_lines(tree, self._configured(step))
        except BuildError:
            return

    def _note_warnings(self, step: int) -> None:
        for name, texts in self._new_warnings(step, coverage=True).items():
            said = f"patch {step}: {name}: {'; '.join(texts)}"
            known = self._limits.get("new compiler warnings")
            self._limits["new compiler warnings"] = f"{known}; {said}" if known else said

    def tree(self, step: int) -> KernelTree:
        """The sources of a step.

        Raises:
            BuildError: the step has none.
        """
        found = self._steps[step]
        if found.tree is None:
            raise BuildError(found.obstacle or "has no tree")
        return found.tree

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
                        base=self._configured(step),
                        coverage=self._files if coverage else (),
                        sanitize=self._sanitize,
                    )
                except BuildError as error:
                    self._images[key] = str(error)
        found = self._images[key]
        if isinstance(found, str):
            raise BuildError(found)
        return found

    def _configured(self, step: int) -> KernelTree:
        """The tree whose configuration a step has: its own only if its patches change that."""
        tree = self._steps[step].tree
        return tree if tree is not None and tree.salt else self._tree

    def obstacle(self, step: int) -> str | None:
        """Why a step cannot be run, or None."""
        self.prepare()
        try:
            self.image(step, coverage=True)
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
            return NativeSystem(image, seconds=HANG_SECONDS)
        return NativeEvidenceSystem(image, self._map(image))

    def recording(self, step: int, trace: Trace, index: int) -> Recording | None:
        """The calls of one operation, on an image that is built for this; None without one."""
        tree = self._steps[step].tree
        if tree is None:
            return None

        @cache
        def text(function: str) -> FunctionText | None:
            return self.function_text(step, function)

        try:
            image = build(tree, jobs=self._jobs, base=self._tree, coverage=self._files, record=True)
            return record(image, trace, index, self._files, text, HANG_SECONDS)
        except NativeError:
            return None

    def function_text(self, step: int, function: str) -> FunctionText | None:
        """The C of a function of the files whose lines are evidence."""
        found = (text_of(function, name, self._text(step, name)) for name in self._files)
        return next((text for text in found if text is not None), None)

    def hunk(self, before: int, after: int, function: str) -> str:
        """What the patches between two steps do to a function."""
        texts = ((name, self._text(before, name), self._text(after, name)) for name in self._files)
        found = (hunk_of(function, name, one, two) for name, one, two in texts if one != two)
        return next((text for text in found if text), "")

    def _map(self, image: NativeImage) -> CoverageMap:
        if image.path not in self._maps:
            self._maps[image.path] = CoverageMap(image.path, self._files)
        return self._maps[image.path]

    def _code_lines(self, step: int) -> frozenset[str] | None:
        """The lines of a step that hold code; None if it cannot be built.

        Those of the image, and of functions that only the objects have: they cannot run here.
        """
        if step in self._code:
            return self._code[step]
        try:
            image = self.image(step, coverage=True)
        except BuildError:
            return None
        functions = self._map(image).functions
        found = {line for lines in functions.values() for line in lines}
        changed = self._changed_files()
        objects: set[tuple[str, int]] = set()
        for source, path in image.objects.items():
            if source in changed:
                objects |= lines_with_code(path, source)
        owners = {name: function_of(self._text(step, name)) for name in changed}
        for name, line in objects:
            owner = owners.get(name, [])[line] if line < len(owners.get(name, [])) else ""
            if owner and owner not in functions:
                found.add(f"{name}:{line}")
        self._code[step] = frozenset(found)
        return self._code[step]

    def _changed_files(self) -> frozenset[str]:
        return frozenset(name for patch in self._source.patches for name in patch.files)

    def new_warnings(self, step: int) -> dict[str, tuple[str, ...]]:
        """Compiler warnings of a step that the step before did not have, by file.

        Raises:
            BuildError: one of the two has an obstacle.
        """
        return self._new_warnings(step)

    def _new_warnings(self, step: int, *, coverage: bool = False) -> dict[str, tuple[str, ...]]:
        old = self.image(step - 1, coverage=coverage).warnings
        new = self.image(step, coverage=coverage).warnings
        found = {
            name: tuple((Counter(texts) - Counter(old.get(name, ()))).elements())
            for name, texts in new.items()
        }
        return {name: texts for name, texts in found.items() if texts}

    def changes(self, before: int, after: int) -> Changes:
        """How two steps differ: every hunk of the patches between them is accounted for."""
        if (before, after) not in self._changes:
            self._changes[before, after] = self._compared(before, after)
        return self._changes[before, after]

    def _compared(self, before: int, after: int) -> Changes:
        hunks = [
            hunk
            for number in range(before, after)
            for one in self._source.patches[number].hunks()
            if (hunk := self._fate(number, one)) is not None
        ]
        lines_before: dict[str, set[str]] = {}
        lines_after: dict[str, set[str]] = {}
        for name in self._files:
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
            old |= self._outcomes(before, name, old)
            new |= self._outcomes(after, name, new)
            reasons = {p: self._reasons[p] for p in old | new if p in self._reasons}
            functions.append(Change(name, role, old, new, reasons))
        changed = {*lines_before, *lines_after}
        callers = self._callers(before, changed) | self._callers(after, changed)
        functions += [Change(name, "caller") for name in sorted(callers - changed)]
        return Changes(identical=False, functions=tuple(functions), hunks=tuple(hunks))

    def _outcomes(self, step: int, function: str, lines: frozenset[str]) -> frozenset[str]:
        """The outcomes of conditions on these lines, where the step can be built."""
        try:
            image = self.image(step, coverage=True)
        except BuildError:
            return frozenset()
        return self._map(image).outcomes(function, lines)

    def _fate(self, number: int, hunk: SourceHunk) -> Hunk | None:
        """What is to be said of a hunk that does not run; None of one that does."""
        fate = fate_of(hunk.file, self._compiled, allow_build_files=self._allow)
        if fate in _REASONS:
            return Hunk(hunk.where, "not hosted", _REASONS[fate])
        for step, lines in ((number, hunk.before), (number + 1, hunk.after)):
            code = self._code_lines(step)
            if code is None or not code.isdisjoint(f"{hunk.file}:{line}" for line in lines):
                return None
        return Hunk(hunk.where, "not compiled", _NO_CODE)

    def _callers(self, step: int, names: set[str]) -> set[str]:
        """The hosted functions that call any of the names, by their text."""
        if not names:
            return set()
        pattern = re.compile(r"\b(" + "|".join(map(re.escape, sorted(names))) + r")\(")
        found: set[str] = set()
        for name in HOSTED:
            text = self._text(step, name)
            owners = function_of(text)
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
            if fate_of(name, self._compiled) in ("neighbour", "header"):
                return False
        try:
            return _without_lines(one, self._configured(before)) == _without_lines(
                two, self._configured(after)
            )
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


def _note_changes(
    name: str,
    one: str,
    two: str,
    before: dict[str, set[str]],
    after: dict[str, set[str]],
) -> None:
    """Which functions changed, and their changed lines that may hold code."""
    left, right = one.splitlines(), two.splitlines()
    owners = function_of(one), function_of(two)
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


def _remove(scratch: Path, owner: int) -> None:
    """A process that was forked later must leave this one's folder alone."""
    if os.getpid() == owner:
        shutil.rmtree(scratch, ignore_errors=True)
