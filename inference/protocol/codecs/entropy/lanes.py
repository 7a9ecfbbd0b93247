"""How levels laid out as images fall into lanes, which are coded side by side.

A lane is a band of a large channel, a group of small ones, or a channel of some images one after the other: some 200
levels, more where there are lanes enough. Shorter lanes take more bytes for their states, longer ones more steps.
"""

import math
from dataclasses import dataclass

import numpy as np

_LENGTH = 196
_ENOUGH = 512  # lanes; with more of them steps cost more than numpy's calls, and images are put one after the other
_LONGEST = 1024  # levels


@dataclass(frozen=True, slots=True)
class Lanes:
    """(batch, height, width, channels) as lanes of `run` images, `group` channels and `rows` rows each."""

    batch: int
    height: int
    width: int
    channels: int
    run: int
    group: int
    rows: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Lanes":
        channels = shape[-1] if len(shape) > 1 else 1
        height, width = (shape[1], math.prod(shape[2:-1])) if len(shape) > 2 else (1, 1)
        area = max(1, height * width)
        bands = min(height, area // _LENGTH) or 1
        rows = max(1, math.ceil(height / bands))
        group = max(1, min(channels, _LENGTH // area))
        lanes = shape[0] * math.ceil(channels / group) * math.ceil(height / rows)
        most = max(1, min(lanes // _ENOUGH, _LONGEST // (max(1, group * rows * width))))
        run = max(images for images in range(1, most + 1) if shape[0] % images == 0)
        return cls(shape[0], height, width, channels, run, group, rows)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Runs of images, groups and bands: the lanes."""
        return self.batch // self.run, math.ceil(self.channels / self.group), math.ceil(self.height / self.rows)

    @property
    def count(self) -> int:
        return math.prod(self.grid)

    @property
    def steps(self) -> int:
        return self.run * self.group * self.rows * self.width

    def split(self, levels: np.ndarray) -> np.ndarray:
        """(batch, height, width, channels) to (steps, lanes); what fills up the last group and band is zero."""
        runs, groups, bands = self.grid
        padded = np.zeros((self.batch, bands * self.rows, self.width, groups * self.group), levels.dtype)
        padded[:, : self.height, :, : self.channels] = levels
        apart = padded.reshape(runs, self.run, bands, self.rows, self.width, groups, self.group)
        return np.ascontiguousarray(apart.transpose(1, 6, 3, 4, 0, 5, 2)).reshape(self.steps, self.count)

    def join(self, lanes: np.ndarray) -> np.ndarray:
        """The way back from `split`."""
        runs, groups, bands = self.grid
        apart = lanes.reshape(self.run, self.group, self.rows, self.width, runs, groups, bands)
        padded = apart.transpose(4, 0, 6, 2, 3, 5, 1).reshape(
            self.batch, bands * self.rows, self.width, groups * self.group
        )
        return padded[:, : self.height, :, : self.channels]

    def spread(self, channels: np.ndarray) -> np.ndarray:
        """What is of each channel as (group, lanes)."""
        runs, groups, bands = self.grid
        padded = np.zeros(groups * self.group, channels.dtype)
        padded[: len(channels)] = channels
        apart = padded.reshape(groups, self.group).T[:, None, :, None]
        return np.broadcast_to(apart, (self.group, runs, groups, bands)).reshape(self.group, self.count)

    def gather(self, lanes: np.ndarray) -> np.ndarray:
        """Sums of (group, lanes) for each channel."""
        runs, groups, bands = self.grid
        sums: np.ndarray = lanes.reshape(self.group, runs, groups, bands).sum(axis=(1, 3))
        return sums.T.ravel()[: self.channels]
