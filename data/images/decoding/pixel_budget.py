"""The limits of decoding one image and the images of one request, in pixels and bytes."""

from dataclasses import dataclass, replace

MEGA = 1_000_000
LARGEST_SIDE = 1 << 20  # pixels; Pillow keeps 8 bytes for each row, and resizing 16 for each row and column
_BYTES_A_PIXEL = 6
_IMAGES_A_REQUEST = 16


class UndecodableImage(ValueError):
    """An image that Pillow cannot decode, or only beyond the budget. The message is one short line."""


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """`pixels` of one image, as its header declares them. Formats that decode slowly may have a fraction of them; see
    Structure.weight. The images of one request may have 16 times as many together."""

    pixels: int

    @property
    def image_bytes(self) -> int:
        """The largest memory of decoding one image: 6 bytes a pixel, at least 16 MB."""
        return max(16 * MEGA, self.pixels * _BYTES_A_PIXEL)

    @property
    def request_pixels(self) -> int:
        """The pixels of all images of one request together."""
        return self.pixels * _IMAGES_A_REQUEST

    def check_pixels(self, count: int) -> None:
        """Raises UndecodableImage for an image of more pixels."""
        if count > self.pixels:
            raise UndecodableImage(f"the image has {count:,} pixels, more than {self.pixels:,} (--max-pixels)")

    def check(self, cost: "DecodingCost", kind: str) -> None:
        """Raises UndecodableImage for an image of the format `kind` that costs more than this budget."""
        if max(cost.width, cost.height) > LARGEST_SIDE:
            raise UndecodableImage(
                f"the image has {cost.width:,} x {cost.height:,} pixels, more than {LARGEST_SIDE:,} on a side"
            )
        self.check_pixels(cost.width * cost.height)
        limit = self.pixels // cost.weight
        if cost.pixels > limit:
            slow = (
                f", the limit of a {kind} image that decodes {cost.weight} times as slowly" if cost.weight > 1 else ""
            )
            raise UndecodableImage(
                f"decoding computes {cost.pixels:,} pixels, more than {limit:,}{slow} (--max-pixels)"
            )
        if cost.peak_bytes > self.image_bytes:
            raise UndecodableImage(
                f"decoding the {kind} image takes {-(-cost.peak_bytes // MEGA):,} MB, more than "
                f"{self.image_bytes // MEGA:,} (--max-pixels)"
            )


@dataclass(frozen=True, slots=True)
class DecodingCost:
    """What decoding an image takes, from its header. `width` and `height` are those of the header; `pixels` are those
    that the decoder computes, `weight` the time of each in units of a JPEG's pixel; `peak_bytes` is the memory beyond
    the file."""

    width: int
    height: int
    pixels: int
    weight: int
    peak_bytes: int

    @property
    def work(self) -> int:
        """The time in units of a JPEG's pixel."""
        return self.pixels * self.weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What the structure of a file adds to the cost of its pixels.

    `pixels` are those that the decoder computes where they are not width times height: padded tiles, embedded images.
    `extra_pixels` are the time of other work in pixels. `weight` is the time of a pixel in units of a JPEG's. The
    decoder holds `bytes_a_pixel` beside the image, and `extra_bytes` in all. It can halve both sides `halvings` times
    while it decodes."""

    pixels: int = 0
    extra_pixels: int = 0
    weight: int = 1
    bytes_a_pixel: float = 0.0
    extra_bytes: int = 0
    halvings: int = 0

    def plus(self, other: "Structure") -> "Structure":
        """The structure of a file that contains both."""
        return replace(
            self,
            pixels=max(self.pixels, other.pixels),
            extra_pixels=max(self.extra_pixels, other.extra_pixels),
            weight=max(self.weight, other.weight),
            bytes_a_pixel=max(self.bytes_a_pixel, other.bytes_a_pixel),
            extra_bytes=max(self.extra_bytes, other.extra_bytes),
            halvings=max(self.halvings, other.halvings),
        )


RUNNER_BUDGET = PixelBudget(89 * MEGA)
SERVER_BUDGET = PixelBudget(50 * MEGA)
