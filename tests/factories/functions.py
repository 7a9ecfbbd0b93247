"""Lambda functions in the local AWS, defined by a few lines of code that can import the product."""

import io
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "data" / "digits" / "digits.bundle"
ROLE = "arn:aws:iam::000000000000:role/test"
TAIL = "from hybrid_batch.inference.cloud.function.handler import handle"


def make_function(code: str = TAIL, *, timeout_s: int = 60, **variables: str) -> str:
    """Create a function whose `handle` the code defines, by default the tail of the sample model; returns its name."""
    name, packed = f"test-{uuid.uuid4().hex[:12]}", io.BytesIO()
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("entry.py", f"import sys\nsys.path[:0] = {paths!r}\n{code}\n")
    client: Any = boto3.client("lambda")
    client.create_function(
        FunctionName=name,
        Runtime="python3.11",
        Role=ROLE,
        Handler="entry.handle",
        Code={"ZipFile": packed.getvalue()},
        Timeout=timeout_s,
        MemorySize=1024,
        Environment={"Variables": {"HYBRID_BATCH_BUNDLE": str(BUNDLE), **variables}},
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    return name
