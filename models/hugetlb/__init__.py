"""Structures of HugeTLB and the functions that no built-in series touches, ported once."""
