"""What a pod and a workload carry of an estimate."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator.marks import of_pod
from energaizer_operator.options import Option
from energaizer_operator.schema import EstimateSummary

MakeOption = Callable[..., Option]


def test_annotations_of_a_pod(option: MakeOption) -> None:
    estimate = option("a", 1000, power=100, seconds=60).estimate
    assert of_pod(estimate, 1, 3, "sha256:0") == {
        "energaizer.io/predicted-power-watts": "34",
        "energaizer.io/predicted-energy-joules": "334",
        "energaizer.io/predicted-energy-joules-high": "367",
        "energaizer.io/predicted-duration-seconds": "60",
        "energaizer.io/workload-predicted-energy-joules": "1000",
        "energaizer.io/gpu-profile": "a",
        "energaizer.io/estimate-method": "Calibrated",
        "energaizer.io/estimate-digest": "sha256:0",
    }


@given(st.integers(1, 2**40), st.integers(1, 1000))
def test_a_pod_never_shows_less_than_its_share(total: int, pods: int) -> None:
    estimate = EstimateSummary(
        profile="a",
        gpu_count=1,
        power_watts=1,
        power_low_watts=1,
        power_high_watts=1,
        duration_seconds=1,
        energy_joules=total,
        energy_low_joules=total,
        energy_high_joules=total,
        method="Calibrated",
    )
    shown = int(of_pod(estimate, 1, pods)["energaizer.io/predicted-energy-joules"])
    assert total <= shown * pods < total + pods
