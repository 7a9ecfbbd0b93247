"""The tail of one bundle as a function of events: of requests over HTTP or direct, and of pictures put into S3."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import hybrid_batch
from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.cloud.function import http_event as http
from hybrid_batch.inference.cloud.function.s3_event import answer_uploads, is_upload, read_uploads
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.model.runtimes import open_engine
from hybrid_batch.inference.protocol.spill import Spill
from hybrid_batch.inference.protocol.transport import Reply, Request
from hybrid_batch.inference.serving import oip as protocol
from hybrid_batch.inference.serving.request_handler import Endpoint, Limits, refusal

BUNDLE, CUTS, SPILL = "HYBRID_BATCH_BUNDLE", "HYBRID_BATCH_CUTS", "HYBRID_BATCH_SPILL"
_ADVICE = "send fewer images at once, or give both sides a place in S3 for large bodies (--spill)"


class Function:
    """The tail of the bundle at `path`, with `cuts` compiled at once. Large bodies come and go through `spill`, a
    prefix in S3, if there is one. Raises NotABundle, CutNotFound."""

    def __init__(self, path: Path, cuts: list[str], spill: str | None) -> None:
        bundle = read_bundle(path)
        # What the engine compiles is of no use to the next machine, and the disk of this one is read-only.
        engine = open_engine("openvino", bundle, cached=False)
        self._spill = Spill(spill) if spill else None
        self._endpoint = Endpoint(bundle, engine, Limits(sent_bytes=http.MAX_BODY_BYTES), self._spill)
        for cut in cuts:
            self._endpoint.prepare(bundle.cut(cut))

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """The function that the environment's variables describe; without one of its own, the bundle lies beside the
        code."""
        beside = Path(hybrid_batch.__file__).parents[1] / "bundle"
        cuts = [cut.strip() for cut in environment.get(CUTS, "").split(",") if cut.strip()]
        return cls(Path(environment.get(BUNDLE) or beside), cuts, environment.get(SPILL) or None)

    def handle(self, event: object) -> dict[str, Any]:
        """The result of an event. Raises BadFrame, WrongUsage or StorageFailed where there is nobody to reply to."""
        if http.is_request(event):
            return http.write_reply(self._answer(event))
        if is_upload(event):
            return {"replies": answer_uploads(self._endpoint, read_uploads(event))}
        kind = f"one with {', '.join(map(repr, list(event)[:5]))}" if isinstance(event, dict) else repr(event)[:40]
        raise WrongUsage(
            f"This function answers requests of payload format 2.0 and pictures put into S3, not {kind}; "
            "use it as the tail of `hybrid-batch run`."
        )

    def _answer(self, event: Mapping[str, Any]) -> Reply:
        try:
            request = http.read_request(event)
            return self._fitting(self._endpoint.answer(request), request)
        except Exception as error:
            return refusal(error)

    def _fitting(self, reply: Reply, request: Request) -> Reply:
        """The reply, its body in S3 if Lambda would not let it pass."""
        size = http.payload_bytes(reply)
        if size <= http.MAX_PAYLOAD_BYTES:
            return reply
        if self._spill is None:
            raise protocol.Refused(
                413, f"The reply takes {size} bytes and Lambda allows {http.MAX_PAYLOAD_BYTES}; {_ADVICE}."
            )
        return self._spill.stow(reply, request)
