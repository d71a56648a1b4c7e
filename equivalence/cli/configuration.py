"""Settings from a file: ``equivcheck.toml``, or ``[tool.equivcheck]`` of a ``pyproject.toml``.

A key is an option's long name without its dashes. At the top it is for every command that has such
an option, in a table that is named for a command only for that one. The command line wins.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from equivalence.cli.errors import InputError

FILE: Final = "equivcheck.toml"
PYPROJECT: Final = "pyproject.toml"
MOST_BYTES: Final = 1 << 20
#: Options that a file cannot set: they only make sense on a command line.
_NOT_SET: Final = frozenset({"help"})

Load = Callable[[str], click.Command | None]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the file: its value as click takes it, and the place that messages name."""

    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says: settings for all commands, and those of single commands."""

    path: Path | None = None
    text: str = ""
    top: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: The table in the file that is the top ("" in a file of its own).
    root: str = ""

    def settings(self, command: click.Command, name: str) -> dict[str, Setting]:
        """The settings of a command, by parameter name; those of its own table win.

        Raises:
            InputError: a value is not one that the option takes.
        """
        found: dict[str, Setting] = {}
        options = options_of(command)
        for table in ("", name):
            values = self.tables.get(table, {}) if table else self.top
            for key, value in values.items():
                option = options.get(key)
                if option is not None:
                    place = self.place(table, key)
                    found[str(option.name)] = Setting(self._value(option, key, value, place), place)
        return found

    def check_keys(self, names: tuple[str, ...], load: Load) -> None:
        """See that every key is an option of some command, and every table a command.

        Raises:
            InputError: one is not; the message names the file, the line and what comes close.
        """
        every: set[str] = set()
        for name in names:
            command = load(name)
            assert command is not None, "every command can be loaded"
            own = options_of(command)
            every |= own.keys()
            for key in self.tables.get(name, {}):
                self._known(key, name, own, f"'equivcheck {name}' has no such option")
        for key in self.top:
            self._known(key, "", every, "no command has such an option")
        for name in self.tables:
            if name not in names:
                place = self.place(name, "")
                msg = f"{place}: [{name}]: there is no such command{_close(name, names)}"
                raise InputError(msg)

    def place(self, table: str, key: str) -> str:
        """``FILE:LINE`` of a key (of a table's head without a key), as far as it can be told."""
        wanted = ".".join(part for part in (self.root, table) if part)
        line = _line_of(self.text, wanted, key)
        return f"{self.path}:{line}" if line else str(self.path)

    def _known(self, key: str, table: str, known: Collection[str], what: str) -> None:
        if key not in known:
            msg = f"{self.place(table, key)}: {key}: {what}{_close(key, known)}"
            raise InputError(msg)

    def _value(self, option: click.Option, key: str, value: Any, place: str) -> Any:
        """The value as the command line would give it.

        Raises:
            InputError: it has another type, or the option does not take it.
        """
        assert self.path is not None
        if option.is_flag:
            if not isinstance(value, bool):
                msg = f"{place}: {key}: got {value!r}, expected true or false"
                raise InputError(msg)
            return value
        many = option.multiple or option.nargs != 1
        if isinstance(value, list) and not many:
            value = ",".join(map(str, value))
        items = value if many and isinstance(value, list) else [value]
        if any(isinstance(item, bool | dict | list) or item is None for item in items):
            msg = f"{place}: {key}: got {value!r}, expected {option.type.name}"
            raise InputError(msg)
        words = [self._path(option, str(item)) for item in items]
        given: Any = tuple(words) if many else words[0]
        try:
            option.type_cast_value(click.Context(click.Command("config")), given)
        except click.BadParameter as error:
            msg = f"{place}: {key}: {error.message}"
            raise InputError(msg) from None
        return given

    def _path(self, option: click.Option, word: str) -> str:
        """Paths are meant from the file's folder, not from where the command is run."""
        assert self.path is not None
        is_path = isinstance(option.type, click.Path)
        if option.name == "series":
            is_path = "/" in word or word.endswith((".py", ".mbox", ".patch"))
        return str(self.path.parent / word) if is_path else word


def options_of(command: click.Command) -> dict[str, click.Option]:
    """The options of a command that a file can set, by long name without dashes."""
    return {
        max(param.opts, key=len).lstrip("-"): param
        for param in command.params
        if isinstance(param, click.Option) and param.name not in _NOT_SET
    }


def find(folder: Path) -> Path | None:
    """The file for a folder, relative to it: its own, or that of the nearest one above.

    The search ends at the top of a repository.
    """
    for place in (folder, *folder.parents):
        near = Path(os.path.relpath(place, folder))
        if (place / FILE).is_file():
            return near / FILE
        if (place / PYPROJECT).is_file() and _has_table(place / PYPROJECT):
            return near / PYPROJECT
        if (place / ".git").exists():
            break
    return None


def read(path: Path) -> Configuration:
    """Read a file.

    Raises:
        InputError: it cannot be read, is too large or is not TOML.
    """
    found, text = _parse(path)
    root = ""
    if path.name == PYPROJECT:
        root = "tool.equivcheck"
        found = found.get("tool", {}).get("equivcheck", {})
        if not isinstance(found, dict):
            msg = f"{path}: [{root}] is {found!r}, expected a table"
            raise InputError(msg)
    top = {key: value for key, value in found.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in found.items() if isinstance(value, dict)}
    return Configuration(path, text, top, tables, root)


def _parse(path: Path) -> tuple[dict[str, Any], str]:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            msg = f"{path}: more than {MOST_BYTES} bytes, expected a few settings"
            raise InputError(msg)
        text = data.decode()
        return tomllib.loads(text), text
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error}); name another with --config"
        raise InputError(msg) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        msg = f"{path}: not TOML: {error}"
        raise InputError(msg) from None


def _has_table(path: Path) -> bool:
    """Whether a pyproject.toml speaks of us; one that cannot be read does not."""
    try:
        found, _ = _parse(path)
    except InputError:
        return False
    tool = found.get("tool")
    return isinstance(tool, dict) and "equivcheck" in tool


_HEAD: Final = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")


def _line_of(text: str, table: str, key: str) -> int | None:
    """The line of a key in a table, from 1; of the table's head for no key."""
    now = ""
    pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    for number, line in enumerate(text.splitlines(), start=1):
        head = _HEAD.fullmatch(line)
        if head is not None:
            now = re.sub(r"""[\s"']""", "", head[1])
            if not key and now == table:
                return number
        elif key and now == table and pattern.match(line):
            return number
    return None


def _close(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
