"""Report writers, one per format: pure functions of a result."""
