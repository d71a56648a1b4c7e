"""What can go wrong while a kernel tree is hosted: one message each, for the user to act on."""

from __future__ import annotations


class NativeError(Exception):
    """Base of all errors of the native tier: what was found, what was expected, what to do."""


class MachineError(NativeError):
    """The machine lacks something, whatever tree and series it is given."""


class ToolMissingError(MachineError):
    """A program that building needs is not installed."""


class CacheError(MachineError):
    """The cache cannot be written: no rights, or no space."""


class TreeError(NativeError):
    """The folder is no kernel tree, or one of a kind that cannot be hosted."""


class BuildError(NativeError):
    """The tree does not compile or link; ``log`` holds the compiler's own words.

    ``where`` names the file of the tree, or the symbol, that stopped the build.
    """

    def __init__(self, message: str, *, where: str = "", log: str = "") -> None:
        super().__init__(message)
        self.where = where
        self.log = log


class SeriesError(NativeError):
    """A patch series that cannot be read, applied or accounted for."""


class WorkerError(NativeError):
    """The worker process broke its protocol: always our bug or the machine's."""
