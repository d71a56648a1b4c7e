"""A toy made of linked functions as the command line loads it: one function is written anew."""

from tests import toy_port
from tests.toy_port import ToySubject, replacing, tier

SUBJECT = ToySubject()
TIER = tier(replacing(take=toy_port.take_twice))
