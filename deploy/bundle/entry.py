"""What the single-file program runs: the command it is called by."""

import sys

from cachewarmer.cli.main import multicall

if __name__ == "__main__":
    sys.exit(multicall())
