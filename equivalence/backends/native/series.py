"""From a patch series to the trees of its steps, and what becomes of every hunk.

git does the applying, in a private repository in a scratch folder. Each step becomes a folder of
links to the user's tree in which only the files that the series changes are files of their own; the
user's tree is never written to.
"""

from __future__ import annotations

import atexit
import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from equivalence.backends.native.diffs import FileDiff
from equivalence.backends.native.errors import SeriesError, TreeError
from equivalence.backends.native.mails import Patch, PatchSeries, series_of, split_mbox
from equivalence.backends.native.repository import (
    PatchRepository,
    UserRepository,
    first_line,
)
from equivalence.backends.native.tree import HOSTED, KernelTree, is_configuration, open_tree

MAX_BYTES: Final = 32 << 20
#: The longest file that is compared line by line; comparing takes the square of it.
MOST_LINES: Final = 30_000

Fate = Literal["hosted", "neighbour", "header", "not compiled", "not hosted", "not applied"]

#: Hunks to these change what runs while building; they are left out unless allowed.
_BUILD_FILES: Final = re.compile(
    r"(^|/)(Makefile|Kbuild|Kconfig)[^/]*$|^scripts/|^tools/|^arch/\w+/(tools|boot)/"
    r"|\.(sh|pl|py|mk|awk|lds)$|(^|/)\.git"
)


@dataclass(slots=True)
class StepTree:
    """The tree after some patches, or why there is none.

    ``changed`` are the files that differ from the base, and a hash of what they hold.
    """

    tree: KernelTree | None
    obstacle: str | None = None
    changed: dict[str, str] = field(default_factory=dict)


def read_series(source: Path | str, data: bytes | None = None) -> PatchSeries:
    """Read an mbox, a folder of patches, or ``data`` that came from standard input.

    A folder with a file ``series``, as quilt has, names its patches in order; else they are taken
    by their names.

    Raises:
        SeriesError: not a series, or one that may not be applied; names the patch and the reason.
    """
    path = Path(source)
    if data is not None:
        return series_of("-", split_mbox(_bounded("the series", data)))
    try:
        if path.is_dir():
            files = _patches_in(path)
            contents = [_read(entry) for entry in files]
            _bounded(str(path), b"".join(contents))
            mails = [mail for content in contents for mail in split_mbox(content)]
            return series_of(path.name, mails, ordered=True)
        if path.exists():
            return series_of(path.name, split_mbox(_read(path)))
    except OSError as error:
        msg = f"{error.filename or path}: cannot be read: {error.strerror}"
        raise SeriesError(msg) from None
    msg = f"{source}: no such file or folder; expected an mbox, a folder of patches, or -"
    raise SeriesError(msg)


def _bounded(name: str, data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        msg = f"{name}: more than {MAX_BYTES} bytes, expected at most that"
        raise SeriesError(msg)
    return data


def _read(path: Path) -> bytes:
    """A file, or a pipe that a shell made of a command."""
    with path.open("rb") as stream:
        return _bounded(str(path), stream.read(MAX_BYTES + 1))


def _patches_in(folder: Path) -> list[Path]:
    order = folder / "series"
    if not order.is_file():
        kinds = (".patch", ".diff", ".mbox", ".eml")
        return sorted(entry for entry in folder.iterdir() if entry.suffix in kinds)
    found: list[Path] = []
    for line in _read(order).decode(errors="replace").splitlines():
        name = line.split("#")[0].strip()
        if not name:
            continue
        path = folder / name.split()[0]
        if len(name.split()) > 1 and name.split()[1:] != ["-p1"]:
            msg = f"{order}: {name!r} has options, expected a name alone (patches apply with -p1)"
            raise SeriesError(msg)
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            msg = f"{order}: names {name!r}, expected a file of that folder"
            raise SeriesError(msg)
        found.append(path)
    return found


def is_build_file(name: str) -> bool:
    """Whether a file runs, or tells what runs, while building or while patches are applied."""
    return _BUILD_FILES.search(name) is not None


def fate_of(file: str, compiled: frozenset[str], *, allow_build_files: bool = False) -> Fate:
    """What becomes of a hunk to a file; ``compiled`` are the sources that went into the image."""
    if is_build_file(file) and (not allow_build_files or "/.git" in f"/{file}"):
        return "not applied"
    if file in HOSTED:
        return "hosted"
    if file in compiled:
        return "neighbour"
    if file.endswith(".h"):
        return "header"
    if file.endswith((".c", ".S")):
        return "not compiled"
    return "not hosted"


def make_steps(
    tree: KernelTree, series: PatchSeries, scratch: Path, *, allow_build_files: bool = False
) -> list[StepTree]:
    """The trees of all steps: the first is the base, each further one has one more patch.

    Raises:
        ToolMissingError: git is not installed.
        SeriesError: git does not work at all. A patch that does not apply is not an error: its
            step and all later ones say so.
    """
    work = scratch / "work"
    repository = PatchRepository(work)
    for name in sorted({name for patch in series.patches for name in patch.files}):
        source = tree.root / name
        if source.is_file() and not _leaves(tree, source):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, work / name)
    steps = [StepTree(tree)]
    names: set[str] = set()
    for number, patch in enumerate(series.patches, start=1):
        last = steps[-1]
        if last.tree is None:
            steps.append(StepTree(None, last.obstacle))
            continue
        diffs = [
            diff
            for diff in patch.diffs
            if not any(
                fate_of(name, frozenset(), allow_build_files=allow_build_files) == "not applied"
                for name in diff.names
            )
        ]
        said = _apply(repository, diffs)
        if said is not None:
            text = f"patch {number} '{patch.title}' does not apply: {said}"
            steps.append(StepTree(None, text))
            continue
        names |= {name for diff in diffs for name in diff.names}
        long = _too_long(work, names)
        if long is not None:
            text = f"patch {number} '{patch.title}': {long}"
            steps.append(StepTree(None, text))
            continue
        steps.append(_step(tree, number, patch, work, names, scratch / f"step{number}"))
    return steps


def _apply(repository: PatchRepository, diffs: list[FileDiff]) -> str | None:
    if not diffs:
        return None
    text = "".join(diff.text for diff in diffs)
    return repository.apply(text.encode("utf-8", "surrogateescape"))


def _too_long(work: Path, names: set[str]) -> str | None:
    """Why two versions of a file cannot be compared line by line; None if they can."""
    for name in sorted(names):
        path = work / name
        if path.is_file() and name.endswith((".c", ".h")):
            lines = path.read_bytes().count(b"\n")
            if lines > MOST_LINES:
                return (
                    f"{name} has {lines} lines then, more than the {MOST_LINES} that are compared"
                )
    return None


def _step(
    tree: KernelTree, number: int, patch: Patch, work: Path, names: set[str], view: Path
) -> StepTree:
    """The tree in which the files ``names`` are those of ``work``."""
    changed: dict[str, str] = {}
    salt: list[str] = []
    for name in sorted(names):
        path = work / name
        changed[name] = (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "deleted"
        )
        if is_build_file(name) or is_configuration(name):
            salt.append(f"{name}={changed[name]}")
    make_view(tree.root, view, {name: work / name for name in names})
    try:
        made = open_tree(view, tree.folders)
    except TreeError as error:
        text = f"patch {number} '{patch.title}' leaves no kernel that can be hosted: {error}"
        return StepTree(None, text.replace(str(view), "the tree"), changed)
    return StepTree(replace(made, salt=" ".join(salt)), None, changed)


def _leaves(tree: KernelTree, path: Path) -> bool:
    """Whether a file of the tree is really outside of its folders, by links."""
    real = path.resolve()
    return not any(real.is_relative_to(folder.resolve()) for folder in tree.folders)


def make_view(root: Path, view: Path, files: Mapping[str, Path]) -> None:
    """A folder that looks like ``root`` but for ``files`` (a file that is missing: deleted).

    Everything else is links, made only along the paths that differ.
    """
    view.mkdir(parents=True)
    heads: dict[str, dict[str, Path]] = {}
    for name, source in files.items():
        head, slash, rest = name.partition("/")
        heads.setdefault(head, {})
        if slash:
            heads[head][rest] = source
        else:
            heads[head][""] = source
    present = {entry.name for entry in root.iterdir()} if root.is_dir() else set()
    for name in sorted(present - heads.keys()):
        (view / name).symlink_to(root / name)
    for name, inner in heads.items():
        if "" in inner:
            if inner[""].is_file():
                shutil.copyfile(inner[""], view / name)
        else:
            make_view(root / name, view / name, inner)


def check_base(tree: KernelTree, series: PatchSeries) -> str:
    """How the tree compares with the ``base-commit:`` that the mails name; "" if they name none.

    Only the files that the series changes are compared, by their blobs.
    """
    base = series.base_commit
    if base is None:
        return ""
    short = f"base-commit {base[:12]}"
    repository = UserRepository.find(tree.root)
    if repository is None:
        return f"{short}: not checked, the tree is no git repository"
    commit = repository.commit(base)
    if commit is None:
        return f"{short}: not checked, the tree's repository does not have that commit"
    names = sorted({name for patch in series.patches for name in patch.files})
    with tempfile.TemporaryDirectory(prefix="equivcheck-base-") as folder:
        blobs = repository.borrow(Path(folder), commit).blobs(commit, names)
    differing = [name for name in names if blobs.get(name) != _content(tree, name)]
    if differing:
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        return f"{short}: the tree differs from it in {differing[0]}{more}"
    return f"{short}: the tree's files are those of that commit"


def _content(tree: KernelTree, name: str) -> bytes | None:
    path = tree.root / name
    return path.read_bytes() if path.is_file() and not _leaves(tree, path) else None


def _repository(root: Path, commits: str) -> UserRepository:
    """The repository of the tree, for a range.

    Raises:
        SeriesError: there is none, or the range is no range.
    """
    if not re.fullmatch(r"[\w./^~@{}-]+\.\.[\w./^~@{}-]*", commits) or commits.startswith("-"):
        msg = f"--range {commits!r}: expected A..B"
        raise SeriesError(msg)
    repository = UserRepository.find(root)
    if repository is None:
        msg = f"--range {commits}: {root} is not the top of a git repository"
        raise SeriesError(msg)
    return repository


def _ends(repository: UserRepository, commits: str) -> tuple[str, str]:
    """The commits that a range names.

    Raises:
        SeriesError: one of them is none.
    """
    first, _, last = commits.partition("..")
    found: list[str] = []
    for name in (first, last or "HEAD"):
        commit = repository.commit(name)
        if commit is None:
            msg = f"--range {commits}: {name!r} names no commit of {repository.root}"
            raise SeriesError(msg)
        found.append(commit)
    return found[0], found[1]


def base_of(tree: KernelTree, commits: str) -> tuple[KernelTree, str]:
    """The tree as the first commit of ``A..B`` has it, and how it came about.

    Files that the working tree has differently are taken from the repository, into a folder of
    links that is removed when the process ends; the tree itself is only read.

    Raises:
        SeriesError: no such commit, or git does not work.
        TreeError: that commit holds no whole kernel.
    """
    repository = _repository(tree.root, commits)
    commit, _ = _ends(repository, commits)
    scratch = Path(tempfile.mkdtemp(prefix="equivcheck-base-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    (scratch / "git").mkdir()
    borrowed = repository.borrow(scratch / "git", commit)
    done = borrowed.git(
        *("diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv"),
        *("--ignore-submodules", commit, "--"),
    )
    if done.returncode:
        msg = f"--range {commits}: git says: {first_line(done)}"
        raise SeriesError(msg)
    names = [name.decode(errors="surrogateescape") for name in done.stdout.split(b"\0") if name]
    # a name with a line feed cannot be asked for, and no kernel has one
    names = [name for name in names if "\n" not in name]
    said = f"commit {commit[:12]}"
    if not names:
        return tree, said
    blobs = borrowed.blobs(commit, names)
    held = scratch / "files"
    held.mkdir()
    files = {name: held / str(number) for number, name in enumerate(names)}
    for name, content in blobs.items():
        files[name].write_bytes(content)
    # what the commit does not have stays missing: the view leaves it out
    make_view(tree.root, scratch / "tree", files)
    return open_tree(scratch / "tree", [*tree.folders, scratch]), said


def series_from_range(tree: Path, commits: str) -> PatchSeries:
    """The patches of a range of commits of the user's repository, read only.

    Raises:
        SeriesError: no repository, or no such range.
    """
    repository = _repository(tree, commits)
    first, last = _ends(repository, commits)
    with tempfile.TemporaryDirectory(prefix="equivcheck-range-") as folder:
        done = repository.borrow(Path(folder), first).git(
            *("format-patch", "--stdout", "--no-ext-diff", "--no-textconv", "--no-signature"),
            *("--no-renames", "--full-index", f"{first}..{last}", "--"),
        )
    if done.returncode:
        msg = f"--range {commits}: git says: {first_line(done)}"
        raise SeriesError(msg)
    if not done.stdout.strip():
        msg = f"--range {commits}: holds no commit with a patch"
        raise SeriesError(msg)
    return series_of(commits, split_mbox(_bounded(f"--range {commits}", done.stdout)))
