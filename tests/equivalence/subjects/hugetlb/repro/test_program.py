"""Programs made of traces: they compile without a warning, and a real kernel agrees with them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from equivalence.backends.port import PortSystem
from equivalence.backends.port_tier import PortTier
from equivalence.cli.choose import port_tier
from equivalence.edit import edit
from equivalence.series import Patch, Series, Symbols
from equivalence.subjects.hugetlb import recorder
from equivalence.subjects.hugetlb.calibration import PortReplayer
from equivalence.subjects.hugetlb.ops import OPS
from equivalence.subjects.hugetlb.repro.announce import announce
from equivalence.subjects.hugetlb.repro.calls import CannotError, Names, call_of
from equivalence.subjects.hugetlb.repro.program import Program, make_program
from equivalence.subjects.hugetlb.repro.python_test import diverges
from equivalence.subjects.hugetlb.series import stable
from models.schema.trace import Op, Scalar, parse_trace
from tests.quality.planted import CORE, SURFACE
from tests.quality.recipe import Planted

GCC = ("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
PLANTED = {one.name: one for one in (*CORE, *SURFACE)}
#: Bugs whose minimal trace user space can do, and whose divergence it can see.
ON_A_KERNEL = (
    *("region_del", "subpool_get", "dequeue", "free", "unreserve", "no_page", "close_part"),
    *("punch", "node_nr", "surplus_shrink", "cgroup_events", "overcommit"),
)


def compiled(program: Program, folder: Path, *flags: str) -> Path:
    """The program as an executable; fails with what the compiler says."""
    source = folder / "repro.c"
    source.write_text(program.text)
    done = subprocess.run(
        [*GCC, *flags, "-o", str(folder / "repro"), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "repro"


def planted_on_6_12_117(one: Planted) -> PortTier:
    """Two steps: the port of 6.12.117, and that with a bug planted in it."""
    tip = stable().steps[-1]
    body = edit(tip.table[one.function], one.old, one.new, "planted")
    patch = Patch(one.name, one.about, replace={one.function: body})
    return port_tier(Series(one.name, one.about, Symbols(tip.table, tip.data), (patch,)))


def replayer(tier: PortTier, step: int) -> PortReplayer:
    """A step, read as user space reads it."""
    system = tier.system(step)
    assert isinstance(system, PortSystem)
    return PortReplayer(system)


def program_of(text: str, tier: PortTier) -> Program:
    """The program of a trace without its first line."""
    trace = parse_trace(f"equivcheck-trace/1 hugetlb\n{dedent(text).strip()}\n")
    before, after = (announce(replayer(tier, step), trace) for step in (0, 1))
    return make_program(trace, before, after, ("6.12.117", "with a bug"), "a planted bug")


@pytest.mark.needs_qemu
@pytest.mark.xdist_group("repro-kernel")
@pytest.mark.needs_toolchain
@pytest.mark.parametrize("name", ON_A_KERNEL)
def test_the_real_kernel_does_what_is_announced_for_it(
    kernel: recorder.LiveKernel, name: str, tmp_path: Path
) -> None:
    one = PLANTED[name]
    program = program_of(one.trace, planted_on_6_12_117(one))
    assert program.left_out == ()
    answer = kernel.run(compiled(program, tmp_path, "-static").read_bytes(), 60)
    assert "does what was announced for BEFORE: 6.12.117" in answer["output"], answer["output"]
    assert answer["exit"] == 0
    assert "<- as before" in answer["output"]
    assert "<- as neither" not in answer["output"]


@pytest.mark.needs_qemu
@pytest.mark.xdist_group("repro-kernel")
@pytest.mark.needs_toolchain
def test_a_kernel_that_does_neither_is_told(kernel: recorder.LiveKernel, tmp_path: Path) -> None:
    program = program_of(PLANTED["dequeue"].trace, planted_on_6_12_117(PLANTED["dequeue"]))
    # Both sides announce one page more than the pool has.
    lines = program.text.splitlines()
    wrong = [
        line.replace("{ 1, ", "{ 2, ", 1)
        if line.startswith("static const long long initial")
        else line
        for line in lines
    ]
    assert wrong != lines
    answer = kernel.run(
        compiled(Program("\n".join(wrong) + "\n", ()), tmp_path, "-static").read_bytes(), 60
    )
    assert answer["exit"] == 1
    assert "<- as neither" in answer["output"]
    assert "does neither" in answer["output"]


def every_call() -> Iterator[str]:
    """Each operation with its required arguments, and once more with each other argument."""
    for spec in OPS.values():
        args: dict[str, Scalar] = {key: spec.domains[key][0] for key in spec.required}
        yield str(Op(spec.kind, args))
        for key, domain in spec.domains.items():
            for value in domain:
                yield str(Op(spec.kind, {**args, key: value}))


@pytest.mark.needs_toolchain
def test_every_call_compiles_without_a_warning(tmp_path: Path) -> None:
    names = Names()
    functions, left_out = [], set()
    for number, text in enumerate(every_call()):
        op = parse_trace(f"equivcheck-trace/1 hugetlb\nworld\n{text}\n").ops[0]
        try:
            call = call_of(op, names, 7)
        except CannotError:
            left_out.add(op.kind)
            continue
        body = "".join(f"\t{line}\n" for line in call.lines)
        functions.append(f"long f{number}(void);\nlong f{number}(void)\n{{\n{body}}}\n")
    assert left_out == {
        *("fail_buddy", "fail_kmalloc", "fail_charge", "fail_copy"),
        *("hard_offline", "soft_offline", "unpoison", "dissolve", "clear_range"),
        *("memfd_pin_folios", "note_frame", "uffd_poison"),
        *("guest_create", "guest_alloc", "guest_free", "guest_destroy"),
    }
    empty = program_of("world nr_hugepages=1", planted_on_6_12_117(PLANTED["punch"]))
    head, steps, tail = empty.text.partition("#define WORLD ")
    assert steps
    enums = "".join(f"enum {{ {', '.join(table.values())} }};\n" for table in names.known.values())
    parts = Path(__file__).parents[5] / "equivalence/subjects/hugetlb/repro/runtime"
    extra = "".join((parts / f"{part}.c").read_text() for part in sorted(names.parts))
    text = head + extra + enums + "\n".join(functions) + steps + tail
    compiled(Program(text, ()), tmp_path)


def test_what_is_left_out_is_named() -> None:
    tier = planted_on_6_12_117(PLANTED["punch"])
    program = program_of(
        """
        world nr_hugepages=2
        spawn id=A
        fail_buddy node=0 count=1
        touch_write proc=A map=m1 page=0
        mmap proc=A map=m1 type=private len=1
        """,
        tier,
    )
    assert [(number, op.kind) for number, op, _ in program.left_out] == [
        (1, "fail_buddy"),
        (2, "touch_write"),
    ]
    reasons = [reason for _, _, reason in program.left_out]
    assert "CONFIG_FAIL_PAGE_ALLOC" in reasons[0]
    assert "does not exist" in reasons[1]
    assert " * Left out: op 1 (fail_buddy node=0 count=1): user space cannot make" in program.text


def test_hostile_words_of_an_outcome_stay_text(tmp_path: Path) -> None:
    tier = planted_on_6_12_117(PLANTED["punch"])
    trace = parse_trace("equivcheck-trace/1 hugetlb\nworld nr_hugepages=1\nspawn id=A\n")
    side = announce(replayer(tier, 0), trace)
    evil = side.outcomes[0]._replace(ending="crash", detail='"; system("x"); /* %s */ \\\n??/')
    hurt = type(side)(side.initial, (evil,), side.states)
    about = '*/ int main(void) { return 0; } /* "\\'
    program = make_program(trace, side, hurt, (about, about), about)
    assert "system(" not in program.text.replace("_; system(_x_)", "")
    if shutil.which("gcc"):
        compiled(program, tmp_path)


def test_a_test_made_of_a_trace_fails_while_the_steps_differ() -> None:
    one = PLANTED["dequeue"]
    trace = f"equivcheck-trace/1 hugetlb\n{dedent(one.trace).strip()}\n"
    found = diverges(planted_on_6_12_117(one), 0, 1, trace)
    assert found is not None
    assert diverges(planted_on_6_12_117(one), 0, 0, trace) is None
