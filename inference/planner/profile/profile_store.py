"""Profiles in the user's cache: one for each bundle, machine, engine, tail and size of pictures (to an octave, for what
uploading them costs is part of it); made when missing, reused while true.

A profile is measured again when it cannot be read, when the cores this process may use or the batch sizes are
others, and when the whole model on one image takes 1.25 times longer or shorter than it says, in the tail 1.5 times
(and 0.2 ms): that is how a moved load or frequency shows, or another tail at the address. The link is measured at every
opening that is given a tail, for it changes by the hour.
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
from hybrid_batch.inference.model.cache import cache_folder, keep_file
from hybrid_batch.inference.model.cuts import WHOLE
from hybrid_batch.inference.model.runtimes import compile_tail
from hybrid_batch.inference.planner.profile.device import cores, find_device
from hybrid_batch.inference.planner.profile.local_profiler import WHOLE_BATCH, measure_here, whole_us
from hybrid_batch.inference.planner.profile.profile import CodecCost, Pictures, Profile
from hybrid_batch.inference.planner.profile.remote_profiler import measure_link, measure_there, whole_there_us
from hybrid_batch.inference.planner.profile.sample import Sample, take_sample
from hybrid_batch.inference.planner.profile.target import Subject
from hybrid_batch.inference.protocol import codecs
from hybrid_batch.inference.tails import Tail

BUDGET_S = 40.0
_MOVED, _TAIL_MOVED, _MOVED_US = 1.25, 1.5, 200.0  # a tail may have others to serve
_WINDOWS, _WINDOW_S = 8, 0.06
_TENSOR_CODECS = codecs.TENSOR_CODECS


def open_profile(
    subject: Subject, say: Callable[[str], None], *, budget_s: float = BUDGET_S, fresh: bool = False
) -> Profile:
    """The profile as it is now, from the cache or measured in about `budget_s`. `say` is given one line when it has
    to be measured. Raises TailUnreachable, OtherBundle, TailRefused."""
    if subject.tail is not None:
        subject.tail.check(WHOLE)  # before time is spent here; and it tells how much it takes at once
    sample = take_sample(subject.bundle.preparation, subject.images)
    place = profile_path(subject, sample.pictures)
    profile = None if fresh else _read(place, subject, say)
    if profile is None:
        say(f"Measuring {subject.bundle.name} here{f' and at {subject.address}' if subject.tail else ''}, once …")
        profile = measure(subject, sample, budget_s)
        with suppress(StorageFailed):  # a cache that cannot be written only costs the measuring
            keep_file(place, json.dumps(profile.to_dict()))
        return profile
    profile = replace(profile, pictures=sample.pictures)
    if subject.tail is not None and profile.tail is not None:
        link, room = measure_link(subject.bundle, subject.tail), subject.tail.room
        profile = replace(profile, tail=replace(profile.tail, link=link, room=room))
    return profile


def measure(subject: Subject, sample: Sample, budget_s: float = BUDGET_S) -> Profile:
    """Measure all of it now."""
    bundle = subject.bundle
    here = measure_here(subject, sample.pixels, _TENSOR_CODECS, budget_s / 2)
    profile = Profile(
        bundle=bundle.sha256,
        engine=subject.engine.name,
        device=find_device(),
        pictures=sample.pictures,
        times=here.times,
        codecs=here.codecs,
        measured_at=time.time(),
    )
    if subject.tail is None:
        return profile
    return _with_tail(profile, subject, subject.tail, sample, budget_s / 2)


def _with_tail(profile: Profile, subject: Subject, tail: Tail, sample: Sample, budget_s: float) -> Profile:
    bundle = subject.bundle
    whole = compile_tail(subject.engine, bundle, bundle.whole)

    def busy() -> float:
        windows = []
        for _ in range(_WINDOWS):
            began, calls = time.perf_counter(), 0
            while time.perf_counter() - began < _WINDOW_S:
                whole([sample.pixels[:1]])
                calls += 1
            windows.append((time.perf_counter() - began) * 1e6 / calls)
        return min(windows)  # a stranger's burst of work is over in some of them

    there = measure_there(subject, tail, sample.files, _TENSOR_CODECS, busy, budget_s=budget_s)
    costs: dict[str, CodecCost] = {
        name: replace(cost, decode_us=there.decode_us[name][0], decode_frame_us=there.decode_us[name][1])
        for name, cost in profile.codecs.items()
    }
    return replace(profile, codecs=costs, tail=there.speed)


def profile_path(subject: Subject, pictures: Pictures) -> Path:
    """Where the profile is kept."""
    device = find_device()
    octave = str(round(math.log2(pictures.bytes)))
    words = [subject.bundle.sha256, subject.engine.name, device.name, device.processor]
    words += [octave, subject.address if subject.tail is not None else ""]
    return cache_folder("profiles") / f"{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]}.json"


def _read(place: Path, subject: Subject, say: Callable[[str], None]) -> Profile | None:
    """The profile that stands, if it is still true; says why it is not."""
    try:
        profile = Profile.from_dict(json.loads(place.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        cause = getattr(error, "strerror", None) or "what it holds is no profile"
        say(f"The profile {place} cannot be used ({cause}); measuring again.")
        return None
    if not profile.codecs.keys() >= set(_TENSOR_CODECS):
        say("The profile lacks codecs that were added since; measuring again.")
        return None
    if tuple(profile.times) != subject.batches or profile.device.cores != cores():
        say(
            f"The profile is of batches {[*profile.times]} on {profile.device.cores} cores, "
            f"now it is {[*subject.batches]} on {cores()}; measuring again."
        )
        return None
    return profile if _is_as_fast(profile, subject, say) else None


def _is_as_fast(profile: Profile, subject: Subject, say: Callable[[str], None]) -> bool:
    """Whether machine and tail take as long as the profile says; says which of them does not. What a tail told that was
    not believed is not asked for again."""
    bundle, tail = subject.bundle, subject.tail
    pairs = [("this machine", _MOVED, profile.times, whole_us(bundle, subject.engine))]
    if tail is not None and profile.tail is not None and not profile.tail.notes:
        pairs.append((subject.address, _TAIL_MOVED, profile.tail.times, whole_there_us(bundle, tail)))
    for who, moved, times, now in pairs:
        then = times[WHOLE_BATCH].points[-1][1]
        if abs(now - then) > _MOVED_US and not 1 / moved <= now / max(then, 1e-3) <= moved:
            say(f"An image takes {who} {now / 1000:.2f} ms now and took {then / 1000:.2f} ms then; measuring again.")
            return False
    return True
