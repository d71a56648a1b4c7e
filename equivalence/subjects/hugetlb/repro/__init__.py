"""Reproducers of a trace: a C program for a real kernel, and a test on the ports."""
