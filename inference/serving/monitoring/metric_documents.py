"""The counts of a server as replies: Prometheus' scrape and Triton's statistics."""

import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus

from hybrid_batch.inference.model.cuts import Cut
from hybrid_batch.inference.protocol.transport import Reply
from hybrid_batch.inference.serving.monitoring.metrics import ServerMetrics
from hybrid_batch.inference.serving.replies import json_reply
from hybrid_batch.inference.serving.triton_documents import describe_statistics

_FRESH_S = 0.2


class MetricDocuments:
    """Replies with the counts of a server of the model `name`. For one event loop."""

    def __init__(self, name: str, metrics: ServerMetrics) -> None:
        self._name, self._metrics = name, metrics
        self._scraped: dict[str | None, tuple[float, Reply]] = {}
        self._scraping = asyncio.Lock()

    async def prometheus(self, accept: str | None) -> Reply:
        """The reply to a scrape. Scrapes that arrive together share one document."""
        openmetrics = "application/openmetrics-text"
        accept = openmetrics if openmetrics in (accept or "") else None
        async with self._scraping:
            made_at, reply = self._scraped.get(accept, (0.0, Reply(0)))
            if time.monotonic() - made_at > _FRESH_S:
                reply = await asyncio.to_thread(self._render, accept)
                self._scraped[accept] = (time.monotonic(), reply)
        return reply

    def statistics(self, cuts: Sequence[Cut]) -> Reply:
        """The statistics of cuts."""
        values = self._metrics.read()
        return json_reply(describe_statistics(self._name, {cut.id: values.cut(cut.id) for cut in cuts}))

    def _render(self, accept: str | None) -> Reply:
        from hybrid_batch.inference.serving.monitoring.exposition import render

        content, content_type = render(self._metrics.read(), accept)
        return Reply(HTTPStatus.OK, {"Content-Type": content_type}, content)
