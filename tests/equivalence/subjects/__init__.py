"""Tests of what can be checked."""
