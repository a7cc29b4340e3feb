"""Launch a sweep, look at it, collect its tables: `python sweeps/launch.py --help`."""

import sys

from vills.cli.sweep import main

if __name__ == "__main__":
    sys.exit(main())
