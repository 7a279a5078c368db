"""How many watts, joules and seconds an AI workload takes on a GPU, before it runs."""

__version__ = "0.1.0"
