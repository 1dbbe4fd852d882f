"""`python -m cvtl` is the command `cvtl`, for whoever has to name a module: torchrun does."""

import sys

from cvtl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
