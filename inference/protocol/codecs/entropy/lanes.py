"""The lanes: how levels laid out as images are cut into sequences that are coded side by side.

A lane is a band of rows of a large channel, a group of small channels, or one channel of several images. It has about
200 levels, and more if there are enough lanes. Shorter lanes need more bytes for their states, longer lanes more steps.
"""

import math
from dataclasses import dataclass

import numpy as np

_LANE_LEVELS = 196
_ENOUGH_LANES = 512  # beyond this number a step costs more than numpy's calls, so that lanes span several images
_MAX_LANE_LEVELS = 1024


@dataclass(frozen=True, slots=True)
class Lanes:
    """Levels (batch, height, width, channels) in lanes of `run` images, `group` channels and `rows` rows each."""

    batch: int
    height: int
    width: int
    channels: int
    run: int
    group: int
    rows: int

    @classmethod
    def of_shape(cls, shape: tuple[int, ...]) -> "Lanes":
        """Return the lanes for levels (batch, …, channels)."""
        channels = shape[-1] if len(shape) > 1 else 1
        height, width = (shape[1], math.prod(shape[2:-1])) if len(shape) > 2 else (1, 1)
        area = max(1, height * width)
        bands = min(height, area // _LANE_LEVELS) or 1
        rows = max(1, math.ceil(height / bands))
        group = max(1, min(channels, _LANE_LEVELS // area))
        lanes = shape[0] * math.ceil(channels / group) * math.ceil(height / rows)
        max_run = max(1, min(lanes // _ENOUGH_LANES, _MAX_LANE_LEVELS // (max(1, group * rows * width))))
        run = max(images for images in range(1, max_run + 1) if shape[0] % images == 0)
        return cls(shape[0], height, width, channels, run, group, rows)

    @property
    def grid(self) -> tuple[int, int, int]:
        """The number of runs of images, of channel groups, and of bands of rows. Their product is the lanes."""
        return self.batch // self.run, math.ceil(self.channels / self.group), math.ceil(self.height / self.rows)

    @property
    def count(self) -> int:
        """The number of lanes."""
        return math.prod(self.grid)

    @property
    def steps(self) -> int:
        """The number of levels in each lane."""
        return self.run * self.group * self.rows * self.width

    def split(self, levels: np.ndarray) -> np.ndarray:
        """Cut (batch, height, width, channels) into (steps, lanes), padding the last group and band with zeros."""
        runs, groups, bands = self.grid
        padded = np.zeros((self.batch, bands * self.rows, self.width, groups * self.group), levels.dtype)
        padded[:, : self.height, :, : self.channels] = levels
        parts = padded.reshape(runs, self.run, bands, self.rows, self.width, groups, self.group)
        return np.ascontiguousarray(parts.transpose(1, 6, 3, 4, 0, 5, 2)).reshape(self.steps, self.count)

    def join(self, lanes: np.ndarray) -> np.ndarray:
        """Undo `split`."""
        runs, groups, bands = self.grid
        parts = lanes.reshape(self.run, self.group, self.rows, self.width, runs, groups, bands)
        padded = parts.transpose(4, 0, 6, 2, 3, 5, 1).reshape(
            self.batch, bands * self.rows, self.width, groups * self.group
        )
        return padded[:, : self.height, :, : self.channels]

    def expand(self, channels: np.ndarray) -> np.ndarray:
        """Repeat a value of each channel to (group, lanes)."""
        runs, groups, bands = self.grid
        padded = np.zeros(groups * self.group, channels.dtype)
        padded[: len(channels)] = channels
        parts = padded.reshape(groups, self.group).T[:, None, :, None]
        return np.broadcast_to(parts, (self.group, runs, groups, bands)).reshape(self.group, self.count)

    def sum_by_channel(self, lanes: np.ndarray) -> np.ndarray:
        """Sum values (group, lanes) to (channels)."""
        runs, groups, bands = self.grid
        sums: np.ndarray = lanes.reshape(self.group, runs, groups, bands).sum(axis=(1, 3))
        return sums.T.ravel()[: self.channels]
