"""Measurements of speed; never in the wheel."""
