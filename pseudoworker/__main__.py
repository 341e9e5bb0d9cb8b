"""`python -m pseudoworker`."""

import sys

from pseudoworker.cli import main

if __name__ == "__main__":
    sys.exit(main())
