"""The host side of the lab: set-up, start, stop, impairment, diagnosis. Standard library only."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        f"The lab needs Python 3.11 or later; this is {sys.version.split()[0]} ({sys.executable}).\n"
        "way out: install a newer one and name it: make up PYTHON=python3.11"
    )
