"""What a diffusion model is asked for: size, frames, steps and guidance of one image or video."""

from energaizer.records import Field, Record


class Generation(Record):
    """One image or video; what is left out takes the model's own setting."""

    height: int | None = Field(default=None, ge=8, le=16384, description="pixels")
    width: int | None = Field(default=None, ge=8, le=16384, description="pixels")
    frames: int | None = Field(default=None, ge=1, le=16384, description="of a video; 1: an image")
    steps: int | None = Field(default=None, ge=1, le=10000, description="denoising steps")
    guidance_scale: float | None = Field(
        default=None, ge=0, le=1000, description="above 1 classifier-free guidance runs twice"
    )
