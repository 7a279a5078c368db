"""Image networks to kernels: one forward pass over a batch of images, or of images with texts."""

from functools import lru_cache

import numpy as np

from energaizer import families, kernels, networks
from energaizer.blocks import Formats
from energaizer.errors import InputError
from energaizer.families import Inputs, Network
from energaizer.kernels import Program
from energaizer.workload import Workload


def lower(workload: Workload) -> Program:
    """Return the kernels of one forward pass over one batch on one GPU.

    Raises:
        InputError: The network cannot take such inputs, or is asked to decode.
        NoEstimateError: The workload needs a method that this room lacks.
    """
    network = workload.network
    inputs = workload.network_inputs
    fault = network.fault(inputs)
    if fault:
        raise InputError(fault)
    if workload.output_tokens:
        raise InputError(f"{network.name} writes no tokens; set output_tokens to 0")
    formats = networks.formats_of(workload.precision)
    return _lower(network, workload.batch, inputs, workload.attention, formats)


@lru_cache(maxsize=1024)
def _lower(
    network: Network, batch: int, inputs: Inputs, attention: str, formats: Formats
) -> Program:
    tape = families.passes(network, inputs)
    listing = networks.listing(tape, float(batch), formats, fused=attention == "fused")
    one = np.ones(1)
    return Program(
        rows=kernels.table(list(listing.counts)),
        counts=np.array([list(listing.counts.values())]),
        phases=("forward",),
        repetitions=one,
        sequences=one * batch,
        layers=one * tape.layers,
        graphed=np.zeros(1, dtype=np.bool_),
        calls=one * tape.calls,
        slots=one,
        runs=one,
    )
