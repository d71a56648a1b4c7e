"""The two complete files and the bodies between them."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import legacy.hugetlb
import models.hugetlb
import models.kernel
import refactored.hugetlb
from equivalence.series import c_name, same_code
from models.kernel.port import Origin
from refactored.steps import after_patch1, after_patch2

TOUCHED = {"vma_has_reserves", "dequeue_hugetlb_folio_vma", "alloc_hugetlb_folio"}


def ported_once() -> dict[str, FunctionType]:
    """Every function of mm/hugetlb.c that the models define."""
    found = {}
    names = [
        f"{package.__name__}.{info.name}"
        for package in (models.hugetlb, models.kernel)
        for info in pkgutil.iter_modules(package.__path__)
    ]
    for module in map(importlib.import_module, names):
        for name, value in vars(module).items():
            if not isinstance(value, FunctionType) or value.__module__ != module.__name__:
                continue
            origin = getattr(value, "__ported__", None)
            if origin and origin.file == "mm/hugetlb.c" and not hasattr(value, "__extern__"):
                found[name] = value
    return found


@pytest.mark.parametrize("module", [legacy.hugetlb, refactored.hugetlb])
def test_the_namespace_is_complete(module: ModuleType) -> None:
    written_out = {"should_use_hstate_resv"} | TOUCHED
    once = ported_once()
    assert set(module.__all__) - written_out == once.keys()
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        function = getattr(module, name)
        assert function.__ported__ == Origin("mm/hugetlb.c", c_name(function))
        assert c_name(function) in (name, f"_{name}")
        if name in once:
            assert function is once[name]
        else:
            assert function.__module__ == module.__name__


def test_the_series_renames_one_function_in_its_place() -> None:
    assert set(legacy.hugetlb.__all__) >= TOUCHED
    renamed = [
        "should_use_hstate_resv" if name == "vma_has_reserves" else name
        for name in legacy.hugetlb.__all__
    ]
    assert renamed == refactored.hugetlb.__all__


def test_the_difference_of_the_files_reads_like_the_series() -> None:
    before, after = (
        Path(str(module.__file__)).read_text("utf-8").splitlines()
        for module in (legacy.hugetlb, refactored.hugetlb)
    )
    changed = [
        line
        for line in difflib.unified_diff(before, after, lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]
    code = [line for line in changed if line[1:].lstrip().startswith(("if ", "use_hstate_resv ="))]
    assert code == [
        "+    if avoid_reserve:",
        "-    if not vma_has_reserves(vma, chg) and not available_huge_pages(h):",
        "-    if avoid_reserve and not available_huge_pages(h):",
        "+    if not use_hstate_resv and not available_huge_pages(h):",
        "-    if folio is not None and not avoid_reserve and vma_has_reserves(vma, chg):",
        "+    if folio is not None and use_hstate_resv:",
        "-            if avoid_reserve:",
        "+        use_hstate_resv = should_use_hstate_resv(vma, gbl_chg, avoid_reserve)",
        "-            if not avoid_reserve and vma_has_reserves(vma, gbl_chg):",
        "+            if use_hstate_resv:",
    ]
    assert len(changed) < 40


def test_every_step_has_a_body_of_its_own() -> None:
    bodies = [
        legacy.hugetlb.alloc_hugetlb_folio,
        after_patch1.alloc_hugetlb_folio,
        after_patch2.alloc_hugetlb_folio,
        refactored.hugetlb.alloc_hugetlb_folio,
    ]
    for i, one in enumerate(bodies):
        for other in bodies[i + 1 :]:
            assert isinstance(one, FunctionType)
            assert isinstance(other, FunctionType)
            assert not same_code(one, other)
