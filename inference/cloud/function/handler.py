"""What AWS Lambda calls.

The bundle is read when this is imported, in the phase that Lambda gives a whole processor; so are the cuts compiled
that HYBRID_BATCH_CUTS names (`c000,c017`), and all others when first asked for.
"""

import os
from typing import Any

from hybrid_batch.inference.cloud.function.lambda_app import Function

_FUNCTION = Function.of(os.environ)


def handle(event: object, context: object) -> dict[str, Any]:
    """The result of an event; see Function.handle."""
    return _FUNCTION.handle(event)
