"""From a workload to its kernels: one room for each family of models, one way in."""

from energaizer.families import EncoderDecoder, Network
from energaizer.kernels import Program
from energaizer.lowering import diffusion, encoder_decoder, training, transformer, vision
from energaizer.workload import Workload


def lower(workload: Workload) -> Program:
    """Return the kernels of one batch of a workload, or of one optimiser step, on one GPU.

    Raises:
        InputError: The split does not divide the model, or an encoder is asked to decode.
        NoEstimateError: No room has a method for the workload; the message says what is missing.
    """
    if workload.training is not None:
        return training.lower(workload)
    if isinstance(workload.model, EncoderDecoder):
        return encoder_decoder.lower(workload)
    if isinstance(workload.model, Network) and workload.model.generates:
        return diffusion.lower(workload)
    if isinstance(workload.model, Network):
        return vision.lower(workload)
    return transformer.lower(workload)
