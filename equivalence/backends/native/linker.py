"""Links an image, and stands in for what neither the tree's files nor the shim define.

Only functions are stood in for, by stubs that end the operation with their name; a missing piece of
data would silently be zero, so it stops the build.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from equivalence.backends.native.cache import publish_file
from equivalence.backends.native.configure import SHIM
from equivalence.backends.native.errors import BuildError
from equivalence.backends.native.neighbours import FUNCTIONS_BY_ADDRESS

_UNDEFINED = re.compile(r"undefined reference to `([^']+)'")
#: The first definition of a name wins: hosted files, then the shim, then the neighbours.
_LINK = (
    "-z",
    "muldefs",
    "-static",
    "-nostdlib",
    "--gc-sections",
    "-z",
    "noexecstack",
    "-z",
    "norelro",
)


def link(objects: Sequence[Path], roots: Sequence[str], final: Path) -> tuple[str, ...]:
    """Link ``objects`` into the executable ``final``; the names that got stubs, sorted.

    ``roots`` are kept although nothing refers to them. The first objects, whose names start with
    ``hosted_``, are those whose initcalls run.

    Raises:
        BuildError: data is missing, or the objects do not fit together.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".linking-", dir=final.parent) as name:
        scratch = Path(name)
        output = scratch / "image"
        command = ["ld", *_LINK, "-e", "nh_start", "-T", str(SHIM / "hosted.ld")]
        for root in roots:
            command += ["-u", root]
        trial = subprocess.run(
            [*command, "--noinhibit-exec", *map(str, objects), "-o", str(output)],
            capture_output=True,
            text=True,
            check=False,
        )
        missing = sorted(set(_UNDEFINED.findall(trial.stderr)))
        _refuse_data(missing, objects)
        stubs = scratch / "stubs.o"
        _assemble(missing, stubs)
        done = subprocess.run(
            [*command, *map(str, objects), str(stubs), "-o", str(output)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            first = next(iter(done.stderr.splitlines()), "no message")
            msg = f"the objects of the tree do not link: {first[:300]}"
            raise BuildError(msg, where="link", log=done.stderr)
        publish_file(output, final)
    return tuple(missing)


def _refuse_data(missing: Sequence[str], objects: Sequence[Path]) -> None:
    """Raise unless every name is called somewhere: only a call proves it to be a function."""
    if not missing:
        return
    called = _called(objects)
    data = [name for name in missing if name not in called | FUNCTIONS_BY_ADDRESS]
    if data:
        names = ", ".join(repr(name) for name in data)
        msg = (
            f"the tree refers to {names}, which no hosted or neighbouring file defines and "
            "which is not known to be a function: define it in the shim's env.c, add the file "
            "that defines it to neighbours.py, or, if it is a function, name it there"
        )
        raise BuildError(msg, where=data[0])


def _called(objects: Sequence[Path]) -> frozenset[str]:
    listing = subprocess.run(
        ["objdump", "-r", *map(str, objects)], capture_output=True, text=True, check=False
    ).stdout
    return frozenset(re.findall(r"R_X86_64_PLT32\s+([^\s+-]+)", listing))


def _assemble(names: Sequence[str], output: Path) -> None:
    """Stubs that load their own name and call the reporter."""
    lines = [".text"]
    for number, name in enumerate(names):
        lines += [
            f'.section .text.stub.{name},"ax"',
            f".globl {name}",
            f".type {name}, @function",
            f"{name}:",
            "\tpush %rbp",
            "\tmov %rsp, %rbp",
            f"\tmov $.Lname{number}, %edi",
            "\tcall nh_unmodelled",
            f".size {name}, .-{name}",
            '.section .rodata.stub,"a"',
            f'.Lname{number}: .asciz "{name}"',
        ]
    subprocess.run(
        ["gcc", "-c", "-x", "assembler", "-", "-o", str(output)],
        input="\n".join(lines) + '\n.section .note.GNU-stack,"",@progbits\n',
        text=True,
        check=True,
    )
