"""Series of patches: reading, refusing, applying, accounting; and the built-in one as recipes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from equivalence.backends.native.errors import BuildError, TreeError
from equivalence.backends.native.mails import PatchSeries
from equivalence.backends.native.series import MOST_LINES, fate_of, make_steps, read_series
from equivalence.backends.native.tier import NativeEvidenceSystem, NativeTier
from equivalence.backends.native.tree import HOSTED, KernelTree, open_tree
from equivalence.subject import Evidence, System, Tier
from tests.backends.native import recipes
from tests.backends.native.recipes import Edit

Maker = Callable[[dict[str, str]], KernelTree]
needs_kernel = pytest.mark.needs_kernel_source("6.12")
needs_tools = pytest.mark.needs_toolchain


def series_of(base: dict[str, str], *patches: tuple[str, tuple[Edit, ...]]) -> PatchSeries:
    """The series that makes the edits, one patch after the other."""
    return read_series("-", recipes.series(base, patches).encode())


def as_engine_sees(tier: NativeTier, system: NativeEvidenceSystem) -> tuple[Tier, Evidence, System]:
    """The strict type checker holds the tier to the engine's contracts."""
    return tier, system, system


SMALL = {"mm/a.c": "int a(void)\n{\n\treturn 1;\n}\n"}


def small_mail(name: str = "mm/a.c", *, extra: str = "") -> str:
    return (
        "From 0000 Mon Sep 17 00:00:00 2001\nFrom: A <a@example.org>\n"
        "Subject: [PATCH v2 1/1] mm: =?utf-8?q?say_two?=\n\nWhy.\n\n"
        "Behaviour-change: yes\n---\n"
        f"diff --git a/{name} b/{name}\n{extra}--- a/{name}\n+++ b/{name}\n"
        "@@ -1,4 +1,4 @@\n int a(void)\n {\n-\treturn 1;\n+\treturn 2;\n }\n-- \n2.39\n"
        "\nbase-commit: 0123456789abcdef0123456789abcdef01234567\n"
    )


def test_reading_a_mail() -> None:
    series = read_series("-", small_mail().encode())
    [patch] = series.patches
    assert patch.title == "mm: say two"
    assert patch.declares_change
    assert patch.files == ("mm/a.c",)
    [hunk] = patch.hunks()
    assert (hunk.file, hunk.before, hunk.after) == ("mm/a.c", (3,), (3,))
    assert series.base_commit == "0123456789abcdef0123456789abcdef01234567"


def small_tree(folder: Path) -> KernelTree:
    """Just enough to be taken for a kernel."""
    (folder / "Makefile").parent.mkdir(parents=True, exist_ok=True)
    (folder / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n")
    for name in (*HOSTED, "mm/a.c", "mm/b.c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SMALL["mm/a.c"])
    return open_tree(folder)


def test_steps_are_links_but_for_what_changed(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    steps = make_steps(tree, read_series("-", small_mail().encode()), tmp_path / "scratch")
    after = steps[1].tree
    assert after is not None
    assert "return 2" in (after.root / "mm/a.c").read_text()
    assert not (after.root / "mm/a.c").is_symlink()
    assert (after.root / "mm/b.c").is_symlink()
    assert (after.root / "fs").is_symlink()
    assert "return 1" in (tree.root / "mm/a.c").read_text()


def test_a_patch_that_does_not_apply_names_itself(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    text = small_mail().replace("-\treturn 1;", "-\treturn 7;")
    mails = text.replace("1/1", "1/2") + small_mail().replace("1/1", "2/2")
    steps = make_steps(tree, read_series("-", mails.encode()), tmp_path / "s")
    assert steps[1].tree is None
    assert "patch 1 'mm: say two' does not apply" in str(steps[1].obstacle)
    assert steps[2].obstacle == steps[1].obstacle


def test_build_files_are_left_out(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    text = small_mail("mm/Makefile")
    (tree.root / "mm/Makefile").write_text(SMALL["mm/a.c"])
    steps = make_steps(tree, read_series("-", text.encode()), tmp_path / "s")
    assert steps[1].tree is not None
    assert "return 1" in (steps[1].tree.root / "mm/Makefile").read_text()
    compiled = frozenset({"mm/memory.c"})
    fates = {
        name: fate_of(name, compiled)
        for name in ("mm/hugetlb.c", "mm/memory.c", "mm/slub.c", "mm/x.h", "mm/Kconfig", "MAINT")
    }
    assert list(fates.values()) == [
        "hosted", "neighbour", "not compiled", "header", "not applied", "not hosted"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "all:\n", "VERSION = x\nPATCHLEVEL = 1\n"])
def test_no_kernel_tree(tmp_path: Path, text: str) -> None:
    if text:
        (tmp_path / "Makefile").write_text(text)
    with pytest.raises(TreeError, match="expected"):
        open_tree(tmp_path)


@needs_kernel
@needs_tools
def test_what_does_not_compile_says_where(sources: dict[str, str], edited: Maker) -> None:
    edit = Edit("enqueue_hugetlb_folio", "h->free_huge_pages++;", "h->no_such_member++;")
    with NativeTier(edited(sources), series_of(sources, ("mm: break it", (edit,)))) as tier:
        assert "no member named 'no_such_member'" in str(tier.obstacle(1))
        with pytest.raises(BuildError, match="does not compile"):
            tier.image(1)


@needs_kernel
@needs_tools
def test_comments_do_not_change_the_code(sources: dict[str, str], edited: Maker) -> None:
    edit = Edit(
        "enqueue_hugetlb_folio", "h->free_huge_pages++;", "/* more */\n\th->free_huge_pages++;"
    )
    with NativeTier(edited(sources), series_of(sources, ("mm: say more", (edit,)))) as tier:
        assert tier.changes(0, 1).identical


@needs_kernel
@needs_tools
def test_every_hunk_is_accounted_for(
    tree: KernelTree, sources: dict[str, str], edited: Maker
) -> None:
    """What runs, and for the rest what becomes of it; and the warnings that the patch brings."""
    names = ("mm/slub.c", "Documentation/Makefile", "include/linux/hugetlb.h", "MAINTAINERS")
    before = sources | {name: (tree.root / name).read_text() for name in names}
    after = recipes.apply(
        before,
        [
            Edit("enqueue_hugetlb_folio", "h->free_huge_pages++;", "h->free_huge_pages += 1;"),
            Edit("free_huge_folio", "bool restore_reserve;", "bool restore_reserve, more;"),
            Edit("hugetlb_show_meminfo_node", "int nid)", "int nid /* which */)"),
        ],
    )
    for name in ("mm/slub.c", "Documentation/Makefile", "MAINTAINERS"):
        after[name] = after[name].replace("\n", " \n", 1)
    header = "include/linux/hugetlb.h"
    after[header] = after[header].replace("\n#endif", "\n#define NH_MORE 1\n\n#endif", 1)
    after["mm/new_file.c"] = "int nh_new;\n"
    text = recipes.format_patch(before, ("mm: much at once", after))
    with NativeTier(edited({}), read_series("-", text.encode())) as tier:
        assert tier.obstacle(1) is None
        hunks = {
            (hunk.where.split(":")[0], hunk.fate): hunk.reason for hunk in tier.changes(0, 1).hunks
        }
        warnings = tier.limits["new compiler warnings"]
    assert dict(list(hunks)) == {
        "mm/slub.c": "not hosted",
        "Documentation/Makefile": "not hosted",
        "MAINTAINERS": "not hosted",
        "mm/new_file.c": "not hosted",
        header: "not compiled",
        recipes.HUGETLB: "not compiled",
    }
    assert "not applied unless allowed" in hunks["Documentation/Makefile", "not hosted"]
    assert "no file of the image" in hunks["mm/slub.c", "not hosted"]
    assert warnings.startswith("patch 1: mm/hugetlb.c: unused variable 'more'")


def test_build_files_that_are_allowed(tmp_path: Path) -> None:
    """They are applied, and the step is configured by itself; else it has the base's."""
    tree = small_tree(tmp_path / "tree")
    (tree.root / "mm/Kconfig").write_text(SMALL["mm/a.c"])
    series = read_series("-", small_mail("mm/Kconfig").encode())
    for allowed in (False, True):
        step = make_steps(tree, series, tmp_path / str(allowed), allow_build_files=allowed)[1]
        assert step.tree is not None
        text = (step.tree.root / "mm/Kconfig").read_text()
        assert ("return 2" in text, step.tree.salt != "") == (allowed, allowed)
        assert (step.tree.configuration_key("") != tree.configuration_key("")) == allowed


def test_a_patch_that_makes_a_file_too_long(tmp_path: Path) -> None:
    """Comparing it line by line would take hours."""
    tree = small_tree(tmp_path / "tree")
    text = small_mail().replace("+1,4 @@", f"+1,{MOST_LINES + 4} @@")
    text = text.replace("+\treturn 2;\n", "+\treturn 2;\n" + MOST_LINES * "+}\n")
    step = make_steps(tree, read_series("-", text.encode()), tmp_path / "scratch")[1]
    assert step.tree is None
    assert "patch 1 'mm: say two': mm/a.c has 30004 lines then" in str(step.obstacle)


def test_a_patch_that_takes_a_hosted_file_away(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    text = (
        "Subject: [PATCH] mm: rename it\n\nWhy.\n---\ndiff --git a/mm/hugetlb.c b/mm/other.c\n"
        "similarity index 100%\nrename from mm/hugetlb.c\nrename to mm/other.c\n"
    )
    step = make_steps(tree, read_series("-", text.encode()), tmp_path / "scratch")[1]
    assert step.tree is None
    assert "leaves no kernel that can be hosted: the tree: mm/hugetlb.c is missing" in str(
        step.obstacle
    )
