"""From a workload to its kernels: one room for each family of models, one way in.

A room is imported with its first workload: a language model that serves needs none of the others.
"""

from energaizer.caches import remembered
from energaizer.families import EncoderDecoder, Network
from energaizer.kernels import Program
from energaizer.lowering import transformer
from energaizer.workload import Workload


@remembered(64)
def lower(workload: Workload) -> Program:
    """Return the kernels of one batch of a workload, or of one optimiser step, on one GPU.

    Raises:
        InputError: The split does not divide the model, or an encoder is asked to decode.
        NoEstimateError: No room has a method for the workload; the message says what is missing.
    """
    if workload.training is not None:
        from energaizer.lowering import training  # noqa: PLC0415

        return training.lower(workload)
    if isinstance(workload.model, EncoderDecoder):
        from energaizer.lowering import encoder_decoder  # noqa: PLC0415

        return encoder_decoder.lower(workload)
    if isinstance(workload.model, Network) and workload.model.generates:
        from energaizer.lowering import diffusion  # noqa: PLC0415

        return diffusion.lower(workload)
    if isinstance(workload.model, Network):
        from energaizer.lowering import vision  # noqa: PLC0415

        return vision.lower(workload)
    return transformer.lower(workload)
