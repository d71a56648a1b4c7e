"""A tree that cannot be hosted: which symbol, member or file is missing, and where it belongs."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from equivalence.backends.native.build import build
from equivalence.backends.native.cache import cache_folder
from equivalence.backends.native.compiler import Compiler, Unit
from equivalence.backends.native.configure import SHIM, prepare
from equivalence.backends.native.errors import BuildError
from equivalence.backends.native.hosting import check_boot
from equivalence.backends.native.tree import KernelTree, open_tree
from tests.backends.native import recipes
from tests.backends.native.recipes import Edit

pytestmark = [pytest.mark.needs_kernel_source("6.12"), pytest.mark.needs_toolchain]

Maker = Callable[[Mapping[str, str | None]], KernelTree]
HEADER = "include/linux/hugetlb.h"


def compiler(tree: KernelTree, configured: KernelTree) -> Compiler:
    """For the tree, with the configuration of another."""
    return Compiler(tree, prepare(configured, cache_folder()), cache_folder())


def shim(name: str) -> Unit:
    return Unit(f"shim_{name}", str(SHIM / f"{name}.c"))


def said(tree: KernelTree) -> str:
    """Why a tree cannot be built or booted."""
    with pytest.raises(BuildError) as caught:
        check_boot(build(tree))
    return str(caught.value)


def test_a_member_that_the_shim_uses_has_another_name(tree: KernelTree, edited: Maker) -> None:
    text = (tree.root / HEADER).read_text()
    renamed = edited({HEADER: re.sub(r"\bresv_huge_pages;", "resv_pages;", text)})
    with pytest.raises(BuildError) as caught:
        compiler(renamed, tree).compile(shim("observe"))
    message = str(caught.value)
    assert "the shim file observe.c does not fit this tree" in message
    assert "no member named 'resv_huge_pages'" in message
    assert "add a version test there" in message


def test_a_header_that_the_shim_includes_is_gone(tree: KernelTree, edited: Maker) -> None:
    gone = edited({"include/linux/padata.h": None})
    with pytest.raises(BuildError, match=r"work.c does not fit .*padata.h: No such file"):
        compiler(gone, tree).compile(shim("work"))


def test_a_neighbour_is_gone(edited: Maker) -> None:
    """What the code of the tree needs of it is named as soon as it is called, or is data."""
    message = said(edited({"fs/filesystems.c": None}))
    assert "while booting, get_filesystem() is called in alloc_fs_context " in message
    assert "this tree has no fs/filesystems.c" in message
    assert "neighbours.py" in message
    message = said(edited({"mm/init-mm.c": None}))
    assert "the tree refers to 'init_mm'" in message
    assert re.search(r"this tree has no [^)]*mm/init-mm.c", message)


def test_a_new_function_outside(sources: dict[str, str], edited: Maker) -> None:
    """Called while booting it cannot be hosted; called later, it ends the operation."""
    edit = Edit("hugetlb_init", "if (!hugepages_supported()) {", "soft_offline_page(0, 0);")
    edit = dataclasses.replace(edit, text=f"{edit.text}\n\t{edit.anchor}")
    message = said(edited(recipes.apply(sources, [edit])))
    assert "while booting, soft_offline_page() is called in hugetlb_init (mm/hugetlb.c:" in message
    assert "(it is in mm/memory-failure.c)" in message
    assert "env.c" in message


def test_new_data_outside(sources: dict[str, str], edited: Maker) -> None:
    edit = Edit(
        "enqueue_hugetlb_folio",
        "h->free_huge_pages++;",
        "extern int sysctl_panic_on_stackoverflow;\n\th->free_huge_pages++;\n"
        "\th->free_huge_pages += sysctl_panic_on_stackoverflow;",
    )
    message = said(edited(recipes.apply(sources, [edit])))
    assert "the tree refers to 'sysctl_panic_on_stackoverflow'" in message
    assert "blank.c" in message


def test_code_that_stops_while_booting(sources: dict[str, str], edited: Maker) -> None:
    edit = Edit("hugetlb_init", "if (!hugepages_supported()) {", "BUG_ON(!num_fault_mutexes);")
    edit = dataclasses.replace(edit, text=f"{edit.text}\n\t{edit.anchor}")
    message = said(edited(recipes.apply(sources, [edit])))
    assert "its code stops while booting: " in message
    assert "hugetlb_init (mm/hugetlb.c:" in message


def test_a_header_that_changes_a_layout(tree: KernelTree, edited: Maker) -> None:
    """What includes it is compiled again, the shim and the neighbours too; the rest is not."""
    text = (tree.root / HEADER).read_text()
    anchor = "struct hstate {\n"
    assert text.count(anchor) == 1
    changed = edited({HEADER: text.replace(anchor, f"{anchor}\tlong in_front;\n")})
    units = [
        shim("observe"),
        Unit("hosted_cgroup", "mm/hugetlb_cgroup.c"),
        Unit("neighbour_memfd", "mm/memfd.c"),
        Unit("neighbour_rbtree", "lib/rbtree.c"),
    ]
    before, after = compiler(tree, tree), compiler(changed, tree)
    same = [before.compile(unit).key == after.compile(unit).key for unit in units]
    assert same == [False, False, False, True]
    sizes = [one.compile(units[0]).path.read_bytes() for one in (before, after)]
    assert sizes[0] != sizes[1]


def test_a_new_header_that_is_found_first(tree: KernelTree, edited: Maker) -> None:
    """It is none of the files that the known object was made from, but it would be read."""
    unit = Unit("neighbour_rbtree", "lib/rbtree.c")
    known = compiler(tree, tree).compile(unit)
    assert compiler(edited({}), tree).compile(unit).key == known.key
    name = "arch/x86/include/linux/rbtree_augmented.h"
    shadow = edited({name: '#include "../../../../include/linux/rbtree_augmented.h"\nint more;\n'})
    assert compiler(shadow, tree).compile(unit).key != known.key
    unlisted = edited({"lib/rbtree.c": 'asm(".incbin \\"COPYING\\"");\n', "COPYING": "a"})
    first = compiler(unlisted, tree).compile(unit)
    (unlisted.root / "COPYING").write_text("b")
    assert compiler(unlisted, tree).compile(unit).key != first.key


def test_trees_are_told_apart_however_they_are_named(tree: KernelTree, edited: Maker) -> None:
    """By a path with dots, or by a link: what one tree holds is never taken for another's."""
    name = "lib/dec_and_lock.c"
    unit = Unit("neighbour_dec_and_lock", name)
    changed = edited({name: (tree.root / name).read_text() + "int nh_more;\n"})
    dotted = open_tree(changed.root / ".." / changed.root.name, changed.reads)
    (changed.root.parent / "link").symlink_to(changed.root)
    linked = open_tree(changed.root.parent / "link", changed.reads)
    assert dotted.root == linked.root == changed.root
    keys = [compiler(one, tree).compile(unit).key for one in (dotted, linked, changed, tree)]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def stamps(tree: KernelTree) -> dict[Path, tuple[int, int]]:
    """When each file and folder was last written, in the folders that building looks into."""
    folders = ("mm", "fs/hugetlbfs", "include/linux", "include/generated", "scripts", "arch/x86")
    found = [tree.root, *tree.root.iterdir()]
    for name in folders:
        found += sorted((tree.root / name).rglob("*"))
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in found if path.exists()
    }


@pytest.mark.parametrize(
    "everything", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["object", "all"]
)
def test_the_tree_is_never_written_to(
    everything: bool, tree: KernelTree, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    """Not by configuring, not by compiling; everything that is made is in the cache."""
    before = stamps(tree)
    configured = prepare(tree, cache_folder())
    monkeypatch.setenv("XDG_CACHE_HOME", str(scratch))
    if everything:
        configured = prepare(tree, cache_folder())
        assert configured.is_relative_to(scratch)
    made = Compiler(tree, configured, cache_folder()).compile(
        Unit("hosted_cgroup", "mm/hugetlb_cgroup.c")
    )
    assert made.path.is_relative_to(scratch)
    assert stamps(tree) == before
    assert not [path for path in scratch.rglob(".*") if path.is_dir()]
