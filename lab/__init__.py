"""The host side of the lab: set-up, start, stop, impairment, diagnosis. Standard library only."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (this is what tells the user of an older one)
    sys.exit(
        f"The lab needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}.\n"
        "way out: install a newer one and name it: make up PYTHON=python3.11"
    )
