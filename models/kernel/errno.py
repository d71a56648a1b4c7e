# Fidelity: DUP
"""Error numbers as the kernel returns them, and pointers that carry one."""

from __future__ import annotations

import errno as _errno
from typing import Final, TypeVar

from typing_extensions import TypeIs

T = TypeVar("T")

EPERM: Final = _errno.EPERM
ENOENT: Final = _errno.ENOENT
ESRCH: Final = _errno.ESRCH
EINTR: Final = _errno.EINTR
EIO: Final = _errno.EIO
ENXIO: Final = _errno.ENXIO
E2BIG: Final = _errno.E2BIG
EBADF: Final = _errno.EBADF
EAGAIN: Final = _errno.EAGAIN
ENOMEM: Final = _errno.ENOMEM
EACCES: Final = _errno.EACCES
EFAULT: Final = _errno.EFAULT
EBUSY: Final = _errno.EBUSY
EEXIST: Final = _errno.EEXIST
ENODEV: Final = _errno.ENODEV
ENOTDIR: Final = _errno.ENOTDIR
EISDIR: Final = _errno.EISDIR
EINVAL: Final = _errno.EINVAL
EFBIG: Final = _errno.EFBIG
ENOSPC: Final = _errno.ENOSPC
ERANGE: Final = _errno.ERANGE
EIDRM: Final = _errno.EIDRM
EOPNOTSUPP: Final = _errno.EOPNOTSUPP
EMLINK: Final = _errno.EMLINK
EOVERFLOW: Final = _errno.EOVERFLOW
#: Not in every version of Python.
EHWPOISON: Final = 133
#: Internal to the kernel: look the folio up again.
ENOTSUPP: Final = 524

#: Names of the numbers that system calls return, as outcomes write them.
ERRNO_NAMES: Final[dict[int, str]] = {
    value: name for name, value in globals().items() if name.startswith("E") and name.isupper()
}


def IS_ERR(pointer: T | int) -> TypeIs[int]:
    """Whether a returned pointer carries a negative error number instead (include/linux/err.h).

    A pointer that carries an error is a plain negative integer here: ``ERR_PTR(-ENOMEM)`` in C is
    ``-ENOMEM``, ``PTR_ERR(p)`` is ``p`` itself.
    """
    return isinstance(pointer, int)
