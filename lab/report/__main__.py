"""``python -m lab.report [NAME or FOLDER]``."""

import sys

from lab.report import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
