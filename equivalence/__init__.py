"""The checker: contracts, search, verdicts, and the command line."""
