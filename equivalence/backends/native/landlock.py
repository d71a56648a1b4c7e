"""Confines a child by landlock and a network namespace of its own: where bubblewrap does not work.

Weaker than bubblewrap: the child sees the names of all files and all processes, but opens none
besides what it is given. Everything here is done between fork and exec, by system calls alone.
"""

from __future__ import annotations

import ctypes
import functools
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_NO_NEW_PRIVS: Final = 38
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000

_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
#: All rights on files that a version of landlock knows.
_KNOWN: Final = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_NET: Final = 0b11
_SCOPES: Final = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def version() -> int:
    """The version of landlock that the kernel has; 0 if it has none."""
    found = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    return max(int(found), 0)


@functools.cache
def own_network() -> bool:
    """Whether a process may give itself a network namespace, in which there is nothing."""
    child = os.fork()
    if child == 0:
        os._exit(0 if _libc().unshare(_NEW_USER | _NEW_NET) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0


def enter(*, read: Sequence[Path], write: Sequence[Path], network: bool) -> None:
    """Confine the calling process for good: it reads and executes ``read``, and writes ``write``.

    ``network`` tells whether to leave the network too, as :func:`own_network` said is possible.

    Raises:
        OSError: the kernel refuses.
    """
    if network and _libc().unshare(_NEW_USER | _NEW_NET):
        raise OSError(ctypes.get_errno(), "unshare")
    abi = version()
    known = _KNOWN[min(abi, max(_KNOWN))]
    rules = _Ruleset(known, _NET if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _call(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    for paths, rights in ((read, _EXECUTE | _READ | _LIST), (write, known)):
        for path in paths:
            _allow(ruleset, path, rights & known)
    if _libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(os.fstat(opened).st_mode):
        rights &= _EXECUTE | _READ | _WRITE | _TRUNCATE
    rule = _Beneath(rights, opened)
    _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(opened)


def _call(number: int, *words: object) -> int:
    done = _libc().syscall(number, *words)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return int(done)
