"""``equivcheck replay`` of a recording: what the kernel said and what a step says, side by side."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from equivalence.backends.port import PortSystem
from equivalence.cli import consoles
from equivalence.cli.calibrate import step_of
from equivalence.cli.choose import load_series, port_tier
from equivalence.cli.errors import InputError
from equivalence.subjects.hugetlb.calibration import Calibration, PortReplayer, replay
from equivalence.subjects.hugetlb.corpus import corpus, read
from equivalence.subjects.hugetlb.recording import Json, Recording, RecordingError
from models.schema.outcome import Outcome
from models.schema.trace import Op
from reports.text import one_line, value_text


def find_recording(path: Path) -> Recording | None:
    """The recording of a file, or that of the name which comes with equivcheck; None: neither.

    Raises:
        InputError: the file holds no recording.
    """
    if path.suffix == ".jsonl":
        try:
            return read([path])[0]
        except RecordingError as error:
            raise InputError(str(error)) from error
    if path.exists():
        return None
    return next((one for one in corpus() if one.name == str(path)), None)


class _Noting(PortReplayer):
    """A replayer that notes what the system said."""

    def __init__(self, system: PortSystem) -> None:
        super().__init__(system)
        self.outcomes: list[Outcome] = []
        self.views: list[Json] = []

    def apply(self, op: Op) -> Outcome:
        """Run one operation and note its outcome."""
        outcome = super().apply(op)
        self.outcomes.append(outcome)
        return outcome

    def view(self) -> Json:
        """Look at the state and note it."""
        view = super().view()
        self.views.append(view)
        return view


def replay_recording(recording: Recording, series: str, number: int | None) -> int:
    """Replay a recording on one step and print both sides; 1 if they disagree, else 0.

    Raises:
        InputError: there is no such series or step.
    """
    step = step_of(series, number)
    system = port_tier(load_series(series)).system(step.number, evidence=False)
    assert isinstance(system, PortSystem)
    noting = _Noting(system)
    found = Calibration()
    replay(recording, noting, found)
    title = f"{recording.name} on step {step.number} ({step.name}) of {step.series}"
    consoles.show(Text(one_line(title), style="bold"))
    consoles.show(_table(recording, noting.outcomes, found))
    for one in found.disagreements:
        said = f"recorded {value_text(one.recorded)}, computed {value_text(one.computed)}"
        place = f"operation {one.number} ({one.op})" if one.number else one.op
        consoles.show(Text(f"disagrees at {place}: {one_line(one.field)}: {said}"))
    if found.agrees:
        fields = sum(found.fields.values())
        consoles.show(f"Everything agrees: {len(recording.lines)} operations, {fields:,} fields.")
    return 0 if found.agrees else 1


def _table(recording: Recording, outcomes: list[Outcome], found: Calibration) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column("op", justify="right", no_wrap=True)
    table.add_column("operation", overflow="fold", ratio=3)
    table.add_column("recorded", overflow="fold", ratio=2)
    table.add_column("computed", overflow="fold", ratio=2)
    table.add_column("pool recorded: nr free resv surplus", overflow="fold", ratio=2)
    wrong = {one.number for one in found.disagreements}
    for (op, line), outcome in zip(recording.numbered(), outcomes, strict=False):
        if line is None:
            continue
        pool = line["pool"]
        table.add_row(
            str(line["i"]),
            one_line(str(op), 200),
            _said(line["result"]),
            _outcome(outcome),
            " ".join(str(pool[key]) for key in ("nr", "free", "resv", "surplus")),
            style="bold red" if line["i"] in wrong else None,
        )
    return Group(Text(), table, Text())


def _said(result: Json) -> str:
    """A recorded result in a word or two."""
    bad = result.get("signal") or result.get("errno")
    if bad is None and result["ret"] == 0:
        bad = "ok"
    value = result.get("value")
    return f"{bad or result['ret']}" + (f" value {value}" if value is not None else "")


def _outcome(outcome: Outcome) -> str:
    if outcome.ending != "returned":
        return one_line(f"{outcome.ending} {outcome.detail}")
    return _said(
        {
            "ret": outcome.ret,
            "errno": outcome.errno,
            "signal": outcome.signal,
            "value": outcome.value,
        }
    )
