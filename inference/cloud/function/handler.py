"""The handler of the Lambda function.

Importing this module reads the bundle and compiles the cuts in HYBRID_BATCH_CUTS (`c000,c017`), because Lambda gives
imports a whole core. If it is empty, all cuts are served, and each is compiled at its first request.
"""

import os
from typing import Any

from hybrid_batch.inference.cloud.function.lambda_app import LambdaApp

_APP = LambdaApp.from_environment(os.environ)


def handle(event: object, context: object) -> dict[str, Any]:
    """Handle an event; see LambdaApp.handle."""
    return _APP.handle(event)
