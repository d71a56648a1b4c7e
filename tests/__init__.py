"""Tests of equivcheck; the folders mirror the packages."""
