"""The toy as the command line loads it: both patches change words only."""

from tests.toy import ToySubject, ToyTier, plenty, plenty_too

SUBJECT = ToySubject()
TIER = ToyTier(plenty, plenty_too, plenty)
