"""``result.json``: the result itself. Every other report is made from it."""

from __future__ import annotations

from models.schema.result import Result


def write(result: Result) -> str:
    """The text of ``result.json``."""
    return result.to_json()
