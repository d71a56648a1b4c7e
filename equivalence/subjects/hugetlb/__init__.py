"""HugeTLB: the only place that joins models, legacy and refactored."""
