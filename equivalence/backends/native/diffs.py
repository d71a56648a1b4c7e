"""Reads the diff in a patch: which files it changes and how, and whether it may be applied at all.

A diff is hostile until it was read here. Refused is what could reach outside of the tree or cannot
be accounted for line by line; everything else is left to ``git apply``, which refuses the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from equivalence.backends.native.errors import SeriesError

#: Names of files as kernels have them; a name that needs quoting or matching is refused.
_PLAIN: Final = re.compile(r"[\w+@,.=~^#:-]+(/[\w+@,.=~^#:-]+)*")
_GIT_LINE: Final = re.compile(r"diff --git a/(\S+) b/(\S+)$")
_HUNK: Final = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)$")
_LINK, _SUBMODULE = "120000", "160000"
_MODE: Final = re.compile(r"^(?:new|old|deleted file|new file) mode (\d{6})$")
_INDEX: Final = re.compile(r"^index \S+ (\d{6})$")


@dataclass(frozen=True, slots=True)
class SourceHunk:
    """One hunk: which lines it changes on either side (numbers of changed lines only).

    A change without lines, of a mode or a name, is a hunk whose heading says so.
    """

    file: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    heading: str

    @property
    def where(self) -> str:
        """File and the function that git names."""
        return f"{self.file}: {self.heading}" if self.heading else self.file


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a patch does to one file: its names before and after, its hunks, its own words."""

    before: str
    after: str
    hunks: tuple[SourceHunk, ...]
    text: str

    @property
    def names(self) -> frozenset[str]:
        """The names it has before and after, relative to the tree."""
        return frozenset({self.before, self.after} - {""})


def parse_diff(text: str, title: str) -> tuple[FileDiff, ...]:
    """The files of a diff, in order; what stands around them is left out.

    Raises:
        SeriesError: a binary patch, a link, a submodule, a name that is not below the tree, or
            lines that are no diff; names the patch ``title``, and what it holds.
    """
    return tuple(_file(lines, title) for lines in _sections(text, title))


def _sections(text: str, title: str) -> Iterator[list[str]]:
    """The lines of each file, from its first header line to its last hunk's end."""
    found: list[str] = []
    left = right = 0
    header = body = False
    # only line feeds end a line: a form feed may stand in the code
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if left > 0 or right > 0:
            if line[:1] not in ("", " ", "+", "-", "\\"):
                raise _refuse(title, f"a hunk ends early, at {line[:40]!r}")
            left -= not line.startswith(("+", "\\"))
            right -= not line.startswith(("-", "\\"))
            found.append(line)
            continue
        git = line.startswith("diff --git ")
        follows = lines[number + 1] if number + 1 < len(lines) else ""
        plain = line.startswith("--- ") and follows.startswith("+++ ")
        if git or (plain and not header):
            if found:
                yield found
            found, header, body = [], git, False
        elif not found:
            continue
        match = _HUNK.match(line)
        if match is not None:
            left = int(match[2]) if match[2] is not None else 1
            right = int(match[4]) if match[4] is not None else 1
            header, body = False, True
        # behind the hunks of a file stands what is no part of it, such as a signature
        if not body or match is not None or line.startswith("\\"):
            found.append(line)
    if left > 0 or right > 0:
        raise _refuse(title, "its last hunk is cut short")
    if found:
        yield found


def _refuse(title: str, what: str) -> SeriesError:
    return SeriesError(f"patch '{title}': {what}; not applied")


def _name(raw: str, side: str, title: str) -> str:
    """A file's name below the tree; "" for /dev/null."""
    word = raw.split("\t", 1)[0].rstrip()
    if word == "/dev/null":
        return ""
    name = word.removeprefix(side)
    path = PurePosixPath(name)
    if path.is_absolute() or {"..", ".git"} & set(path.parts) or word.startswith("/"):
        raise _refuse(title, f"changes {word!r}, which is not below the tree")
    if name == word:
        raise _refuse(title, f"names {word!r}, expected a name that starts with a/ or b/")
    if not _PLAIN.fullmatch(name) or len(name) > 1000 or max(map(len, path.parts)) > 255:
        raise _refuse(title, f"names {word!r}, expected the plain name of a file below the tree")
    return name


def _same(name: str, again: str, title: str) -> str:
    """The name, which two lines of a header give; one of them may be /dev/null."""
    if again and name != again:
        raise _refuse(title, f"names {name!r} and {again!r} as one file")
    return again


def _file(lines: list[str], title: str) -> FileDiff:
    before = after = ""
    known = False
    notes: list[str] = []
    for line in lines:
        if line.startswith("@@ "):
            break
        if line.startswith(("GIT binary patch", "Binary files ")):
            raise _refuse(title, "holds a binary patch, expected text")
        mode = _MODE.match(line) or _INDEX.match(line)
        if mode is not None and mode[1] in (_LINK, _SUBMODULE):
            raise _refuse(title, "makes or changes a symbolic link or a submodule")
        if line.startswith("diff --git "):
            match = _GIT_LINE.match(line)
            if match is None:
                words = line.removeprefix("diff --git ")
                raise _refuse(title, f"names {words!r}, expected a/NAME b/NAME, plain names")
            before, after = (
                _name(f"{side}{match[number]}", side, title)
                for number, side in ((1, "a/"), (2, "b/"))
            )
            known = True
        elif line.startswith("--- "):
            found = _name(line[4:], "a/", title)
            before = _same(before, found, title) if known else found
        elif line.startswith("+++ "):
            found = _name(line[4:], "b/", title)
            after = _same(after, found, title) if known else found
        elif match := re.match(r"(rename|copy) (from|to) (.+)$", line):
            _name(
                f"{'a/' if match[2] == 'from' else 'b/'}{match[3]}",
                "a/" if match[2] == "from" else "b/",
                title,
            )
            notes.append(f"{match[1]} {match[2]} {match[3]}")
        elif line.startswith(("new mode ", "new file mode ", "deleted file mode ")):
            notes.append(line)
    hunks = tuple(_hunks(after or before, lines))
    if not hunks:
        hunks = (SourceHunk(after or before, (), (), ", ".join(notes) or "no lines"),)
    return FileDiff(before, after, hunks, "\n".join(lines) + "\n")


def _hunks(name: str, lines: list[str]) -> Iterator[SourceHunk]:
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
        match = _HUNK.match(line)
        if match is not None:
            old, new = int(match[1]), int(match[3])
            left = int(match[2]) if match[2] is not None else 1
            right = int(match[4]) if match[4] is not None else 1
            heading = match[5].strip()
            before, after = [], []
