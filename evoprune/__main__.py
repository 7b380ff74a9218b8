"""`python -m evoprune` is `evoprune`."""

import sys

from evoprune.shell.cli import main

if __name__ == "__main__":
    sys.exit(main())
