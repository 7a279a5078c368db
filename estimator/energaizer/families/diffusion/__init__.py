"""Diffusion models: text encoders, a denoiser that runs once a step, and a decoder of latents."""
