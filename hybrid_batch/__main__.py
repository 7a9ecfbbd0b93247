"""`python -m hybrid_batch`: the `hybrid-batch` command.

Python puts the working folder first on the path of modules. It is removed before the program imports anything else,
unless this package is in it: a module of a stranger's folder must not take the place of a library.
"""

import sys
from pathlib import Path

if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).absolute().parent.parent:
    del sys.path[0]

from hybrid_batch.cli import main

sys.exit(main())
