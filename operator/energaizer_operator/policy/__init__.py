"""Whether a workload may run: its charged estimate against the user's limits and the policies.

The charge is that of the dearest option which the scheduler may still choose, so that no preference
and no promise lowers it. The way out that a refusal names is one that would be admitted.
"""

from energaizer_operator.policy.charge import Charge, charge_of, likely
from energaizer_operator.policy.judgement import judge, within_limits, within_slowdown
from energaizer_operator.policy.records import (
    Action,
    Balance,
    Modes,
    Question,
    Shorter,
    Verdict,
    Violation,
    modes,
)
from energaizer_operator.policy.selection import defaults, matching
from energaizer_operator.policy.ways import LEAST_SHARE, shares

__all__ = [
    "LEAST_SHARE",
    "Action",
    "Balance",
    "Charge",
    "Modes",
    "Question",
    "Shorter",
    "Verdict",
    "Violation",
    "charge_of",
    "defaults",
    "judge",
    "likely",
    "matching",
    "modes",
    "shares",
    "within_limits",
    "within_slowdown",
]
