"""The simulator, what it finds, and the same faults on real processes."""
