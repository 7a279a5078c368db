"""The errors a caller can decide on; every message says what is wrong, where, and what to do."""


class EnergaizerError(Exception):
    """Base of all errors raised on purpose by energaizer."""


class InputError(EnergaizerError):
    """The input is wrong (unknown key, illegal value, impossible split): mend it. Exit code 2."""


class UnknownNameError(InputError):
    """A model, GPU or host is in no catalogue; the message names close matches. Exit code 2."""


class DoesNotFitError(InputError):
    """Weights, cache and activations exceed the memory of the GPUs. Exit code 2."""


class NoEstimateError(EnergaizerError):
    """No honest estimate exists for a valid input (an operator without a method). Exit code 3."""


class ProfileError(EnergaizerError):
    """A profile file is unreadable or breaks its schema. Exit code 1."""
