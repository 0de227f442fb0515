"""`python -m repedge`: the same as the command `repedge`."""

from __future__ import annotations

import sys

from repedge.cli import main

if __name__ == "__main__":
    sys.exit(main())
