"""The toy as the command line loads it: patch 2 breaks its rule."""

from tests.toy import ToySubject, ToyTier, greedy, plenty, plenty_too

SUBJECT = ToySubject()
TIER = ToyTier(plenty, plenty_too, greedy)
