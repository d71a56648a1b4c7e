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

from equivalence.backends.native import sandbox
from equivalence.backends.native.cache import publish_file
from equivalence.backends.native.configure import SHIM
from equivalence.backends.native.definitions import definition_of
from equivalence.backends.native.errors import BuildError
from equivalence.backends.native.neighbours import FUNCTIONS_BY_ADDRESS, absent

#: How many symbols a message names.
_NAMED = 5

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


def link(objects: Sequence[Path], roots: Sequence[str], final: Path, tree: Path) -> tuple[str, ...]:
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
        # an object is what a compiler made of untrusted code: the linker is kept in as well
        read = [SHIM, objects[0].parent, *sorted({path.resolve().parents[1] for path in objects})]

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return sandbox.run([*command, *words, "-o", str(output)], read=read, write=[scratch])

        trial = run("--noinhibit-exec", *map(str, objects))
        missing = sorted(set(_UNDEFINED.findall(trial.stderr)))
        _refuse_data(missing, objects, read, tree)
        stubs = scratch / "stubs.o"
        _assemble(missing, stubs)
        done = run(*map(str, objects), str(stubs))
        if done.returncode:
            first = next(iter(done.stderr.splitlines()), "no message")
            msg = f"the objects of the tree do not link: {first[:300]}"
            raise BuildError(msg, where="link", log=done.stderr)
        publish_file(output, final)
    return tuple(missing)


def _refuse_data(
    missing: Sequence[str], objects: Sequence[Path], read: Sequence[Path], tree: Path
) -> None:
    """Raise unless every name is called somewhere: only a call proves it to be a function."""
    if not missing:
        return
    called = _called(objects, read)
    data = [name for name in missing if name not in called | FUNCTIONS_BY_ADDRESS]
    if data:
        names = [
            f"'{name}'" + (f" (defined in {file})" if (file := definition_of(tree, name)) else "")
            for name in data[:_NAMED]
        ]
        more = f" and {len(data) - _NAMED} more" if len(data) > _NAMED else ""
        msg = (
            f"the tree refers to {', '.join(names)}{more}, which no hosted or neighbouring file "
            f"defines and which is not known to be a function{absent(tree)}: define it in the "
            "shim's env.c, or in blank.c if it reads right as zero; add the file that defines it "
            "to neighbours.py; or, if it is a function, name it there"
        )
        raise BuildError(msg, where=data[0])


def _called(objects: Sequence[Path], read: Sequence[Path]) -> frozenset[str]:
    listing = sandbox.run(["objdump", "-r", *map(str, objects)], read=read).stdout
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
    source = output.with_suffix(".s")
    source.write_text("\n".join(lines) + '\n.section .note.GNU-stack,"",@progbits\n')
    done = sandbox.run(["gcc", "-c", str(source), "-o", str(output)], write=[output.parent])
    if done.returncode:
        msg = f"the stubs do not assemble: {done.stderr[:300]}"
        raise BuildError(msg, where="link", log=done.stderr)
