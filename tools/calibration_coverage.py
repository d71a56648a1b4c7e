"""Which ported functions the recordings of a real kernel reach, and how many of their lines.

    python -m tools.calibration_coverage [--all]

Replays the corpus on the last step of stable-6.12.y. Functions of mm/hugetlb.c, mm/hugetlb_cgroup.c
and fs/hugetlbfs/inode.c that no recording reaches are listed by their C names, with ``--all`` those
of the kernel around them too.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, Final

from equivalence.backends.port import PortSystem
from equivalence.series import c_name
from equivalence.subjects.hugetlb.calibration import PortReplayer, calibrate
from equivalence.subjects.hugetlb.corpus import corpus
from equivalence.subjects.hugetlb.series import HugetlbConventions, stable

OURS: Final = ("mm/hugetlb.c", "mm/hugetlb_cgroup.c", "fs/hugetlbfs/inode.c")


def lines_of(code: CodeType) -> set[int]:
    """The lines of a function's body that hold code."""
    return {line for _, _, line in code.co_lines() if line is not None} - {code.co_firstlineno}


def reached(system: PortSystem, codes: dict[CodeType, str]) -> dict[str, set[int]]:
    """The lines of each ported function that ran while the corpus was replayed."""
    ran: dict[str, set[int]] = defaultdict(set)

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            ran[codes[frame.f_code]].add(frame.f_lineno)
        return local

    def called(frame: FrameType, event: str, arg: Any) -> Any:
        name = codes.get(frame.f_code)
        if name is None:
            return None
        ran[name]
        return local

    sys.settrace(called)
    try:
        result = calibrate(corpus(), PortReplayer(system))
    finally:
        sys.settrace(None)
    assert result.agrees, "the corpus does not agree: coverage would be of another run"
    return ran


def report(everything: bool) -> Iterator[str]:
    """The lines to print."""
    step = stable().steps[-1]
    system = PortSystem(step, HugetlbConventions())
    ported = {name: f for name, f in step.functions.items() if hasattr(f, "__ported__")}
    codes = {system.namespace[name].__code__: name for name in ported}
    ran = reached(system, codes)
    files: dict[str, list[str]] = defaultdict(list)
    for name, function in ported.items():
        files[function.__ported__.file].append(name)
    body = {name: lines_of(code) for code, name in codes.items()}
    for file in sorted(files, key=lambda file: (file not in OURS, file)):
        if file not in OURS and not everything:
            continue
        names = files[file]
        hit = sum(len(ran[name] & body[name]) for name in names if name in ran)
        total = sum(len(body[name]) for name in names)
        count = sum(name in ran for name in names)
        yield f"{file}: {count} of {len(names)} functions, {hit} of {total} lines"
        for name in sorted(names):
            if name not in ran:
                yield f"  not reached: {c_name(ported[name])}"
    yield f"all ported functions: {sum(name in ran for name in ported)} of {len(ported)} reached"


if __name__ == "__main__":
    print("\n".join(report("--all" in sys.argv[1:])))
