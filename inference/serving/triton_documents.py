"""Documents of Triton's extensions of the protocol: model repository index, model configuration, statistics.

https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_batch.inference.model.bundle import Bundle
from hybrid_batch.inference.model.cuts import Cut, TensorSpec
from hybrid_batch.inference.serving.monitoring.metric_layout import CutTotal
from hybrid_batch.inference.serving.oip import describe_input

_NS = 1_000_000_000


def describe_index(bundle: Bundle, cuts: Sequence[Cut]) -> list[dict[str, str]]:
    """The repository index: one entry for each served cut. Every cut is ready, because it is compiled on demand."""
    return [{"name": bundle.name, "version": cut.id, "state": "READY", "reason": ""} for cut in cuts]


def describe_config(bundle: Bundle, cut: Cut, runtime: str, max_batch: int) -> dict[str, Any]:
    """The model configuration of a cut, with the class names as `labels`, a JSON list in a parameter."""
    values = {**describe_input(bundle), "labels": json.dumps(bundle.labels, ensure_ascii=False)}
    return {
        "name": bundle.name,
        "platform": f"hybrid_batch_{runtime}",
        "backend": "hybrid_batch",
        "version_policy": {"all": {}},
        "max_batch_size": max_batch,
        "input": [_describe_tensor(tensor, tensor.datatype) for tensor in cut.boundary],
        "output": [_describe_tensor(bundle.output, "FP32")],
        "dynamic_batching": {},
        "parameters": {name: {"string_value": str(value)} for name, value in values.items()},
    }


def describe_statistics(name: str, counts: Mapping[str, Mapping[CutTotal, float]]) -> dict[str, Any]:
    """The statistics of cuts of the model `name`, from their counts by id. Durations are sums in nanoseconds."""
    return {"model_stats": [_describe_counts(name, cut_id, found) for cut_id, found in counts.items()]}


def _describe_counts(name: str, cut_id: str, found: Mapping[CutTotal, float]) -> dict[str, Any]:
    successes, failures = int(found[CutTotal.SUCCESSES]), int(found[CutTotal.FAILURES])
    return {
        "name": name,
        "version": cut_id,
        "last_inference": int(found[CutTotal.LAST_AT_S] * 1000),
        "inference_count": int(found[CutTotal.IMAGES]),
        "execution_count": int(found[CutTotal.EXECUTIONS]),
        "inference_stats": {
            "success": _describe_duration(successes, found[CutTotal.SUCCESS_S]),
            "fail": _describe_duration(failures, found[CutTotal.FAILURE_S]),
            "queue": _describe_duration(successes, found[CutTotal.QUEUE_S]),
            "compute_input": _describe_duration(successes, found[CutTotal.DECODE_S]),
            "compute_infer": _describe_duration(successes, found[CutTotal.COMPUTE_S]),
            "compute_output": _describe_duration(successes, found[CutTotal.ENCODE_S]),
            "cache_hit": _describe_duration(0, 0),
            "cache_miss": _describe_duration(0, 0),
        },
        "batch_stats": [],
    }


def _describe_duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * _NS)}


def _describe_tensor(tensor: TensorSpec, datatype: str) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": f"TYPE_{datatype}", "dims": list(tensor.shape)}
