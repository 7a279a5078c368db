"""Encoder-decoder models to kernels: one forward pass, then decoder steps if text is written.

The forward pass encodes the input and, where text is written, computes keys and values of
cross-attention and the decoder's start, which gives the first token. Without output tokens it is
the encoder alone.
"""

from functools import lru_cache

import numpy as np

from energaizer import families, kernels, networks, stacks
from energaizer.blocks import Formats
from energaizer.errors import InputError, NoEstimateError
from energaizer.families import EncoderDecoder, Inputs
from energaizer.families.operators import Tape
from energaizer.kernels import FloatArray, Program
from energaizer.workload import Workload


def lower(workload: Workload) -> Program:
    """Return the kernels of one batch on one GPU of one replica.

    Raises:
        InputError: The model cannot take such inputs.
        NoEstimateError: The workload needs a method that this room lacks.
    """
    network = workload.network
    if not isinstance(network, EncoderDecoder):
        raise NoEstimateError(f"{network.name} has no decoder")
    inputs = workload.network_inputs
    fault = network.fault(inputs)
    if fault:
        raise InputError(fault)
    formats = networks.formats_of(workload.precision)
    load = (workload.batch, workload.output_tokens)
    return _lower(network, load, inputs, workload.attention, formats)


@lru_cache(maxsize=512)
def _lower(
    network: EncoderDecoder, load: tuple[int, int], inputs: Inputs, attention: str,
    formats: Formats,
) -> Program:  # fmt: skip
    batch, output = load
    tapes = [_first(network, inputs, written=output > 0)]
    repetitions = [1.0]
    start = network.start_tokens(inputs)
    if output > 1:
        contexts, weights = stacks.decode_contexts(start + 1.0, start + output - 1.0, ())
        for context, weight in zip(contexts, weights, strict=True):
            step = Tape()
            network.decode(step, 1.0, float(context), inputs)
            tapes.append(step)
            repetitions.append(float(weight))
    found: dict[kernels.Kernel, FloatArray] = {}
    for index, tape in enumerate(tapes):
        listing = networks.listing(tape, float(batch), formats, fused=attention == "fused")
        for kernel, count in listing.counts.items():
            found.setdefault(kernel, np.zeros(len(tapes)))[index] += count
    one = np.ones(len(tapes))
    return Program(
        rows=kernels.table(list(found)),
        counts=np.stack(list(found.values()), axis=1),
        phases=("forward", *("decode" for _ in tapes[1:])),
        repetitions=np.array(repetitions),
        sequences=one * batch,
        layers=np.array([tape.layers for tape in tapes]),
        graphed=np.array([index > 0 for index in range(len(tapes))]),
        calls=np.array([tape.calls for tape in tapes]),
        slots=one,
        runs=one,
    )


def _first(network: EncoderDecoder, inputs: Inputs, *, written: bool) -> Tape:
    if not written:
        return families.passes(network, inputs)
    tape = Tape()
    network.forward(tape, inputs)
    network.bridge(tape, inputs)
    start = float(network.start_tokens(inputs))
    network.decode(tape, start, start, inputs)
    return tape
