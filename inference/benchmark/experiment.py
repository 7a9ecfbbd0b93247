"""The whole experiment: rounds in which all that is compared takes turns, so that a noisy machine is fair to all."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from hybrid_batch.data.images.images import Images
from hybrid_batch.inference.benchmark.crowd import Load, started_crowd
from hybrid_batch.inference.benchmark.head import Head
from hybrid_batch.inference.benchmark.level import Level, LevelRow
from hybrid_batch.inference.benchmark.level import sum_up as sum_up_level
from hybrid_batch.inference.benchmark.pictures import read_pictures
from hybrid_batch.inference.benchmark.result import Result
from hybrid_batch.inference.benchmark.server import started_server
from hybrid_batch.inference.benchmark.site import Kit, can_do
from hybrid_batch.inference.benchmark.storm import Storm, Weather
from hybrid_batch.inference.benchmark.tail_row import TailRow
from hybrid_batch.inference.benchmark.tail_row import sum_up as sum_up_trial
from hybrid_batch.inference.benchmark.trial import Trial, classify_here
from hybrid_batch.inference.benchmark.way import Way
from hybrid_batch.inference.planner.plan.prices import Prices
from hybrid_batch.inference.planner.profile.device import find_device
from hybrid_batch.inference.protocol.codecs import IMAGE
from hybrid_batch.inference.tails import LOCAL, open_tail, public_address


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is measured. Each tail has its turn with each of the ways, `requests` pictures a turn. Then a server has
    so many `users` at once, for `seconds` a turn, who upload pictures or send what `split` makes of them; without users
    there is none. `queue` is what it lets in at once."""

    kit: Kit
    images: Images
    tails: Sequence[str]
    ways: Sequence[Way]
    split: Way
    users: Sequence[int]
    requests: int
    seconds: float
    rounds: int
    queue: int
    prices: Prices

    @property
    def pairs(self) -> list[tuple[str, Way]]:
        """The tails with the ways they can do."""
        bundle = self.kit.bundle
        return [(tail, way) for tail in self.tails for way in self.ways if can_do(tail, bundle, way.cut.id)]

    @property
    def turns(self) -> int:
        """How often `step` is called."""
        storm = 3 if self.users else 0
        return self.rounds * (len(self.pairs) + 2 * len(self.users) + storm)


def run_experiment(experiment: Experiment, step: Callable[[str], None]) -> Result:
    """Measure; `step` is told of every turn before it. Raises NoImages, TailUnreachable, TailRefused, and what the
    tails raise. Every process that was started has ended afterwards."""
    machine = find_device()  # before it is busy with this
    files = read_pictures(experiment.kit.bundle, experiment.images)
    tails = measure_tails(experiment, files, step)
    levels, storm = measure_users(experiment, files, step) if experiment.users else ([], None)
    bundle = experiment.kit.bundle
    return Result(bundle.name, bundle.sha256, machine, experiment.rounds, experiment.seconds, tails, levels, storm)


def measure_tails(experiment: Experiment, files: Sequence[bytes], step: Callable[[str], None]) -> list[TailRow]:
    """A row for each tail and way."""
    kit = experiment.kit
    heads = {way: Head(kit.bundle, kit.engine, way) for way in experiment.ways}
    whole = Way(kit.bundle.whole, IMAGE)
    with open_tail(LOCAL, kit.bundle, kit.engine) as here:
        pictures = classify_here(here, Head(kit.bundle, kit.engine, whole), whole, files)
    trials = [Trial(tail, way) for tail, way in experiment.pairs]
    for number in range(experiment.rounds):
        for trial in trials:
            step(f"round {number + 1}: {public_address(trial.address)}, {trial.way.name}")
            trial.take_turn(kit, heads[trial.way], pictures, experiment.requests)
    return [sum_up_trial(trial, public_address(trial.address), experiment.prices) for trial in trials]


def measure_users(
    experiment: Experiment, files: Sequence[bytes], step: Callable[[str], None]
) -> tuple[list[LevelRow], Storm]:
    """A row for each number of users, who upload and who send a split, in turn, each to a server of their own; and
    what becomes of the split's server when more come than it lets in."""
    bundle, engine = experiment.kit.bundle, experiment.kit.engine
    loads = [
        Load(bundle, way, [Head(bundle, engine, way).prepare(file) for file in files])
        for way in (Way(bundle.whole, IMAGE), experiment.split)
    ]
    levels = [(Level(users), side) for users in experiment.users for side in (0, 1)]
    weather = Weather(experiment.queue)
    with ExitStack() as stack:
        crowd = stack.enter_context(started_crowd())
        servers = [stack.enter_context(started_server(bundle, experiment.queue)) for _ in loads]
        for side, server in enumerate(servers):
            crowd.use(server.url, loads[side], 1, least=len(files))  # who asks first waits for the compiling
        for number in range(experiment.rounds):
            for level, side in levels:
                step(f"round {number + 1}: {level.users} users, {loads[side].way.name}")
                level.take_turn(crowd, servers[side], loads[side], experiment.seconds)
            for level in weather.turns:
                step(f"round {number + 1}: {level.users} users at a server that lets {experiment.queue} in")
                level.take_turn(crowd, servers[1], loads[1], experiment.seconds)
    return [sum_up_level(level, loads[side]) for level, side in levels], weather.sum_up()
