"""`python -m hybrid_batch`: the `hybrid-batch` command."""

import sys

from hybrid_batch.cli import main

sys.exit(main())
