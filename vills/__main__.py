"""`vills`, and `python -m vills`."""

import sys

from vills.cli import main

if __name__ == "__main__":
    sys.exit(main())
