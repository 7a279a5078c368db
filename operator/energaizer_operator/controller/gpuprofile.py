"""GPUProfile: its status says which nodes have it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from energaizer_operator import status
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.survey import Survey
from energaizer_operator.controller.writing import write_status
from energaizer_operator.informer import Key
from energaizer_operator.kinds import GPUPROFILES
from energaizer_operator.resources.gpuprofile import GPUProfile


class GPUProfiles:
    """Writes the status of one GPUProfile."""

    def __init__(self, context: Context, survey: Callable[[], Survey]) -> None:
        """Take the survey of all nodes from `survey`."""
        self._context = context
        self._survey = survey

    async def reconcile(self, key: Key) -> Result:
        """Bring the status in line with the nodes."""
        record = self._context.informer.gpuprofiles.get(key[1])
        if record is None:
            return Result.GONE
        profile = GPUProfile.model_validate(record.body)
        census = self._survey().census.get(record.name, status.Census())
        wanted = status.gpuprofile_status(profile, census, datetime.now(UTC))
        return await write_status(self._context.cluster, GPUPROFILES, record, wanted)
