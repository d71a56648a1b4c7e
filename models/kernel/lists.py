# Fidelity: DUP
"""Doubly linked lists that thread through their entries (include/linux/list.h)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class ListHead(Generic[T]):
    """A list's head, or the link inside an entry; ``entry`` is what a link belongs to."""

    __slots__ = ("entry", "next", "prev")

    next: ListHead[T]
    prev: ListHead[T]

    def __init__(self, entry: T | None = None) -> None:
        self.entry = entry
        self.next = self
        self.prev = self


def INIT_LIST_HEAD(head: ListHead[T]) -> None:
    """Make ``head`` an empty list."""
    head.next = head
    head.prev = head


def _link(new: ListHead[T], prev: ListHead[T], following: ListHead[T]) -> None:
    following.prev = new
    new.next = following
    new.prev = prev
    prev.next = new


def list_add(new: ListHead[T], head: ListHead[T]) -> None:
    """Insert ``new`` right after ``head``: at the front of the list."""
    _link(new, head, head.next)


def list_add_tail(new: ListHead[T], head: ListHead[T]) -> None:
    """Insert ``new`` right before ``head``: at the end of the list."""
    _link(new, head.prev, head)


def list_del(entry: ListHead[T]) -> None:
    """Take ``entry`` out; its own links point to itself afterwards (the kernel poisons them)."""
    entry.prev.next = entry.next
    entry.next.prev = entry.prev
    entry.next = entry
    entry.prev = entry


list_del_init = list_del


def list_move(entry: ListHead[T], head: ListHead[T]) -> None:
    """Take ``entry`` out of its list and put it at the front of ``head``."""
    list_del(entry)
    list_add(entry, head)


def list_move_tail(entry: ListHead[T], head: ListHead[T]) -> None:
    """Take ``entry`` out of its list and put it at the end of ``head``."""
    list_del(entry)
    list_add_tail(entry, head)


def list_empty(head: ListHead[T]) -> bool:
    """Whether nothing is on the list."""
    return head.next is head


def list_splice_init(source: ListHead[T], head: ListHead[T]) -> None:
    """Move all entries of ``source`` to the front of ``head``, in their order."""
    if source.next is source:
        return
    first, last, at = source.next, source.prev, head.next
    first.prev = head
    head.next = first
    last.next = at
    at.prev = last
    INIT_LIST_HEAD(source)


def list_splice_tail_init(source: ListHead[T], head: ListHead[T]) -> None:
    """Move all entries of ``source`` to the end of ``head``, in their order."""
    list_splice_init(source, head.prev)


def list_first_entry(head: ListHead[T]) -> T:
    """The first entry of a list that is not empty."""
    return cast("T", head.next.entry)


def list_first_entry_or_null(head: ListHead[T]) -> T | None:
    """The first entry, or None."""
    return head.next.entry


def list_entries(head: ListHead[T]) -> Iterator[T]:
    """Each entry, front to back; the entry just returned may be taken out (the _safe walks)."""
    link = head.next
    while link is not head:
        following = link.next
        yield cast("T", link.entry)
        link = following
