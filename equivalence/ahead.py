"""Draws operations before the outcomes of those before them are known, and runs them in one call.

Asking two processes what one operation did takes longer than running ten. So a few operations are
drawn as if each succeeded; when they have run, the generator goes back and sees what they really
did. Operations are legal in any state, so a wrong guess makes an operation that fails, never one
that cannot be run.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from equivalence.search import Session
from equivalence.subject import Ahead, Generator
from models.schema.outcome import OK
from models.schema.trace import Op

#: Operations drawn at a time: with eight, two in three succeed, as against seven in ten.
AHEAD: Final = 8


class Drawer:
    """Draws and runs the operations of one trace."""

    def __init__(self, session: Session, generator: Generator) -> None:
        self._session = session
        self._generator = generator
        self._ahead = generator if session.ahead and isinstance(generator, Ahead) else None
        self._drawn: list[Op] = []
        self._mark: object = None

    def draw(self, rng: Random, kind: str | None = None) -> bool:
        """Draw one operation, and run it with those before it; False when the trace is over."""
        generator = self._generator
        if self._ahead is None:
            op = generator.op(rng, kind)
            going = self._session.step(op)
            if going:
                generator.saw(op, self._session.outcome)
            return going
        if not self._drawn:
            self._mark = self._ahead.mark()
        op = generator.op(rng, kind)
        generator.saw(op, OK)
        self._drawn.append(op)
        return len(self._drawn) < AHEAD or self.run()

    def run(self, planned: Sequence[Op] = ()) -> bool:
        """Run what is drawn and then what is planned; False when the trace is over."""
        ops = [*self._drawn, *planned]
        if not ops:
            return self._session.going
        if self._drawn and self._ahead is not None:
            self._ahead.back(self._mark)
            self._drawn = []
        for op, outcome in zip(ops, self._session.steps(ops), strict=False):
            self._generator.saw(op, outcome)
        return self._session.going
