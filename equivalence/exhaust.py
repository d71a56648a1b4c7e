"""The exhaustive search of one pair: its small worlds, one after the other."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from equivalence.campaign import Config, Found, Replays
from equivalence.checkpoint import load_checkpoint, save_checkpoint
from equivalence.events import ExploreProgress, OnEvent, PairName
from equivalence.explorer import Exploration, Exploring, SmallWorld, explore
from equivalence.jobs import Pool, Stop
from models.schema.result import SearchEvidence


def explore_pair(
    pool: Pool,
    config: Config,
    name: PairName,
    replays: Replays,
    known: frozenset[str],
    deadline: float | None,
    stop: Stop,
    on_event: OnEvent,
) -> Found:
    """Explore the configured worlds for one pair; ``replays`` have no part in it.

    Raises:
        CheckpointError: a checkpoint cannot be read, written, or gone on with.
    """
    found = Found(states=0)
    steps = name.before, name.after

    def stopped() -> bool:
        return bool(stop) or (deadline is not None and time.monotonic() > deadline)

    def tell(event: Exploring) -> None:
        on_event(ExploreProgress(name, event))

    for small in config.worlds:
        path = _checkpoint(config, name, small)
        exploration = Exploration(small)
        if path is not None and path.exists():
            load_checkpoint(path, exploration, config.relation, steps)
        save = partial(save_checkpoint, path, relation=config.relation, steps=steps)
        explore(pool, steps, exploration, config.bounds, stopped, tell, save, known)
        _take(found, exploration)
        if exploration.findings.over:
            break
        if exploration.interrupted:
            found.cut_short = "interrupted" if stop else "the time limit was reached"
            break
    found.budget = found.findings.ops
    return found


def _take(found: Found, exploration: Exploration) -> None:
    assert found.states is not None
    small = exploration.small
    exploration.findings.novel.clear()
    found.findings.add(exploration.findings)
    found.states += exploration.states
    found.bounds[small.name] = exploration.bound
    found.searches[f"explorer, world {small.name}"] = SearchEvidence(
        name=f"explorer, world {small.name}", ops=exploration.transitions, traces=exploration.states
    )
    for row, trace in exploration.reached.items():
        found.reached.setdefault(row, trace)


def _checkpoint(config: Config, name: PairName, small: SmallWorld) -> Path | None:
    if config.checkpoints is None:
        return None
    return config.checkpoints / f"{small.name}-{name.before}-{name.after}.json"
