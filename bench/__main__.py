"""Measure on this machine: `python -m bench [NAME …] [--OPTION …]`, by default all. Tables, saved in bench/results."""

import sys
from importlib import import_module
from itertools import takewhile

BENCHES = {
    "engines": "the whole model: our engines against Keras predict and tf.function",
    "runner": "the runner against a bare loop over the same images and engine",
    "loopback": "a split over loopback HTTP against the same split in one process, per cut",
    "start": "seconds from process start to the first record, and to --help",
    "memory": "peak memory of a run over 1,000 and 20,000 images",
    "cold": "the package for Lambda: its first answer, bare and in the local AWS, and what warm ones take besides",
    "evaluation": "the full report: our engines against DuckDB, Polars and scikit-learn; --scale 1 for 100 million",
    "codecs": "bytes against accuracy: every codec at some cuts of published models, and JPEG upload",
    "bounds": "a run against its slowest stage, and one image against the sum of its stages",
    "queue": "the same split through a queue and over HTTP, with as many tails",
    "plan": "auto against all it chose from, over twelve links; --quick for one model and three",
    "changes": "a run whose link or tail changes, and the work shared; --quick for less of each",
}


def main(names: list[str]) -> int:
    """Run the benches named; what follows a `--` is for them."""
    names = list(takewhile(lambda name: not name.startswith("--"), names))
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"No bench named {unknown[0]!r}; there are {', '.join(BENCHES)}.", file=sys.stderr)
        return 2
    for name in names or BENCHES:
        print(f"\n{name}: {BENCHES[name]}")
        import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
