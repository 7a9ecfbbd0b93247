"""Run benchmarks, by default all: `python -m bench [NAME …] [--OPTION …]`.

Prints tables and saves them in bench/results.
"""

import sys
from importlib import import_module
from itertools import takewhile

BENCHES = {
    "engines": "the whole model: our runtimes against Keras predict and tf.function",
    "runner": "the runner against a bare loop over the same images and runtime",
    "loopback": "a split over loopback HTTP against the same split in one process, per cut",
    "start": "seconds from process start to the first record, and to --help",
    "memory": "peak memory of a run over 1,000 and 20,000 images",
    "cold_start": "the Lambda package: first response, bare and in a local AWS, and overhead of warm requests",
    "evaluation": "the full report: our engines against DuckDB, Polars and scikit-learn; --scale 1 for 100 million",
    "codecs": "bytes against accuracy: every codec at some cuts of pretrained models, and JPEG upload",
    "pipeline_overhead": "a run against its slowest stage, and one image against the sum of its stages",
    "queue": "the same split through a queue and over HTTP, with the same number of tails",
    "plan": "--split auto against every candidate, over twelve links; --quick: one model and three links",
    "changing_link": "a run while its link or tail changes, and shared work; --quick: shorter",
}


def main(names: list[str]) -> int:
    """Run the named benchmarks; arguments from the first `--` on are for them."""
    names = list(takewhile(lambda name: not name.startswith("--"), names))
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"No benchmark is named {unknown[0]!r}; choose from {', '.join(BENCHES)}.", file=sys.stderr)
        return 2
    for name in names or BENCHES:
        print(f"\n{name}: {BENCHES[name]}")
        import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
