"""Profiles in the user's cache: measured when missing, reused while valid.

A profile belongs to a bundle, a machine, a runtime, a tail and an octave of image file sizes, because the cost of
uploads depends on it. It is measured again when the file is not readable, when the available cores or the batch sizes
changed, and when the whole model on one image takes 1.25 times longer or shorter than in the profile (in the tail 1.5
times), and by at least 0.2 ms: the load, the CPU frequency or the server at the address changed. A profile of the last
ten minutes is kept even then, with a message: on a busy machine every measurement differs. The link changes within
hours, so it is measured whenever a profile is opened with a tail.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hybrid_batch.data.errors import StorageFailed
from hybrid_batch.inference.model.cache import cache_folder, write_cache_file
from hybrid_batch.inference.model.cuts import INPUT_CUT
from hybrid_batch.inference.model.runtimes import compile_tail
from hybrid_batch.inference.planner.profile.device import count_cores, find_device
from hybrid_batch.inference.planner.profile.local_profiler import WHOLE_MODEL_BATCH, measure_local, measure_whole_us
from hybrid_batch.inference.planner.profile.profile import ImageStats, Profile
from hybrid_batch.inference.planner.profile.remote_profiler import measure_link, measure_remote, measure_remote_whole_us
from hybrid_batch.inference.planner.profile.run_overhead import measure_run_overhead
from hybrid_batch.inference.planner.profile.sample import ImageSample, take_sample
from hybrid_batch.inference.planner.profile.target import ProfileTarget
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.tails import Tail

BUDGET_S = 40.0
_CHANGED, _TAIL_CHANGED, _CHANGED_US = 1.25, 1.5, 200.0  # the tail's factor is larger: it may have other clients
_RECENT_S = 600.0  # a profile of this age is not measured again because of its speed: the load varies
_WINDOWS, _WINDOW_S = 8, 0.06


def open_profile(
    target: ProfileTarget, notify: Callable[[str], None], *, budget_s: float = BUDGET_S, remeasure: bool = False
) -> Profile:
    """Read the profile from the cache if it is still valid, else measure it in about `budget_s`.

    `notify` receives a line for the user before a measurement, and the reason for a repeated one. Raises
    TailUnreachable, BundleMismatch, TailRefused."""
    if target.tail is not None:
        target.tail.check(INPUT_CUT)  # before time is spent on this machine; also fetches frame size and codecs
        if missing := [name for name in codecs.list_wire_codecs() if name not in target.tail.codecs]:
            notify(f"{target.address} does not decode {', '.join(missing)}; update the tail to plan with all codecs.")
    sample = take_sample(target.bundle.preprocessing, target.images)
    if sample.stats.made_up and target.images is not None:
        notify(f"No sampled image is readable, so a made-up one of {sample.stats.bytes / 1000:.0f} kB is measured.")
    path = profile_path(target, sample.stats)
    profile = None if remeasure else _read_valid(path, target, sample, notify)
    if profile is None:
        places = f"this machine and {target.address}" if target.tail else "this machine"
        notify(f"Measuring {target.bundle.name} on {places}; later runs use the cached profile …")
        profile = measure_profile(target, sample, budget_s)
        with suppress(StorageFailed):  # without a cache the next run measures again
            write_cache_file(path, json.dumps(profile.to_dict()))
        return profile
    profile = replace(profile, images=sample.stats)
    if target.tail is not None and profile.tail is not None:
        tail = replace(
            profile.tail,
            link=measure_link(target.bundle, target.tail),
            max_frame_bytes=target.tail.max_frame_bytes,
            decodes_calibrated=codecs.CALIBRATED in target.tail.codecs,
        )
        shared = {name: profile.codecs[name] for name in shared_codecs(target.tail)}
        profile = replace(profile, codecs=shared, tail=tail)
    return profile


def measure_profile(target: ProfileTarget, sample: ImageSample, budget_s: float = BUDGET_S) -> Profile:
    """Measure this machine, and the tail and the link if the target has a tail, in about `budget_s`."""
    local = measure_local(target, sample, shared_codecs(target.tail), budget_s / 2)
    device = find_device()
    predicted_us = {
        batch: curve.points[-1][1] + sample.stats.decode_us / device.cores for batch, curve in local.head_times.items()
    }
    profile = Profile(
        bundle=target.bundle.sha256,
        runtime=target.runtime.name,
        device=device,
        images=sample.stats,
        times=local.head_times,
        codecs=local.codecs,
        run_us=measure_run_overhead(target, sample, predicted_us) if budget_s else {},
        measured_at=time.time(),
    )
    if target.tail is None:
        return profile
    return _add_tail(profile, target, target.tail, sample, budget_s / 2)


def shared_codecs(tail: Tail | None) -> list[str]:
    """The codecs for tensors that this version and the tail both have; all without a tail."""
    return [name for name in codecs.TENSOR_CODECS if tail is None or name in tail.codecs]


def profile_path(target: ProfileTarget, stats: ImageStats) -> Path:
    """The path of the profile in the cache."""
    device = find_device()
    octave = str(round(math.log2(stats.bytes)))
    key = [target.bundle.sha256, target.runtime.name, device.name, device.processor]
    key += [octave, target.address if target.tail is not None else ""]
    return cache_folder("profiles") / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"


def _add_tail(profile: Profile, target: ProfileTarget, tail: Tail, sample: ImageSample, budget_s: float) -> Profile:
    whole = compile_tail(target.runtime, target.bundle, target.bundle.input_cut)

    def time_whole_model() -> float:
        """µs per image, the least over several windows, because load of other processes comes in bursts."""
        windows = []
        for _ in range(_WINDOWS):
            start, calls = time.perf_counter(), 0
            while time.perf_counter() - start < _WINDOW_S:
                whole([sample.pixels[:1]])
                calls += 1
            windows.append((time.perf_counter() - start) * 1e6 / calls)
        return min(windows)

    remote = measure_remote(target, tail, sample.files, [*profile.codecs], time_whole_model, budget_s=budget_s)
    costs = {}
    for name, cost in profile.codecs.items():
        element_us, frame_us = remote.decode_us[name]
        costs[name] = replace(cost, decode_us=element_us, decode_frame_us=frame_us)
    return replace(profile, codecs=costs, tail=remote.tail)


def _read_valid(
    path: Path, target: ProfileTarget, sample: ImageSample, notify: Callable[[str], None]
) -> Profile | None:
    """The cached profile; None if it is missing, or if it is not valid, with the reason to `notify`."""
    try:
        profile = Profile.from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        notify(f"The cached profile {path} is not readable ({cause}); measuring again.")
        return None
    if not profile.codecs.keys() >= set(shared_codecs(target.tail)):
        notify("The cached profile lacks new codecs; measuring again.")
        return None
    if tuple(profile.times) != target.batches or profile.device.cores != count_cores():
        notify(
            f"The cached profile has batch sizes {[*profile.times]} and {profile.device.cores} as the number of cores, "
            f"this run {[*target.batches]} and {count_cores()}; measuring again."
        )
        return None
    return profile if _is_as_fast(profile, target, sample, notify) else None


def _is_as_fast(profile: Profile, target: ProfileTarget, sample: ImageSample, notify: Callable[[str], None]) -> bool:
    """Whether this machine and the tail still take the profile's times; if not, the difference to `notify`.

    A tail whose reported times were implausible when it was measured is not compared."""
    bundle, tail = target.bundle, target.tail
    pairs = [("This machine", _CHANGED, profile.times, measure_whole_us(bundle, target.runtime, sample))]
    if tail is not None and profile.tail is not None and not profile.tail.notes:
        pairs.append((target.address, _TAIL_CHANGED, profile.tail.times, measure_remote_whole_us(bundle, tail)))
    for name, factor, times, now_us in pairs:
        cached_us = times[WHOLE_MODEL_BATCH].points[-1][1]
        if abs(now_us - cached_us) > _CHANGED_US and not 1 / factor <= now_us / max(cached_us, 1e-3) <= factor:
            change = f"{now_us / 1000:.2f} ms per image ({cached_us / 1000:.2f} ms in the cached profile)"
            if time.time() - profile.measured_at < _RECENT_S:
                notify(
                    f"{name} now takes {change}, which is minutes old: the load varies, so the plan is a guess; "
                    "`hybrid-batch profile --remeasure` measures again."
                )
                return True
            notify(f"{name} now takes {change}; measuring again.")
            return False
    return True
