"""`python -m atlas_core` is the command `atlas`."""

import sys

from atlas_core.cli import main

sys.exit(main())
