"""Random traces from the subject's own generator."""

from random import Random

from equivalence.subjects.hugetlb.hosted import HostedSubject
from models.schema.outcome import OK
from models.schema.trace import Op, Trace


def traces(count: int, ops: int, seed: int = 1) -> list[Trace]:
    """``count`` traces of ``ops`` operations; outcomes are guessed to be successes."""
    random = Random(seed)
    generator = HostedSubject().generator()
    made = []
    for _ in range(count):
        world = generator.world(random)
        generator.start(world)
        drawn: list[Op] = []
        for _ in range(ops):
            op = generator.op(random)
            drawn.append(op)
            generator.saw(op, OK)
        made.append(Trace("hugetlb", world, tuple(drawn)))
    return made
