"""Record whole traces, and write them down in the format of the corpus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from equivalence.subjects.hugetlb.recorder.errors import OperationRefusedError
from equivalence.subjects.hugetlb.recorder.live import PAGE_SIZE_KB, Json, LiveKernel, full_world

FORMAT = "hugetlb-trace/1"

Operation = tuple[str, Mapping[str, Any]]


def record_trace(
    kernel: LiveKernel,
    name: str,
    kind: str,
    about: str,
    seed: int | None,
    world: Mapping[str, Any],
    ops: Iterable[Operation],
    *,
    skip_refused: bool = False,
    watch: Callable[[Json], None] | None = None,
) -> list[Json]:
    """Record one trace on `kernel` and return its lines: head, operations, tail.

    `ops` may be a generator that decides after each operation what comes next: `watch` gets
    every operation line as soon as it is there, before the next operation is drawn. A refused
    operation raises `OperationRefusedError`, the kernel being rebooted before the next trace,
    unless `skip_refused`: then its number is left out of the trace. Raises what `LiveKernel`
    raises.
    """
    initial = kernel.begin_trace(world)
    head: Json = {
        "format": FORMAT,
        "name": name,
        "kind": kind,
        "about": about,
        "kernel": kernel.version,
        "page_size_kb": PAGE_SIZE_KB,
        "world": full_world(world),
        "initial": initial,
    }
    if seed is not None:
        head["seed"] = seed
    lines = [head]
    try:
        for op, args in ops:
            try:
                line = kernel.apply(op, args)
            except OperationRefusedError:
                if skip_refused:
                    continue
                raise
            lines.append(line)
            if watch is not None:
                watch(line)
        lines.append(kernel.end_trace())
    finally:
        if kernel.tracing:
            kernel.close()
    return lines


def replay_trace(kernel: LiveKernel, lines: list[Json]) -> list[Json]:
    """Record again what `lines` (a whole trace) did: same head, world and operations.

    Numbers that are missing in the trace are skipped here as well, because a write stores them.
    Raises what `LiveKernel` raises, and `OperationRefusedError` for a trace that is not one.
    """
    if len(lines) < 2 or lines[0].get("format") != FORMAT or "end" not in lines[-1]:
        msg = f"record: not a whole trace of format {FORMAT}: give head, operations and tail"
        raise OperationRefusedError(msg)
    head = lines[0]
    ops: list[Operation] = []
    for line in lines[1:-1]:
        while len(ops) + 1 < line["i"]:
            ops.append(("refused", {}))
        ops.append((line["op"], line["args"]))
    return record_trace(
        kernel,
        head["name"],
        head["kind"],
        head["about"],
        head.get("seed"),
        head["world"],
        ops,
        skip_refused=True,
    )


def dump(lines: Iterable[Json]) -> str:
    """Return the trace as text: one JSON object a line, without spaces."""
    return "".join(
        json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines
    )


def load(text: str) -> list[Json]:
    """Return the lines of a trace. Raises `ValueError` for what is not JSON."""
    return [json.loads(line) for line in text.splitlines() if line]
