"""The whole judgement of one workload, as one call: inputs -> estimates -> placement -> verdict.

The webhook, the controller and `kubectl energaizer review` all decide here, so that a verdict read
offline is the one that the cluster will give. A `World` is what the cluster knows at that moment, a
`Subject` what somebody wants to run; `prepare` says which estimates are needed and `conclude` what
follows from them, both pure. A refusal is worked out again with more clocks, caps and GPUs, and at
last with less work, so that it can name a way out.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from energaizer_operator import placement, policy
from energaizer_operator.decision import remembered, shorter
from energaizer_operator.decision.budgeting import (
    HOLDABLE,
    Claim,
    Purse,
    balances,
    held_for,
    matching,
    purse_of,
)
from energaizer_operator.decision.case import Case, Subject, World, prepare, widen
from energaizer_operator.estimation import Answer, Estimator, Question
from energaizer_operator.estimation.timely import TimelyEstimator
from energaizer_operator.names import Reason
from energaizer_operator.options import Option
from energaizer_operator.policy import Action, Balance, Verdict
from energaizer_operator.status import Finding

__all__ = [
    "HOLDABLE",
    "Case",
    "Claim",
    "Decision",
    "Purse",
    "Subject",
    "World",
    "balances",
    "conclude",
    "decide",
    "decide_soon",
    "held_for",
    "matching",
    "prepare",
    "purse_of",
    "widen",
]


_Answers = Sequence[tuple[Answer, ...]]
"""To each question of a case one answer per setting."""


@dataclass(frozen=True)
class Decision:
    """What was decided, with everything that led to it."""

    case: Case
    asked: policy.Question
    """What led to the verdict."""
    options: tuple[Option, ...]
    verdict: Verdict
    plan: placement.Plan
    likely: Option | None
    """Where the workload should land."""
    reason: Reason
    """Estimated, or why not."""
    message: str
    late: bool = False
    """Whether an estimate that is on its way would change it."""

    @property
    def shown(self) -> Option | None:
        """Return the option that people see: where it should land, else what is charged."""
        return self.likely or self.verdict.charged

    @property
    def digest(self) -> str | None:
        """Return the digest of the estimate that is shown."""
        shown = self.shown
        if written := remembered.digest(self.case):
            return written
        for question in self.case.questions:
            if shown is not None and question.profile.metadata.name == shown.profile:
                return question.digest
        return None

    @property
    def finding(self) -> Finding:
        """Return what `status` writes down."""
        outside = self.reason in (Reason.UNKNOWN_MODEL, Reason.INVALID_CONFIG_MAP)
        return Finding(
            resolution=self.case.resolution,
            options=self.options,
            likely=self.likely,
            verdict=self.verdict,
            plan=self.plan,
            objective=self.case.modes.objective,
            digest=self.digest,
            estimated=Reason.TDP_BOUND_USED if outside else self.reason,
            estimated_message=self.message,
            problem=(self.reason, self.message) if outside else None,
        )


def conclude(
    case: Case, answers: Sequence[tuple[Answer, ...]], balances: Sequence[Balance] = ()
) -> Decision:
    """Return the decision that follows from the answers to a case's questions."""
    options = tuple(
        _option(case, question, answer)
        for question, replies in zip(case.questions, answers, strict=True)
        for answer in replies
    )
    reason, message = _why(case, options, answers)
    workload, inputs = case.subject.workload, case.resolution.inputs
    problems = [problem.message for problem in case.resolution.problems]
    if message and reason is not Reason.ESTIMATED and message not in problems:
        problems.append(message)
    question = policy.Question(
        options=options,
        policies=case.policies,
        limits=workload.spec.limits if workload else None,
        balances=balances,
        workload=case.subject.name,
        problems=problems,
        declared_clock_megahertz=inputs.clock_megahertz,
        declared_cap_watts=inputs.power_cap_watts,
        remedies=case.world.remedies,
    )
    verdict = policy.judge(question)
    marked = tuple(policy.within_limits(question))
    plan = placement.plan(
        placement.Wish(
            options=marked,
            profiles=case.world.profiles,
            mode=case.modes.placement_mode,
            objective=case.modes.objective,
            max_slowdown_percent=case.modes.max_slowdown_percent,
            allowed_profiles=inputs.allowed_profiles,
            terms=case.world.terms,
        )
    )
    likely = policy.likely(question, case.modes.objective)
    late = any(one.reason is Reason.ESTIMATOR_TIMEOUT for replies in answers for one in replies)
    return Decision(case, question, marked, verdict, plan, likely, reason, message, late)


def decide(
    subject: Subject,
    world: World,
    estimator: Estimator,
    balances: Sequence[Balance] = (),
    *,
    wide: bool = False,
) -> Decision:
    """Return the decision on a subject, however long its estimates take.

    Args:
        subject: What somebody wants to run.
        world: What the cluster knows.
        estimator: Who answers.
        balances: Of the budgets that select the subject.
        wide: Whether to estimate what else would be possible too, as a status shows it.
    """
    steps = _deciding(subject, world, balances, wide=wide)
    answers: _Answers | None = None
    while True:
        try:
            case = steps.send(answers)
        except StopIteration as end:
            return _decided(end)
        answers = _answers(estimator, case)


async def decide_soon(
    subject: Subject, world: World, estimator: TimelyEstimator, balances: Sequence[Balance] = ()
) -> Decision:
    """Return the decision on a subject within the estimator's deadline, by bounds if need be."""
    steps = _deciding(subject, world, balances)
    answers: _Answers | None = None
    while True:
        try:
            case = steps.send(answers)
        except StopIteration as end:
            return _decided(end)
        answers = await _answers_soon(estimator, case)


def _deciding(
    subject: Subject, world: World, balances: Sequence[Balance], *, wide: bool = False
) -> Generator[Case, _Answers | None, Decision]:
    """Yield each case whose questions need answers, and return the decision.

    A refusal is worked out again with more clocks, caps and GPUs, then with less work.
    """
    case = prepare(subject, world)
    if wide:
        case = widen(case)
        return conclude(case, (yield case) or (), balances)
    decision = conclude(case, (yield case) or (), balances)
    if decision.verdict.action is not Action.DENY:
        return decision
    wider = widen(case)
    if wider is not case:
        decision = conclude(wider, (yield wider) or (), balances)
    for _ in range(shorter.ATTEMPTS):
        less = None if decision.verdict.alternative else shorter.attempt(wider, decision.asked)
        if less is None:
            break
        ((answer,),) = (yield replace(wider, questions=(less.question,))) or ()
        asked = replace(decision.asked, shorter=less.answered(answer))
        decision = replace(decision, asked=asked, verdict=policy.judge(asked))
    return decision


def _decided(end: StopIteration) -> Decision:
    decision: Decision = end.value
    return decision


def _answers(estimator: Estimator, case: Case) -> _Answers:
    known, asked = _at_hand(estimator, case)
    return _filled(known, estimator.answer_all(asked))


async def _answers_soon(estimator: TimelyEstimator, case: Case) -> _Answers:
    known, asked = _at_hand(estimator, case)
    return _filled(known, await estimator.answers(asked))


def _at_hand(
    estimator: Estimator, case: Case
) -> tuple[list[tuple[Answer, ...] | None], list[Question]]:
    """Return the answers that need no estimate, None for the others, and the others' questions."""
    if case.ceiling is not None:
        return [estimator.bounds(question, *case.ceiling) for question in case.questions], []
    known = [remembered.of(case, question) for question in case.questions]
    return known, [q for q, own in zip(case.questions, known, strict=True) if own is None]


def _filled(known: Sequence[tuple[Answer, ...] | None], fresh: _Answers) -> _Answers:
    left = iter(fresh)
    return [next(left) if own is None else own for own in known]


def _option(case: Case, question: Question, answer: Answer) -> Option:
    name = question.profile.metadata.name
    reachable = name in case.reachable or not case.reachable
    feasibility = answer.feasibility
    if feasibility == "Feasible" and case.ceiling and case.ceiling[0] is Reason.SHARED_GPU:
        feasibility = "SharedGPU"
    if feasibility == "Feasible" and case.world.in_cluster and name not in case.world.in_cluster:
        feasibility = "NotInCluster"
    return Option(
        profile=name,
        estimate=answer.summary,
        clock_megahertz=answer.setting.clock_megahertz,
        power_cap_watts=answer.setting.power_cap_watts,
        feasibility=feasibility,
        reachable=reachable,
        work=answer.work,
    )


def _why(
    case: Case, options: Sequence[Option], answers: Sequence[tuple[Answer, ...]]
) -> tuple[Reason, str]:
    """Return Estimated if some option that may be chosen has an honest estimate, else why not."""
    if case.ceiling is not None:
        return case.ceiling
    flat = [answer for replies in answers for answer in replies]
    plain = [
        answer
        for option, answer in zip(options, flat, strict=True)
        if option.plain and option.reachable
    ]
    if any(answer.honest for answer in plain):
        return Reason.ESTIMATED, ""
    if not plain:
        return Reason.NO_PROFILE, "no GPUProfile may be chosen"
    return plain[0].reason, plain[0].message
