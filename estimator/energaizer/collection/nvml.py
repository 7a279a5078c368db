"""A board through NVML: the one room that speaks to the driver."""

from typing import Any

from energaizer.collection.measuring import SensorError
from energaizer.errors import InputError

_INSTALL = "install it with: pip install energaizer[collect]"
_MILLI = 1e-3


class Board:
    """One GPU, read through `nvidia-ml-py`."""

    def __init__(self, index: int) -> None:
        """Open a board by its NVML index.

        Raises:
            SensorError: The library or the driver is missing.
            InputError: There is no such board.
        """
        try:
            import pynvml  # noqa: PLC0415
        except ImportError as error:
            raise SensorError(f"reading a GPU needs nvidia-ml-py; {_INSTALL}") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            raise SensorError(
                f"no NVIDIA driver answers ({error}); run collect on the machine that has the GPU"
            ) from error
        if not 0 <= index < count:
            raise InputError(f"--gpu-index {index}: this machine has {count}, from 0")
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)

    def name(self) -> str:
        """Return the product name that the driver reports."""
        return _text(self._read("nvmlDeviceGetName"))

    def uuid(self) -> str:
        """Return the identity of the board, by which a framework finds the same one."""
        return _text(self._read("nvmlDeviceGetUUID"))

    def limit_w(self) -> float:
        """Return the enforced power limit, W."""
        return _MILLI * float(self._read("nvmlDeviceGetEnforcedPowerLimit"))

    def energy_j(self) -> float | None:
        """Return the energy counter, J; None on boards older than Volta."""
        try:
            return _MILLI * float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError:
            return None

    def power_w(self) -> float:
        """Return reported power, W."""
        return _MILLI * float(self._read("nvmlDeviceGetPowerUsage"))

    def clock_mhz(self) -> float:
        """Return the SM clock, MHz."""
        return float(self._read("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM))

    def temperature_c(self) -> float:
        """Return the die temperature, C."""
        return float(self._read("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU))

    def busy(self) -> int:
        """Return how many compute processes use the board now."""
        try:
            return len(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        except self._nvml.NVMLError:
            return 0

    def lock(self, mhz: float) -> str:
        """Hold the clock; return why that was refused, "" where it was not."""
        try:
            self._nvml.nvmlDeviceSetGpuLockedClocks(self._handle, round(mhz), round(mhz))
        except self._nvml.NVMLError as error:
            return f"{error} (holding a clock needs root)"
        return ""

    def unlock(self) -> None:
        """Let the clock go; a board that was never held stays as it is."""
        try:
            self._nvml.nvmlDeviceResetGpuLockedClocks(self._handle)
        except self._nvml.NVMLError:
            return

    def _read(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except self._nvml.NVMLError as error:
            raise SensorError(f"{function}: {error}; does `nvidia-smi` see the GPU?") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
