"""What the engine costs and what it reaches, measured and never asserted: `python -m tests.benchmarks`."""
