"""Patch series: read them, cut them into steps, and account for every hunk.

git does the applying, on a private repository and index in a scratch folder, without hooks and
without the user's configuration. Each step becomes a folder of links to the user's tree in which
only the files that the series changes are files of their own; the user's tree is never written to.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from equivalence.backends.native import sandbox
from equivalence.backends.native.errors import SeriesError
from equivalence.backends.native.tree import HOSTED, KernelTree, open_tree

MAX_BYTES: Final = 32 << 20
MAX_PATCHES: Final = 500

Fate = Literal["hosted", "neighbour", "header", "not compiled", "not hosted", "not applied"]

#: Hunks to these change what runs while building; they are left out unless allowed.
_BUILD_FILES: Final = re.compile(r"(^|/)(Makefile|Kbuild|Kconfig)[^/]*$|^scripts/|\.(sh|pl|py|mk)$")
_FILE_LINE: Final = re.compile(rb"^diff --git a/(.+) b/(.+)$", re.MULTILINE)
_HUNK: Final = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)$")
_BASE: Final = re.compile(rb"^base-commit: ([0-9a-f]{7,40})\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SourceHunk:
    """One hunk: which lines it changes on either side (numbers of changed lines only)."""

    file: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    heading: str

    @property
    def where(self) -> str:
        """File and the function that git names."""
        return f"{self.file}: {self.heading}" if self.heading else self.file


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch of a series, as its mail gives it."""

    title: str
    body: str
    diff: bytes
    trailers: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files it changes, relative to the tree."""
        names = {match[1].decode(errors="replace") for match in _FILE_LINE.finditer(self.diff)}
        names |= {match[0].decode(errors="replace") for match in _FILE_LINE.findall(self.diff)}
        return tuple(sorted(names))

    @property
    def declares_change(self) -> bool:
        """Whether the patch has the trailer ``Behaviour-change:``."""
        return any(line.lower().startswith("behaviour-change:") for line in self.trailers)

    def hunks(self) -> list[SourceHunk]:
        """Its hunks, in order."""
        return list(_hunks(self.diff.decode(errors="replace")))


@dataclass(frozen=True, slots=True)
class PatchSeries:
    """Patches in order; ``base_commit`` as the mails state it, if they do."""

    name: str
    patches: tuple[Patch, ...]
    base_commit: str | None = None


@dataclass(slots=True)
class StepTree:
    """The tree after some patches, or why there is none."""

    tree: KernelTree | None
    obstacle: str | None = None
    changed: dict[str, str] = field(default_factory=dict)


def read_series(source: Path | str, data: bytes | None = None) -> PatchSeries:
    """Read an mbox, a folder of patches, or ``data`` that came from standard input.

    Raises:
        SeriesError: not a series, or one that may not be applied; names the patch and the reason.
    """
    path = Path(source)
    if data is not None:
        name, mails = "-", _split(data)
    elif path.is_dir():
        files = sorted(
            entry for entry in path.iterdir() if entry.suffix in (".patch", ".mbox", ".eml")
        )
        name = path.name
        mails = [mail for entry in files for mail in _split(_read(entry))]
    elif path.is_file():
        name, mails = path.name, _split(_read(path))
    else:
        msg = f"{source}: no such file or folder; expected an mbox, a folder of patches, or -"
        raise SeriesError(msg)
    base: str | None = None
    patches: list[Patch] = []
    for mail in mails:
        found = _BASE.search(mail)
        if found is not None:
            base = found[1].decode()
        patch = _patch(mail)
        if patch is not None:
            patches.append(patch)
    if not patches:
        msg = f"{source}: holds no patch; expected what git format-patch or b4 am writes"
        raise SeriesError(msg)
    if len(patches) > MAX_PATCHES:
        msg = f"{source}: holds {len(patches)} patches, expected at most {MAX_PATCHES}"
        raise SeriesError(msg)
    return PatchSeries(name, tuple(_in_order(patches)), base)


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        msg = f"{path}: {size} bytes, expected at most {MAX_BYTES}"
        raise SeriesError(msg)
    return path.read_bytes()


def _split(data: bytes) -> list[bytes]:
    """The mails of an mbox; one mail, or a bare diff, is itself."""
    if len(data) > MAX_BYTES:
        msg = f"the series has {len(data)} bytes, expected at most {MAX_BYTES}"
        raise SeriesError(msg)
    if b"\0" in data:
        msg = "the series holds NUL bytes; expected text"
        raise SeriesError(msg)
    data = data.replace(b"\r\n", b"\n")
    parts = re.split(rb"^From [0-9a-zA-Z@.<>_+-]+ .*\d{4}.*\n", data, flags=re.MULTILINE)
    return [part for part in parts if part.strip()]


def _subject(message: Message) -> str:
    raw = message.get("Subject", "")
    try:
        text = str(make_header(decode_header(raw)))
    except (LookupError, UnicodeError, ValueError):
        text = str(raw)
    return re.sub(r"\s+", " ", re.sub(r"^\s*(\[[^\]]*\]\s*)+", "", text)).strip()


def _patch(mail: bytes) -> Patch | None:
    """The patch in a mail; None for a cover letter."""
    message = message_from_bytes(mail)
    payload = message.get_payload(decode=True) if message.keys() else mail
    body = payload if isinstance(payload, bytes) else mail
    start = re.search(rb"^diff --git |^--- a/", body, re.MULTILINE)
    if start is None:
        return None
    diff = re.split(rb"^-- \n", body[start.start() :], flags=re.MULTILINE)[0]
    title = _subject(message) if message.keys() else "patch without a subject"
    _check_diff(diff, title)
    text = re.split(rb"^---$", body[: start.start()], flags=re.MULTILINE)[0].decode(
        errors="replace"
    )
    trailers = tuple(
        line for line in text.splitlines() if re.fullmatch(r"[A-Z][A-Za-z-]+: \S.*", line)
    )
    return Patch(title or "patch without a subject", text, diff, trailers)


def _check_diff(diff: bytes, title: str) -> None:
    """Refuse what git would, and what git would not: anything that leaves the tree."""
    if b"GIT binary patch" in diff or re.search(rb"^Binary files ", diff, re.MULTILINE):
        msg = f"patch '{title}': holds a binary patch; expected text"
        raise SeriesError(msg)
    if re.search(rb"^(new|old|deleted file|new file) mode (12|16)0000$", diff, re.MULTILINE) or (
        re.search(rb"^new file mode 120000$", diff, re.MULTILINE)
    ):
        msg = f"patch '{title}': makes a symbolic link or a submodule, which is not applied"
        raise SeriesError(msg)
    named: set[str] = set()
    for pattern in (
        rb"^(?:---|\+\+\+) (\S[^\t\n]*)",
        rb"^(?:rename|copy) (?:from|to) (.+)$",
    ):
        for match in re.finditer(pattern, diff, re.MULTILINE):
            named.add(match[1].decode(errors="replace").strip('"'))
    for match in _FILE_LINE.finditer(diff):
        named |= {
            f"a/{match[1].decode(errors='replace')}",
            f"b/{match[2].decode(errors='replace')}",
        }
    for name in named - {"/dev/null"}:
        path = PurePosixPath(re.sub(r"^[ab]/", "", name))
        if path.is_absolute() or ".." in path.parts or ".git" in path.parts:
            msg = f"patch '{title}': changes {name!r}, which is not below the tree; not applied"
            raise SeriesError(msg)


def _in_order(patches: Sequence[Patch]) -> list[Patch]:
    return list(patches)


def _hunks(diff: str) -> Iterator[SourceHunk]:
    name = ""
    lines = iter(diff.splitlines())
    old = new = left = right = 0
    before: list[int] = []
    after: list[int] = []
    heading = ""
    for line in lines:
        if left > 0 or right > 0:
            if line.startswith("-"):
                before.append(old)
                old, left = old + 1, left - 1
            elif line.startswith("+"):
                after.append(new)
                new, right = new + 1, right - 1
            elif not line.startswith("\\"):
                old, new, left, right = old + 1, new + 1, left - 1, right - 1
            if left <= 0 and right <= 0:
                yield SourceHunk(name, tuple(before), tuple(after), heading)
            continue
        if line.startswith(("--- a/", "+++ b/")):
            name = line[6:].split("\t")[0]
        match = _HUNK.match(line)
        if match is not None:
            old, new = int(match[1]), int(match[3])
            left = int(match[2]) if match[2] is not None else 1
            right = int(match[4]) if match[4] is not None else 1
            heading = match[5].strip()
            before, after = [], []


def fate_of(file: str, compiled: frozenset[str], *, allow_build_files: bool = False) -> Fate:
    """What becomes of a hunk to a file; ``compiled`` are the sources that went into the image."""
    if _BUILD_FILES.search(file) and not allow_build_files:
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


def _git(
    folder: Path, *words: str, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }
    return subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=false", *words],
        cwd=folder,
        input=data,
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
        preexec_fn=sandbox.limits(cpu_seconds=60),
    )


def _git_in(
    root: Path, *words: str, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """git on the user's repository, reading only.

    Raises:
        SeriesError: git is not installed.
    """
    _need_git()
    return _git(root, "-c", "safe.directory=*", "-c", "core.fsmonitor=false", *words, data=data)


def _need_git() -> None:
    if shutil.which("git") is None:
        msg = "git is not installed, and applying patches needs it; install the package git"
        raise SeriesError(msg)


def make_steps(
    tree: KernelTree, series: PatchSeries, scratch: Path, *, allow_build_files: bool = False
) -> list[StepTree]:
    """The trees of all steps: the first is the base, each further one has one more patch.

    Raises:
        SeriesError: git is missing or refuses to work at all. A patch that does not apply is not
            an error: its step and all later ones say so.
    """
    _need_git()
    work = scratch / "work"
    work.mkdir(parents=True)
    done = _git(work, "init", "-q")
    if done.returncode:
        msg = f"git cannot make a repository in {work}: {done.stderr.decode(errors='replace')}"
        raise SeriesError(msg)
    for name in sorted({name for patch in series.patches for name in patch.files}):
        source = tree.root / name
        if source.is_file() and not _leaves(tree.root, source):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, work / name)
    steps = [StepTree(tree)]
    for number, patch in enumerate(series.patches, start=1):
        if steps[-1].tree is None:
            steps.append(StepTree(None, steps[-1].obstacle))
            continue
        leave = [
            f"--exclude={name}"
            for name in patch.files
            if _BUILD_FILES.search(name) and not allow_build_files
        ]
        done = _git(work, "apply", "--whitespace=nowarn", *leave, "-", data=patch.diff)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines()
            text = f"patch {number} '{patch.title}' does not apply: {(reason or ['no message'])[0]}"
            steps.append(StepTree(None, text))
            continue
        changed = dict(steps[-1].changed)
        names = {name for one in series.patches[:number] for name in one.files}
        for name in names:
            path = work / name
            changed[name] = (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "deleted"
            )
        view = scratch / f"step{number}"
        make_view(tree.root, view, {name: work / name for name in names})
        steps.append(StepTree(open_tree(view, tree.folders), None, changed))
    return steps


def _leaves(root: Path, path: Path) -> bool:
    """Whether a file of the tree is really outside of it, by links."""
    return not path.resolve().is_relative_to(root.resolve())


def make_view(root: Path, view: Path, files: dict[str, Path]) -> None:
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
    if not (tree.root / ".git").exists():
        return f"{short}: not checked, the tree is no git repository"
    done = _git_in(tree.root, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
    if done.returncode:
        return f"{short}: not checked, the tree's repository does not have that commit"
    differing = [
        name
        for name in sorted({name for patch in series.patches for name in patch.files})
        if _blob_of(tree.root, base, name) != _hash_of(tree.root, name)
    ]
    if differing:
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        return f"{short}: the tree differs from it in {differing[0]}{more}"
    return f"{short}: the tree's files are those of that commit"


def _blob_of(root: Path, commit: str, name: str) -> bytes:
    done = _git_in(root, "rev-parse", "--verify", "--quiet", f"{commit}:{name}")
    return done.stdout.strip() if done.returncode == 0 else b""


def _hash_of(root: Path, name: str) -> bytes:
    path = root / name
    if not path.is_file() or _leaves(root, path):
        return b""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest().encode()


def base_of(tree: KernelTree, commits: str) -> tuple[KernelTree, str]:
    """The tree as the first commit of ``A..B`` has it, and how it came about.

    Files that the working tree has differently are taken from the repository, into a folder of
    links that is removed when the process ends; the tree itself is only read.

    Raises:
        SeriesError: no such commit, or git does not work.
        TreeError: that commit holds no whole kernel.
    """
    first = commits.split("..", 1)[0]
    done = _git_in(tree.root, "rev-parse", "--verify", "--quiet", f"{first}^{{commit}}")
    if done.returncode:
        msg = f"--range {commits}: {first!r} names no commit of {tree.root}"
        raise SeriesError(msg)
    commit = done.stdout.decode().strip()
    said = f"commit {commit[:12]}"
    done = _git_in(
        tree.root, "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff",
        "--ignore-submodules", commit, "--",
    )  # fmt: skip
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        msg = f"--range {commits}: git says: {(reason or ['no message'])[0]}"
        raise SeriesError(msg)
    names = [name.decode(errors="replace") for name in done.stdout.split(b"\0") if name]
    if not names:
        return tree, said
    scratch = Path(tempfile.mkdtemp(prefix="equivcheck-base-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    files: dict[str, Path] = {}
    for number, name in enumerate(names):
        files[name] = scratch / "files" / str(number)
    (scratch / "files").mkdir()
    request = b"".join(f"{commit}:{name}\n".encode() for name in names)
    answer = _git_in(tree.root, "cat-file", "--batch", data=request).stdout
    at = 0
    for name in names:
        end = answer.index(b"\n", at)
        words = answer[at:end].split(b" ")
        at = end + 1
        if len(words) == 3 and words[1] == b"blob":
            size = int(words[2])
            files[name].write_bytes(answer[at : at + size])
            at += size + 1
        # what the commit does not have stays missing: make_view leaves it out
    make_view(tree.root, scratch / "tree", files)
    return open_tree(scratch / "tree", [*tree.folders, scratch]), said


def series_from_range(tree: Path, commits: str) -> PatchSeries:
    """The patches of a range of commits of the user's repository, read only.

    Raises:
        SeriesError: no repository, or no such range.
    """
    if not re.fullmatch(r"[\w./^~@{}-]+\.\.[\w./^~@{}-]*", commits) or commits.startswith("-"):
        msg = f"--range {commits!r}: expected A..B"
        raise SeriesError(msg)
    done = _git_in(
        tree, "format-patch", "--stdout", "--no-ext-diff",
        "--no-textconv", "--no-signature", "--full-index", commits, "--",
    )  # fmt: skip
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        msg = f"--range {commits}: git says: {(reason or ['no message'])[0]}"
        raise SeriesError(msg)
    if not done.stdout.strip():
        msg = f"--range {commits}: holds no commit with a patch"
        raise SeriesError(msg)
    return replace(read_series("-", done.stdout), name=commits)
