"""GPUProfile: its status says which nodes have it, and which coefficients estimates rest on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from energaizer_operator import status
from energaizer_operator.controller.calibrations import Calibrations
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.survey import Survey
from energaizer_operator.controller.writing import write_status
from energaizer_operator.informer import Key
from energaizer_operator.kinds import GPUPROFILES
from energaizer_operator.resources.gpuprofile import GPUProfile


class GPUProfiles:
    """Writes the status of one GPUProfile."""

    def __init__(
        self,
        context: Context,
        survey: Callable[[], Survey],
        calibrations: Calibrations,
        recalibrated: Callable[[], None],
    ) -> None:
        """Take the survey of all nodes from `survey`; tell of new coefficients."""
        self._context = context
        self._survey = survey
        self._calibrations = calibrations
        self._recalibrated = recalibrated

    async def reconcile(self, key: Key) -> Result:
        """Bring coefficients in line with the ConfigMap, the status in line with the nodes."""
        record = self._context.informer.gpuprofiles.get(key[1])
        if record is None:
            if self._calibrations.forget(key[1]):
                self._recalibrated()
            return Result.GONE
        profile = GPUProfile.of_server(record.body)
        loaded, changed = await self._calibrations.load(profile)
        if changed:
            self._recalibrated()
        census = self._survey().census.get(record.name, status.Census())
        calibration = (
            None if loaded is None else (loaded.text is not None, loaded.reason, loaded.message)
        )
        wanted = status.gpuprofile_status(profile, census, datetime.now(UTC), calibration)
        result = await write_status(self._context.cluster, GPUPROFILES, record, wanted)
        broken = loaded is not None and loaded.text is None
        return Result.PENDING if broken and result is not Result.GONE else result
