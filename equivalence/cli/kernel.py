"""A real kernel for commands that ask one: options, and errors as one message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from equivalence.cli import consoles
from equivalence.cli.errors import OUR_ERROR, InputError
from equivalence.cli.options import PATH
from equivalence.subjects.hugetlb import recorder

kernel_option = click.option(
    "--kernel",
    type=PATH,
    metavar="BZIMAGE",
    help="The kernel image to boot.  [default: Debian's package of the recorded release]",
)


class KernelError(click.ClickException):
    """The kernel cannot be asked: something is not installed, or the guest did not live."""

    exit_code = OUR_ERROR


@contextmanager
def booted(kernel: Path | None) -> Iterator[recorder.LiveKernel]:
    """A kernel that boots when it is first asked and ends with the command, however it ends.

    Raises:
        KernelError: a part is missing (the message says how to get it), or the guest failed.
        InputError: an operation or a world that the recorder cannot make.
    """
    if kernel is not None and not kernel.is_file():
        msg = f"--kernel {kernel}: there is no such file; give the path of a bzImage (vmlinuz)"
        raise InputError(msg)
    live = recorder.LiveKernel(kernel=kernel)
    try:
        with consoles.err().status("booting the kernel"):
            live.boot()
        yield live
    except recorder.OperationRefusedError as error:
        raise InputError(str(error)) from error
    except recorder.RecorderError as error:
        raise KernelError(str(error)) from error
    finally:
        live.close()
