"""The command line ``python -m bookkit.mutants CHAPTER``."""

import sys

from bookkit.mutants.trials import main

sys.exit(main())
