"""When garbage is collected in a process for whose answers somebody waits.

Python does so whenever so many objects were made, hence in the midst of new estimates, and to walk
what they leave in caches takes 35 to 90 ms. Neither reviews nor estimates make any that needs it.
"""

import gc
import time

IDLE_S, EVERY_S, AT_LEAST_S = 0.5, 30.0, 300.0


def keep_what_is_loaded() -> None:
    """Take what is loaded by now, which stays, out of the garbage collector's rounds.

    To walk all of it takes 50 to 100 ms, and some review would wait for that.
    """
    gc.collect()
    gc.freeze()


class Tidier:
    """Collects garbage while nobody waits, or once in five minutes if somebody always does."""

    def __init__(self) -> None:
        """Take the decision from Python."""
        gc.disable()
        self._last = time.monotonic()

    def tidy(self, idle: bool) -> None:
        """Collect, if it is time: sooner where nobody has asked for a while (`idle`)."""
        if time.monotonic() - self._last > (EVERY_S if idle else AT_LEAST_S):
            gc.collect()
            self._last = time.monotonic()

    def stop(self) -> None:
        """Leave the decision to Python again."""
        gc.enable()
