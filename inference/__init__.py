"""Inference with a model cut in two: import, protocol, server, tails, runner, planner, cloud deployment, commands."""
