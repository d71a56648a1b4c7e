"""What a tree that cannot be hosted lacks, and where in the shim it belongs."""

from __future__ import annotations

import re
from typing import Final

from equivalence.backends.native.build import NativeImage
from equivalence.backends.native.definitions import definition_of
from equivalence.backends.native.errors import BuildError, WorkerError
from equivalence.backends.native.neighbours import absent
from equivalence.backends.native.places import Places
from equivalence.backends.native.worker import Worker

_STOPPED: Final = re.compile(r"stopped while booting: (.*?)\n((?:[0-9a-f]{16}\n?)*)", re.DOTALL)
_WARNED: Final = re.compile(r"^WARN while booting: (.*)$", re.MULTILINE)


def check_boot(image: NativeImage) -> None:
    """Start the image once: a tree whose code does not even boot cannot be hosted.

    Raises:
        BuildError: names what it met, who called it, and where in the shim it belongs.
    """
    try:
        Worker(str(image.path)).close()
    except WorkerError as error:
        raise BuildError(_explained(image, str(error)), where="boot", log=str(error)) from None


def _explained(image: NativeImage, said: str) -> str:
    match = _STOPPED.search(said)
    if match is None:
        return f"its code does not boot: {said[-300:]}"
    what = match[1].strip()
    frames = [int(word, 16) for word in match[2].split()]
    place = Places(image.path).blame([frame for frame in frames if frame])
    by = f" in {place}" if place is not None else ""
    if what in image.unmodelled:
        file = definition_of(image.tree, what)
        defined = f" (it is in {file})" if file is not None else ""
        return (
            f"while booting, {what}() is called{by}, which nothing that is linked defines{defined}"
            f"{absent(image.tree)}: add the file that defines it to neighbours.py, or model it in "
            "the shim's env.c, or in quiet.c if doing nothing and answering 0 is right"
        )
    warned = _WARNED.findall(said)
    before = f" (after the warning {warned[0].strip()})" if warned else ""
    return (
        f"its code stops while booting: {what}{by}{before}{absent(image.tree)}; the shim's driver.c"
        " and env.c set up what this version needs"
    )
