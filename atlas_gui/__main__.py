"""`python -m atlas_gui` does what `atlas-studio` does."""

import sys

from atlas_gui.app import main

sys.exit(main())
