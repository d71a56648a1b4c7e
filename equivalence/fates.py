"""Fates of mutants on disk: what a long hunt has done so far, to be gone on with.

JSON lines: the first says what the fates are of, each further one is one mutant's. A fate is only
taken over for the same mutants, budget and code, which the first line's fingerprint stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from equivalence.mutants import Mutant
from equivalence.mutate import Fate, Plan
from models.schema.trace import Trace, format_trace

SCHEMA: Final = "equivcheck/fates/1"
#: Larger files are refused before they are parsed.
MAX_BYTES: Final = 64 * 1024 * 1024


class FatesError(ValueError):
    """A file of fates that cannot be used: the message names it, got what, expected what."""


class _Head(BaseModel):
    """The first line."""

    model_config = ConfigDict(extra="forbid")

    schema_: Literal["equivcheck/fates/1"] = Field(SCHEMA, alias="schema")
    fingerprint: str


class _Line(BaseModel):
    """One mutant's fate."""

    model_config = ConfigDict(extra="forbid")

    key: str
    killed_by: str
    how: str
    field: str
    ops: int
    seconds: float
    trace: str
    compiles: bool
    ran: bool


def fingerprint(code: str, mutants: Sequence[Mutant], plan: Plan, examples: Iterable[Trace]) -> str:
    """What fates depend on: the code of a step, the mutants, the budget, the traces replayed."""
    digest = sha256(f"{code} {plan}".encode())
    for mutant in mutants:
        digest.update(f"{mutant.key}\0{mutant.source}\0".encode())
    for trace in examples:
        digest.update(format_trace(trace).encode())
    return digest.hexdigest()


class Fates:
    """A file to which fates are added as they are known.

    Raises:
        FatesError: it cannot be read or written, is malformed, or is of something else.
    """

    def __init__(self, path: Path, mark: str) -> None:
        self._path = path
        self.known: dict[str, _Line] = {}
        try:
            if path.exists() and path.stat().st_size > 0:
                self._read(mark)
                return
            path.write_text(
                _Head(schema=SCHEMA, fingerprint=mark).model_dump_json(by_alias=True) + "\n"
            )
        except OSError as error:
            raise self._failed("read or written", error) from error

    def fate(self, mutant: Mutant) -> Fate | None:
        """What the file says of a mutant."""
        line = self.known.get(mutant.key)
        if line is None:
            return None
        return Fate(mutant, **line.model_dump(exclude={"key"}))

    def add(self, fate: Fate) -> None:
        """Write one more."""
        values = {name: getattr(fate, name) for name in _Line.model_fields if name != "key"}
        line = _Line(key=fate.mutant.key, **values)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line.model_dump_json() + "\n")
        except OSError as error:
            raise self._failed("written", error) from error

    def _read(self, mark: str) -> None:
        if self._path.stat().st_size > MAX_BYTES:
            msg = f"{self._path}: larger than {MAX_BYTES} bytes"
            raise FatesError(msg)
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        # A run that was killed may have left half of a line.
        whole = [line for line in lines if line.endswith("\n")]
        try:
            head = _Head.model_validate_json(whole[0] if whole else "")
            found = [_Line.model_validate_json(line) for line in whole[1:]]
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            msg = f"{self._path}: {first['msg']}; expected a file of 'mutate'; remove it"
            raise FatesError(msg) from None
        if head.fingerprint != mark:
            msg = f"{self._path}: of other code, mutants, traces or budget; remove it to start anew"
            raise FatesError(msg)
        self.known = {line.key: line for line in found}
        if len(whole) < len(lines):
            self._path.write_text("".join(whole), encoding="utf-8")

    def _failed(self, what: str, error: OSError) -> FatesError:
        return FatesError(f"{self._path}: cannot be {what} ({error.strerror or error})")


def going_on(
    fates: Fates | None, mutants: Sequence[Mutant], hunt: Iterable[Fate]
) -> Iterator[Fate]:
    """The fates of all mutants in their order: those that are known, and what a hunt for the
    others brings, which is written as it comes."""
    coming = iter(hunt)
    for mutant in mutants:
        known = None if fates is None else fates.fate(mutant)
        if known is None:
            known = next(coming)
            if fates is not None:
                fates.add(known)
        yield known
