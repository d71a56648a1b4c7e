"""Planted bugs in the C of a step: one file compiled anew, linked with all the others' objects."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from equivalence.backends.native.build import NativeImage, link_named, units
from equivalence.backends.native.cache import cache_folder
from equivalence.backends.native.compiler import Compiler
from equivalence.backends.native.configure import prepare
from equivalence.backends.native.errors import BuildError
from equivalence.backends.native.mutants import CMutant, c_mutants_of, functions_of
from equivalence.backends.native.series import make_view
from equivalence.backends.native.system import NativeSystem
from equivalence.backends.native.tier import HANG_SECONDS, NativeTier
from equivalence.backends.native.tree import HOSTED, KernelTree, open_tree
from equivalence.mutants import Mutant
from equivalence.mutate import RefusedError
from equivalence.subject import Relation, System

#: Seed of the choice where not every mutant is tried.
_SEED: Final = 0


class NativeWorkshop:
    """Systems of one step of a series on a tree, and of its mutants."""

    def __init__(self, tier: NativeTier, step: int) -> None:
        """
        Raises:
            BuildError: the step has an obstacle.
        """
        self._tier, self._step = tier, step
        self._tree, self._base = tier.tree(step), tier.tree(0)
        image = tier.image(step)
        self._image = image
        cache = cache_folder()
        self._configuration = prepare(self._base, cache)
        compiler = Compiler(self._tree, self._configuration, cache)
        built = compiler.compile_all(units(self._tree), 1)
        self._units = {one.unit.source: one.unit for one in built}
        self._objects = {one.unit.name: one.path for one in built}
        self._numbers = itertools.count()
        self._scratch = Path(tempfile.mkdtemp(prefix="equivcheck-mutants-"))
        self._remove = weakref.finalize(self, _remove, self._scratch, os.getpid())

    def original(self) -> System:
        """The step as it is."""
        return self._tier.system(self._step, evidence=False)

    def watched(self) -> System:
        """The step as it is, reporting the lines that run."""
        return self._tier.system(self._step)

    def mutated(self, mutant: Mutant) -> System:
        """The step with one file changed.

        Raises:
            RefusedError: the compiler or the linker refuses it.
        """
        assert isinstance(mutant, CMutant)
        folder = self._scratch / f"{os.getpid()}-{next(self._numbers)}"
        folder.mkdir()
        try:
            return _Mutated(self._built(mutant, folder), folder)
        except BuildError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RefusedError(str(error)) from None

    def _built(self, mutant: CMutant, folder: Path) -> NativeImage:
        text = (self._tree.root / mutant.file).read_bytes()
        changed = folder / "changed.c"
        changed.write_bytes(mutant.apply(text))
        view = folder / "tree"
        make_view(self._tree.root, view, {mutant.file: changed})
        tree = open_tree(view, [*self._tree.folders, folder])
        unit = self._units[mutant.file]
        compiler = Compiler(tree, self._configuration, cache_folder())
        made = compiler.compile_once(unit, folder)
        image = folder / "image"
        stubs = link_named({**self._objects, unit.name: made}, folder, image, view)
        return replace(self._image, path=image, tree=view, unmodelled=stubs)


class _Mutated(NativeSystem):
    """A system whose image goes with it."""

    def __init__(self, image: NativeImage, folder: Path) -> None:
        super().__init__(image, seconds=HANG_SECONDS)
        self._folder = folder

    def close(self) -> None:
        """Stop everything, and remove the image."""
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)


class NativePlanter:
    """Plants bugs in the hosted files of a series on a tree.

    ``limit`` bounds how many mutants of a pair are tried: the others are counted. Which ones is
    drawn from a fixed seed. Calls of ``assertions`` are left alone.
    """

    def __init__(
        self,
        tier: NativeTier,
        limit: int | None = None,
        assertions: AbstractSet[str] = frozenset(),
    ) -> None:
        self._tier, self._limit, self._assertions = tier, limit, assertions
        self._workshops: dict[int, NativeWorkshop] = {}

    def touched(self, before: int, after: int) -> Sequence[CMutant]:
        """Mutants of the functions that a pair of steps touches."""
        changes = self._tier.changes(before, after)
        names = [c.function for c in changes.functions if c.role in ("changed", "added")]
        return self.named(after, names)

    def has(self, step: int, function: str) -> bool:
        """Whether a hosted file of a step defines a function."""
        return has_function(self._tier.tree(step), function)

    def named(self, step: int, functions: Sequence[str]) -> Sequence[CMutant]:
        """Mutants of functions of a step."""
        return mutants_in(self._tier.tree(step), functions, self._assertions)

    def mark(self, step: int) -> str:
        """The keys of the hosted files' objects."""
        return str(sorted(self._tier.image(step).keys.items()))

    def chosen(self, mutants: Sequence[Mutant]) -> Sequence[Mutant]:
        """Those that are tried."""
        if self._limit is None or len(mutants) <= self._limit:
            return mutants
        places = Random(_SEED).sample(range(len(mutants)), self._limit)
        return [mutants[place] for place in sorted(places)]

    def workshop(self, step: int, mutants: Sequence[Mutant], relation: Relation) -> NativeWorkshop:
        """What makes systems of a step."""
        if step not in self._workshops:
            self._workshops[step] = NativeWorkshop(self._tier, step)
        return self._workshops[step]


def mutants_in(
    tree: KernelTree, names: Sequence[str], assertions: AbstractSet[str] = frozenset()
) -> list[CMutant]:
    """All mutants of functions that the hosted files of a tree define."""
    texts = {file: (tree.root / file).read_bytes() for file in HOSTED}
    return [
        mutant
        for name in dict.fromkeys(names)
        for file, text in texts.items()
        for mutant in c_mutants_of(file, text, name, assertions)
    ]


def has_function(tree: KernelTree, name: str) -> bool:
    """Whether a hosted file of a tree defines a function."""
    return any(name in functions_of((tree.root / file).read_bytes()) for file in HOSTED)


def _remove(scratch: Path, owner: int) -> None:
    """A process that was forked later must leave this one's folder alone."""
    if os.getpid() == owner:
        shutil.rmtree(scratch, ignore_errors=True)
