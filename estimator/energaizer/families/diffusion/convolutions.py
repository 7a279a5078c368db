"""Pieces of UNets and decoders of latents: norms over groups, residual blocks, steps of size."""

from typing import NamedTuple

from energaizer.families.operators import Attention, Convolution, Copy, Linear, Norm, Tape


class Plane(NamedTuple):
    """Size of a feature map: height, width, frames."""

    height: int
    width: int
    frames: int = 1

    @property
    def area(self) -> float:
        """Elements of a channel."""
        return float(self.height * self.width * self.frames)

    def grown(self, factor: int, frames: int = 1) -> "Plane":
        """Return the plane after a step of size; the first frame of a video stands alone."""
        later = (self.frames - 1) * frames + 1 if self.frames > 1 else self.frames
        return Plane(self.height * factor, self.width * factor, later)

    def shrunk(self) -> "Plane":
        """Return the plane at half the size."""
        return Plane((self.height + 1) // 2, (self.width + 1) // 2, self.frames)


class Filter(NamedTuple):
    """A convolution with a bias.

    Attributes:
        inputs: Channels read.
        outputs: Channels written.
        window: Edge of the filter.
        depth: Frames of the filter.
        stride: Step along both edges.
    """

    inputs: int
    outputs: int
    window: int = 3
    depth: int = 1
    stride: int = 1

    def add(self, to: Tape, plane: Plane, count: float = 1.0) -> None:
        """Add it for an input of that size."""
        to.add(
            Convolution(
                self.inputs, self.outputs, (plane.height, plane.width),
                (self.window, self.window), self.stride, bias=True, frames=plane.frames,
                depth=self.depth,
            ),
            count,
        )  # fmt: skip
        to.module(count)


def grouped_norm(
    to: Tape, channels: int, plane: Plane, groups: int, count: float = 1.0, *, active: bool = True
) -> None:
    """Add a norm over groups of channels, and the activation behind it."""
    to.add(Norm(float(groups), round(channels * plane.area / groups)), count, owned=False)
    to.own(2 * channels * count)
    if active:
        to.pointwise(channels * plane.area, "silu", count)
    to.module(2.0 * count)


class Residual(NamedTuple):
    """How residual blocks are built.

    Attributes:
        groups: Groups of each norm.
        time: Features of the embedding of time that is added; 0: none.
        depth: Frames of each filter.
    """

    groups: int = 32
    time: int = 0
    depth: int = 1

    def add(self, to: Tape, inputs: int, outputs: int, plane: Plane, count: float = 1.0) -> None:
        """Add norm, convolution, norm, convolution, and a product where channels change."""
        grouped_norm(to, inputs, plane, self.groups, count)
        Filter(inputs, outputs, depth=self.depth).add(to, plane, count)
        if self.time:
            to.pointwise(self.time, "silu", count)
            to.add(Linear(1.0, self.time, outputs), count)
            to.pointwise(outputs * plane.area, "scale", count)
        grouped_norm(to, outputs, plane, self.groups, count)
        Filter(outputs, outputs, depth=self.depth).add(to, plane, count)
        if inputs != outputs:
            Filter(inputs, outputs, window=1).add(to, plane, count)
        to.pointwise(outputs * plane.area, "add", count)


def attended(to: Tape, channels: int, plane: Plane, groups: int = 32, count: float = 1.0) -> None:
    """Add attention of one head over the elements of each frame."""
    grouped_norm(to, channels, plane, groups, count, active=False)
    each = float(plane.height * plane.width)
    to.add(Linear(plane.area, channels, channels), 4.0 * count)
    to.add(Attention(float(plane.frames), each, each, 1, channels), count)
    to.add(Copy(channels * plane.area), 2.0 * count)
    to.pointwise(channels * plane.area, "add", count)
