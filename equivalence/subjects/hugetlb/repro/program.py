"""A trace as one C program that runs on a real kernel and compares it with both sides.

The program does the trace's operations in order, each in the process that the trace names, reads
the counters after each, and says for each where the kernel agrees with neither or only one side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from equivalence.subjects.hugetlb.repro.announce import Counter, Side
from equivalence.subjects.hugetlb.repro.calls import INIT, Call, CannotError, Names, call_of
from models.schema.outcome import REFUSED, Outcome
from models.schema.trace import Op, Trace, format_line

_POOL: Final = {
    "nr": "nr_hugepages",
    "free": "free_hugepages",
    "resv": "resv_hugepages",
    "surplus": "surplus_hugepages",
    "overcommit": "nr_overcommit_hugepages",
}
_REFUSED: Final = "it names what does not exist, or exists already; the call could not be made"
_TOGETHER: Final = (
    "It was found with operations that ran together under a schedule. A program cannot choose when"
    " the kernel switches, so here they run one after the other."
)


@dataclass(frozen=True, slots=True)
class Program:
    """The C text, and the operations that it leaves out with the reason for each."""

    text: str
    left_out: tuple[tuple[int, Op, str], ...]


def make_program(
    trace: Trace, before: Side, after: Side, names: tuple[str, str], about: str
) -> Program:
    """The program of a trace; ``names`` are what the two sides are called, ``about`` a title."""
    return _Maker(trace, before, after, names, about).program()


class _Maker:
    def __init__(
        self, trace: Trace, before: Side, after: Side, names: tuple[str, str], about: str
    ) -> None:
        self.trace = trace
        self.sides = (before, after)
        self.side_names = names
        self.about = about
        self.names = Names()
        self.left_out: list[tuple[int, Op, str]] = []
        states = [side.initial for side in self.sides]
        states += [state for side in self.sides for state in side.states]
        self.counters = tuple(dict.fromkeys(key for state in states for key in state))

    def program(self) -> Program:
        """Put the parts together."""
        length = max(len(side.outcomes) for side in self.sides)
        steps = [self._step(number, op) for number, op in enumerate(self.trace.ops[:length])]
        counters = self._counters()
        parts = [
            self._comment(),
            _runtime("head"),
            *(_runtime(part) for part in sorted(self.names.parts)),
            self._enums(),
            self._world(),
            *(step.function for step in steps),
            counters,
            self._numbers("initial", [side.initial for side in self.sides]),
            *(step.numbers for step in steps),
            "static const struct step steps[] = {",
            *(step.entry for step in steps),
            "};\n",
            _runtime("main"),
        ]
        return Program("\n".join(part for part in parts if part), tuple(self.left_out))

    def _comment(self) -> str:
        lines = [
            self.about,
            "",
            "before: " + self.side_names[0],
            "after:  " + self.side_names[1],
            "",
            *(format_line("world", self.trace.world).splitlines()),
            *(str(op) for op in self.trace.ops),
            "",
            "gcc -Wall -o repro THIS.c && sudo ./repro",
            "Needs an idle machine with a 2 MiB huge page pool; it is given back as it was.",
            "Exits with 0 if the kernel does what was announced for one side, 1 if for neither,",
            "2 if it could not be run.",
        ]
        if self.trace.schedule:
            lines += ["", *_wrapped(_TOGETHER)]
        for number, op, reason in self.left_out:
            lines += ["", *_wrapped(f"Left out: op {number} ({op}): {reason}.")]
        return "/*\n" + "".join(f" * {_plain(line)}".rstrip() + "\n" for line in lines) + " */\n"

    def _enums(self) -> str:
        return "".join(
            f"enum {{ {', '.join(table.values())} }};\n" for table in self.names.known.values()
        )

    def _world(self) -> str:
        world = self.trace.world
        giant = world.get("nr_hugepages_1g", 0) if "1G" in str(world.get("hstates", "")) else -1
        lines = [
            f'#define WORLD "{_plain(format_line("world", world))}"',
            f"#define WORLD_NODES {int(world.get('nodes', 2))}",
            f"#define WORLD_PAGES {int(world.get('nr_hugepages', 0))}",
            f"#define WORLD_OVERCOMMIT {int(world.get('nr_overcommit_hugepages', 0))}",
            f"#define WORLD_PAGES_1G {int(giant)}",
            *(
                f'#define {word} "{_plain(name)}"'
                for word, name in zip(("BEFORE", "AFTER"), self.side_names, strict=True)
            ),
            _list("mount_names", self.names.known.get("MOUNT", {}), ""),
            _list("cgroup_names", self.names.known.get("CGROUP", {}), "equivcheck-"),
        ]
        return "\n".join(lines) + "\n"

    def _step(self, number: int, op: Op) -> _Step:
        outcomes = [
            side.outcomes[number] if number < len(side.outcomes) else None for side in self.sides
        ]
        value = next((o.value for o in outcomes if o and o.value is not None), number + 1)
        reason = ""
        call = Call(INIT, ())
        try:
            if all(outcome is None or outcome.ending == REFUSED.ending for outcome in outcomes):
                raise CannotError(_REFUSED)
            call = call_of(op, self.names, value)
        except CannotError as error:
            reason = str(error)
            self.left_out.append((number, op, reason))
        function = ""
        if call.lines:
            body = "".join(f"\t{line}".rstrip() + "\n" for line in call.lines)
            function = f"/* op {number}: {op} */\nstatic long op_{number}(void)\n{{\n{body}}}\n"
        states = [
            side.states[number] if number < len(side.states) else side.initial
            for side in self.sides
        ]
        entry = (
            f'\t{{ {number}, "{_plain(str(op))}", {call.who},\n'
            f"\t  {f'op_{number}' if call.lines else 'NULL'},"
            f" {_quoted(reason) if reason else 'NULL'},\n"
            f"\t  {_announced(outcomes[0], f'before_{number}')},\n"
            f"\t  {_announced(outcomes[1], f'after_{number}')} }},"
        )
        return _Step(function, self._numbers(str(number), states), entry)

    def _numbers(self, name: str, states: Sequence[Mapping[Counter, int]]) -> str:
        """Two arrays of all counters in their order."""
        words = ("initial_before", "initial_after")
        if name != "initial":
            words = (f"before_{name}", f"after_{name}")
        return "".join(
            f"static const long long {word}[] = {{ "
            + ", ".join(str(state[key]) if key in state else "ABSENT" for key in self.counters)
            + " };\n"
            for word, state in zip(words, states, strict=True)
        )

    def _counters(self) -> str:
        rows = "".join(f"\t{self._counter(key)},\n" for key in self.counters)
        return f"static const struct counter counters[] = {{\n{rows}}};\n"

    def _counter(self, key: Counter) -> str:
        field, owner = key.field, key.owner
        match key.kind:
            case "pool":
                return f'{{ "{_POOL[field]}", NUMBER, POOL_2M "{_POOL[field]}", 0, 0 }}'
            case "node":
                file = _POOL[field]
                path = f'NODE "{owner}/hugepages/hugepages-2048kB/{file}"'
                return f'{{ "node{owner} {file}", NUMBER, {path}, 0, 0 }}'
            case "mount":
                return f'{{ "{owner} {field}", FREE_BLOCKS, "{owner}", 0, 0 }}'
            case "cgroup" if field == "events_max":
                path = f"equivcheck-{owner}/hugetlb.2MB.events"
                return f'{{ "{owner} hugetlb.2MB.events", EVENTS, "{path}", 0, 0 }}'
            case "cgroup":
                path = f"equivcheck-{owner}/hugetlb.2MB.{field}"
                return f'{{ "{owner} hugetlb.2MB.{field}", BYTES, "{path}", SIZE_2M, 0 }}'
        who = self.names.of("PROC", owner)
        return f'{{ "{owner} HugetlbPages", STATUS, NULL, 0, {who} }}'


@dataclass(frozen=True, slots=True)
class _Step:
    function: str
    numbers: str
    entry: str


def _announced(outcome: Outcome | None, counters: str) -> str:
    if outcome is None:
        return f'{{ 0, 0, 0, 0, "it was over", {counters} }}'
    ending = "NULL"
    if outcome.ending != "returned":
        ending = _quoted(f"{outcome.ending} {outcome.detail}".strip())
    words = (outcome.ret, outcome.errno or 0, outcome.signal or 0, f"{outcome.value or 0}ULL")
    return f"{{ {', '.join(map(str, words))}, {ending}, {counters} }}"


def _list(name: str, words: Iterable[str], prefix: str) -> str:
    items = "".join(f'"{prefix}{word}", ' for word in words if word != "/")
    return f"static const char *const {name}[MOST + 1] = {{ {items}NULL }};"


def _plain(text: str) -> str:
    """Text that can stand in a C comment and in a string, whatever it was."""
    return re.sub(r"[^ -~]|[\"\\*?%]", "_", text)


def _quoted(text: str) -> str:
    return f'"{_plain(text)[:200]}"'


def _wrapped(text: str, width: int = 76) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _runtime(part: str) -> str:
    folder = resources.files("equivalence.subjects.hugetlb.repro") / "runtime"
    return (folder / f"{part}.c").read_text(encoding="utf-8")
