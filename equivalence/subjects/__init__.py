"""The code and series that can be checked."""
