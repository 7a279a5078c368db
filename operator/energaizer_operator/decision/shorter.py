"""Less work as a way out: which input says how much there is to do, and how little of it fits."""

from dataclasses import dataclass, replace
from typing import Any, Final

from energaizer_operator import ledger, names, policy
from energaizer_operator.decision import remembered
from energaizer_operator.decision.case import Case
from energaizer_operator.estimation import Answer, Question, Setting
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.options import Option

ATTEMPTS: Final = 2
"""Half the steps take a little more than half the energy: the second try allows for it."""
_DIGITS: Final = 2  # of the number that is offered: nobody wants to type 5617
_CHANGES: Final = {
    "steps": f'annotation {names.ANNOTATION_STEPS}: "{{}}"',
    "tokens": "spec.training.tokens: {} in its AIWorkload",
    "requests": f'annotation {names.ANNOTATION_REQUESTS}: "{{}}"',
    "expected_seconds": f'annotation {names.ANNOTATION_EXPECTED_DURATION}: "{{}}"',
}
"""How to state each input that says how much there is to do."""


@dataclass(frozen=True)
class Attempt:
    """One shorter form of a workload, still to be estimated."""

    question: Question
    whole: Option
    """The option that it is a part of."""
    change: str
    share: float

    def answered(self, answer: Answer) -> policy.Shorter:
        """Return it with its estimate."""
        option = replace(
            self.whole,
            estimate=answer.summary,
            work=answer.work,
            feasibility=answer.feasibility,
        )
        return policy.Shorter(option, self.change, self.share)


def attempt(case: Case, asked: policy.Question) -> Attempt | None:
    """Return the longest form of a refused workload that should fit; None if there is none.

    Args:
        case: What was judged.
        asked: How it was judged; with the form that was tried before, if one was.
    """
    described, found = case.subject.description, policy.shares(asked)
    endless = described is not None and described.kind in ledger.ENDLESS
    if not found or endless or case.ceiling is not None or remembered.digest(case):
        return None
    share, whole = found[0]
    if asked.shorter is not None:
        share = _corrected(share, asked.shorter, whole)
    made = _shortened(case.resolution.inputs, share)
    question = next((one for one in case.questions if _is_of(one, whole)), None)
    if made is None or question is None:
        return None
    inputs, change, share = made
    settings = (Setting(whole.clock_megahertz, whole.power_cap_watts),)
    return Attempt(replace(question, inputs=inputs, settings=settings), whole, change, share)


def _corrected(share: float, tried: policy.Shorter, whole: Option) -> float:
    """Return the share of the work whose energy is `share` of the whole.

    Energy is taken as linear in the work, through the whole and the form that was tried: every run
    begins with some. 0 if the form that was tried saved nothing.
    """
    most = whole.estimate.energy_high_joules
    saved = (most - tried.option.estimate.energy_high_joules) / (1.0 - tried.share)
    return max(0.0, 1.0 - most * (1.0 - share) / saved) if saved > 0 else 0.0


def _is_of(question: Question, option: Option) -> bool:
    return question.profile.metadata.name == option.profile


def _shortened(inputs: ResolvedInputs, share: float) -> tuple[ResolvedInputs, str, float] | None:
    """Return inputs with at most `share` of the work, how to state them, and the share they have.

    None if next to nothing would be left.
    """
    if inputs.training and (inputs.steps or inputs.tokens):
        field, whole = ("steps", inputs.steps) if inputs.steps else ("tokens", inputs.tokens)
    elif inputs.requests and not inputs.training:
        field, whole = "requests", inputs.requests
    else:
        field, whole = "expected_seconds", inputs.bound_seconds
    whole = whole or 1
    less = _round_down(int(whole * share))
    if less < max(1.0, whole * policy.LEAST_SHARE):
        return None
    changed: dict[str, Any] = {field: less}
    if field == "requests" and inputs.expected_seconds:
        changed["expected_seconds"] = max(1, inputs.expected_seconds * less // whole)
    change = " and ".join(_CHANGES[name].format(value) for name, value in changed.items())
    return replace(inputs, **changed), change, less / whole


def _round_down(value: int) -> int:
    """Return a number with few digits, no larger."""
    unit = int(10 ** max(0, len(str(value)) - _DIGITS))
    return value // unit * unit
