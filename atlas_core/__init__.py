"""The engine of Atlas Studio: everything but the window."""

import os

__version__ = "0.1.0"

# Torch's threads wait for each other many times a step, by default in a busy loop. On a machine that does anything
# else meanwhile they then wait for threads that do not run, and training takes many times as long; short spinning
# costs little where nothing else runs (docs/faq.md has the figures). GNU's OpenMP reads this once, when torch is
# loaded, so it is said before anything can load torch. Who has chosen a policy of their own keeps it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
