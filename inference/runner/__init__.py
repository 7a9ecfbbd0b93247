"""The runner: classifies the images of a run in overlapping stages and logs every prediction exactly once."""
