"""The tails of one bundle as a Lambda function, which handles HTTP events and S3 events."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from hybrid_batch import data
from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.cloud.function import http_event as http
from hybrid_batch.inference.cloud.function.s3_event import answer_images, decode_s3_event, is_s3_event
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.runtimes import open_runtime
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving.replies import HttpError, error_reply
from hybrid_batch.inference.serving.request_handler import Limits, RequestHandler
from hybrid_batch.inference.serving.segment_cache import DEFAULT_COMPILED_BYTES

BUNDLE, CUTS, SPILL = "HYBRID_BATCH_BUNDLE", "HYBRID_BATCH_CUTS", "HYBRID_BATCH_SPILL"
_ADVICE = "use a smaller --batch-size, or --spill s3://… on both sides"


class LambdaApp:
    """The tails of the bundle at `path`: of `cuts`, which are compiled on construction, or of all if it is empty.
    Compiled tails hold half of `memory_bytes`. `spill` is an S3 prefix for large bodies, None to refuse them. Raises
    NotABundle, CutNotFound."""

    def __init__(
        self, path: Path, cuts: list[str], spill: str | None, memory_bytes: int = 2 * DEFAULT_COMPILED_BYTES
    ) -> None:
        bundle = read_bundle(path)
        # Not cached: the disk is read-only, and compiled code is of no use to other machines.
        runtime = open_runtime("openvino", bundle, cached=False)
        self._spill = Spill(spill) if spill else None
        limits = Limits(
            announced_bytes=http.MAX_BODY_BYTES, compiled_bytes=min(DEFAULT_COMPILED_BYTES, memory_bytes // 2)
        )
        self._handler = RequestHandler(bundle, runtime, limits, self._spill, cuts=cuts)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The app with the settings in environment variables. The default bundle is the folder `bundle` beside the
        code."""
        default = Path(data.__file__).parents[2] / "bundle"
        cuts = [cut.strip() for cut in environment.get(CUTS, "").split(",") if cut.strip()]
        memory = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        memory_bytes = int(memory) << 20 if memory.isdecimal() else 2 * DEFAULT_COMPILED_BYTES
        return cls(Path(environment.get(BUNDLE) or default), cuts, environment.get(SPILL) or None, memory_bytes)

    def handle(self, event: object) -> dict[str, Any]:
        """Handle an event and return its result. Errors of HTTP events become replies; otherwise raises InvalidFrame,
        WrongUsage, StorageFailed."""
        if http.is_http_event(event):
            return http.encode_result(self._answer(event))
        if is_s3_event(event):
            return {"replies": answer_images(self._handler, decode_s3_event(event))}
        kind = f"an event with {', '.join(map(repr, list(event)[:5]))}" if isinstance(event, dict) else repr(event)[:40]
        raise WrongUsage(
            f"This function handles events of payload format 2.0 and of S3, not {kind}; use it as the tail of "
            "`hybrid-batch run`."
        )

    def _answer(self, event: Mapping[str, Any]) -> Reply:
        try:
            request = http.decode_event(event)
            return self._within_limit(self._handler.handle(request), request)
        except Exception as error:
            return error_reply(error)

    def _within_limit(self, reply: Reply, request: Request) -> Reply:
        """The reply, with its body in S3 if it exceeds Lambda's limit. Raises HttpError without a spill."""
        size = http.result_bytes(reply)
        if size <= http.MAX_PAYLOAD_BYTES:
            return reply
        if self._spill is None:
            raise HttpError(413, f"The reply has {size} bytes and Lambda allows {http.MAX_PAYLOAD_BYTES}; {_ADVICE}.")
        return self._spill.put_reply(reply, request)
