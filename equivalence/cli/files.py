"""Files that the user names: read within bounds, written whole or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from equivalence.cli.errors import InputError
from equivalence.store import read_trace, write_atomically
from equivalence.subject import Subject, WorldError
from models.schema.result import MAX_RESULT_BYTES, Result, ResultError, parse_result
from models.schema.trace import Trace, TraceError


def load_trace(path: Path, subject: Subject) -> Trace:
    """A trace file that the subject can run.

    Raises:
        InputError: it cannot be read, is no trace, or is not one of this subject.
    """
    try:
        trace = read_trace(path)
        if trace.subject != subject.name:
            msg = f"{path}: a trace of subject {trace.subject!r}, expected {subject.name!r}"
            raise InputError(msg)
        subject.check_world(trace.world)
        for op in trace.ops:
            subject.check_op(op)
    except (OSError, TraceError, WorldError) as error:
        text = str(error)
        raise InputError(text if str(path) in text else f"{path}: {text}") from error
    return trace


def load_result(path: Path) -> Result:
    """A ``result.json``.

    Raises:
        InputError: it cannot be read, or is no result of a version we know.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RESULT_BYTES + 1)
        return parse_result(data.decode("utf-8", errors="replace"), str(path))
    except OSError as error:
        msg = f"result {path}: cannot be read ({error.strerror or error})"
        raise InputError(msg) from error
    except ResultError as error:
        raise InputError(str(error)) from error


def prepare_folder(folder: Path, option: str = "--out") -> None:
    """Make a folder and see that it can be written, before hours are spent on what goes there.

    Raises:
        InputError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(folder, error, option) from error


def save(path: Path, text: str, option: str = "--out") -> None:
    """Write a file; an old one stays whole until the new one is.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_atomically(path, text)
    except OSError as error:
        raise unwritable(path, error, option) from error


def unwritable(path: Path, error: OSError, option: str) -> InputError:
    """The message for a path that cannot be written, which ``option`` names."""
    reason = error.strerror or error
    msg = f"{path}: cannot be written ({reason}); name another with {option} or correct its rights"
    return InputError(msg)
