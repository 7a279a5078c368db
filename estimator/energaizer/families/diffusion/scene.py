"""What a denoiser sees: the latent of one image or video, and the text beside it."""

import math
from typing import NamedTuple


class Scene(NamedTuple):
    """One sample in latent space.

    Attributes:
        height: Rows of the latent.
        width: Columns of the latent.
        frames: Latent frames; 1 for an image.
        text: Tokens of the prompt.
        boards: Boards that share the latent: what follows is the share of one.
    """

    height: int
    width: int
    frames: int
    text: int
    boards: int = 1

    def tokens(self, patch: int, patch_frames: int = 1) -> float:
        """Return a board's tokens: patches of `patch` x `patch` over `patch_frames` frames."""
        rows, columns = math.ceil(self.height / patch), math.ceil(self.width / patch)
        return math.ceil(self.frames / patch_frames) * rows * columns / self.boards

    @property
    def joint_text(self) -> float:
        """Tokens of a prompt in one stream with the latent: split where they divide evenly."""
        return self.text / (self.boards if self.text % self.boards == 0 else 1)
