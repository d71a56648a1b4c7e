"""What can go wrong while recording; all derive from `RecorderError`.

::

    RecorderError
     +- MissingPartError       qemu, the kernel image, the compiler or its static libc is not there
     +- OperationRefusedError  an operation that names something unknown; the kernel never saw it
     +- GuestDiedError         the machine ended, or its kernel crashed
      +- GuestHungError        it did not answer in time; it was ended
     +- UnsettledError         the counters still changed 10 ms after an operation had returned
"""

from __future__ import annotations


class RecorderError(Exception):
    """Recording could not go on. `str()` is one message fit for the user."""


class MissingPartError(RecorderError):
    """A part that the recorder needs is not on this machine; the message tells how to get it."""


class OperationRefusedError(RecorderError):
    """An operation with an unknown name or a value out of range: it was not sent to the kernel."""


class GuestDiedError(RecorderError):
    """The recorder's machine ended by itself; the message carries its last console lines."""


class GuestHungError(GuestDiedError):
    """The recorder's machine did not answer within its time and was ended."""


class UnsettledError(RecorderError):
    """The counters changed after the last operation had returned: the recording is worthless."""
