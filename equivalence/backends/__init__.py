"""The tiers: what runs a step of a series."""
