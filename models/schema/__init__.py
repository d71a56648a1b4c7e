"""Data that the engine, the subjects and the report writers share. Imports nothing of ours."""
