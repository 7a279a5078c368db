"""The judgement: limits of the user, then of the policies, then the way out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from energaizer_operator.options import Option
from energaizer_operator.policy import wording
from energaizer_operator.policy.ceilings import Ceiling, ceilings_of
from energaizer_operator.policy.charge import (
    Charge,
    charge_of,
    dearest,
    possible,
)
from energaizer_operator.policy.records import (
    Action,
    Balance,
    Modes,
    Question,
    Verdict,
    Violation,
)
from energaizer_operator.policy.ways import way_out

_NUMBERS = ("maxEnergyJoules", "maxPowerWatts", "maxEnergyPerTokenMicrojoules")


def judge(question: Question) -> Verdict:
    """Return the verdict on one workload."""
    in_force = question.in_force
    options = possible(question, in_force)
    charged = dearest(options, lambda one: charge_of(one, in_force.uncertainty).energy_joules)
    ceilings = list(ceilings_of(question))
    violations = list(_violations(question, in_force, options, ceilings))
    bound = charged is not None and charged.estimate.method == "TDPBound"
    if bound and in_force.on_estimator_failure == "Warn":
        violations = [_softened(violation) for violation in violations]
    if bound and in_force.on_estimator_failure == "Deny":
        violations.append(_no_estimate(question))
    action = max(
        (violation.action for violation in violations),
        key=lambda one: one.strength,
        default=Action.ALLOW,
    )
    worst = [violation for violation in violations if violation.action is action]
    alternative = None
    remedy = ""
    if charged is not None and worst and not all(one.limit == "requireInputs" for one in worst):
        firm = [one for one in ceilings if one.action.strength >= action.strength]
        purses = [one for one in question.balances if one.action.strength >= action.strength]
        if not any(one.broken for one in purses):
            alternative, remedy = way_out(question, in_force, charged, firm, purses)
    if bound and worst and question.problems and not alternative:
        remedy = (
            f"{remedy} A prediction instead of the bound needs: {question.problems[0]}.".strip()
        )
    message = wording.together([f"{one.owner}: {one.message}" for one in worst])
    return Verdict(
        action=action,
        charged=charged,
        hungriest=dearest(options, lambda one: one.estimate.power_high_watts),
        violations=tuple(violations),
        message=f"{message} {remedy}".strip(),
        warnings=_warnings(question, charged, violations, remedy if action is Action.WARN else ""),
        alternative=alternative,
    )


def within_slowdown(options: Sequence[Option], max_slowdown_percent: int | None) -> list[Option]:
    """Return the options, feasible ones marked `TooSlow` where they pass the slowdown.

    Slowdown is against the fastest feasible option with the same number of replicas, for the same
    work. Of a bound nobody knows how fast it is.
    """
    if max_slowdown_percent is None:
        return list(options)
    fastest: dict[int, float] = {}
    for option in options:
        if option.feasibility == "Feasible" and option.work:
            known = fastest.get(option.estimate.replicas, option.pace)
            fastest[option.estimate.replicas] = min(known, option.pace)
    return [
        replace(option, feasibility="TooSlow")
        if option.feasibility == "Feasible"
        and option.work
        and 100 * option.pace > fastest[option.estimate.replicas] * (100 + max_slowdown_percent)
        else option
        for option in options
    ]


def within_limits(question: Question) -> list[Option]:
    """Return the options, feasible ones marked `OverLimit` where they would be refused."""
    uncertainty = question.in_force.uncertainty
    firm = [one for one in ceilings_of(question) if one.action is Action.DENY]
    purses = [one for one in question.balances if one.action is Action.DENY]
    if not firm and not purses:
        return list(question.options)

    def fits(option: Option) -> bool:
        charge = charge_of(option, uncertainty)
        return all(one.fits(option, charge) for one in firm) and all(
            one.fits(option) for one in purses
        )

    return [
        replace(option, feasibility="OverLimit")
        if option.feasibility == "Feasible" and not fits(option)
        else option
        for option in question.options
    ]


def _violations(
    question: Question, in_force: Modes, options: Sequence[Option], ceilings: Sequence[Ceiling]
) -> Iterator[Violation]:
    slow = _slowdown(question, options)
    if slow:
        owner = f"limits of {question.workload}"
        yield Violation(owner, "maxSlowdownPercent", Action.DENY, slow)
    charges = [(option, charge_of(option, in_force.uncertainty)) for option in options]
    for ceiling in ceilings:
        found = [*_of_rules(question, options, ceiling)]
        found += _of_numbers(question, charges, ceiling)
        for limit, message in found:
            yield Violation(ceiling.owner, limit, ceiling.action, message, ceiling.policy)
    for balance in question.balances:
        text = _of_balance(question, options, balance)
        if text:
            owner = f"energy budget {balance.name}"
            yield Violation(
                owner,
                "remaining",
                balance.action,
                text,
                budget=balance.name,
                unholdable=bool(balance.note),
            )


def _of_balance(question: Question, options: Sequence[Option], balance: Balance) -> str:
    """Return why a budget has no room; '' if it has."""
    if balance.broken:
        return f"{balance.broken}; until it is mended nothing fits it."
    if not options:
        return "what it needs is unknown, since no GPUProfile is known; add one."
    worst = max(options, key=balance.need)
    if balance.fits(worst):
        return ""
    return wording.balance(balance, worst, question.problems)


def _of_rules(
    question: Question, options: Sequence[Option], ceiling: Ceiling
) -> Iterator[tuple[str, str]]:
    if ceiling.inputs_required and question.problems:
        yield "requireInputs", wording.inputs(question.problems)
    if ceiling.allowed_profiles is not None:
        found = sorted({option.profile for option in options} - set(ceiling.allowed_profiles))
        if found:
            yield "allowedProfiles", wording.profiles(found, sorted(ceiling.allowed_profiles))


def _of_numbers(
    question: Question, charges: Sequence[tuple[Option, Charge]], ceiling: Ceiling
) -> Iterator[tuple[str, str]]:
    """Yield each number that is passed, by the possible option that takes most of it."""
    if not charges:
        if ceiling.numeric:
            yield "noEstimate", "what it needs is unknown, since no GPUProfile is known; add one."
        return

    def most(of: Callable[[Charge], int]) -> tuple[int, Option]:
        worst, charge = max(charges, key=lambda one: of(one[1]))
        return of(charge), worst

    def why(worst: Option) -> str:
        return wording.basis(worst, question.problems)

    if ceiling.energy_joules is not None:
        need, worst = most(lambda charge: charge.energy_joules)
        if need > ceiling.energy_joules:
            yield "maxEnergyJoules", wording.energy(need, ceiling.energy_joules, why(worst))
    if ceiling.power_watts is not None:
        need, worst = most(lambda charge: charge.power_watts)
        if need > ceiling.power_watts:
            yield "maxPowerWatts", wording.power(need, ceiling.power_watts, why(worst))
    limit = ceiling.energy_per_token_microjoules
    if limit is not None:
        # Without tokens (an encoder) there is nothing to limit; without inputs it is unknown.
        need, worst = most(lambda charge: charge.energy_per_token_microjoules or 0)
        unknown = any(
            option.estimate.method == "TDPBound"
            and option.estimate.energy_per_token_microjoules is None
            for option, _ in charges
        )
        if unknown:
            text = question.problems[0] if question.problems else "only a bound is known"
            yield "maxEnergyPerTokenMicrojoules", wording.per_token(None, limit, text)
        elif need > limit:
            yield "maxEnergyPerTokenMicrojoules", wording.per_token(need, limit, why(worst))


def _slowdown(question: Question, options: Sequence[Option]) -> str:
    """Return why even the fastest possible option is too slow for the user; '' if it is not."""
    most = question.limits.max_slowdown_percent if question.limits else None
    if most is None:
        return ""
    known = ("Feasible", "TooSlow")
    runs = [one for one in question.options if one.feasibility in known and one.work]
    judged = [one for one in options if one.work]
    if not runs or not judged:
        return ""
    best = min(runs, key=lambda one: one.pace)
    fastest = min(judged, key=lambda one: one.pace)
    slower = 100 * fastest.pace / best.pace - 100
    if slower <= most:
        return ""
    return (
        f"takes {slower:.0f} % more time than the fastest candidate ({wording.run(fastest)}"
        f" against {wording.run(best)}) but the limit is {most} %."
    )


def _softened(violation: Violation) -> Violation:
    """Return a number's violation as a warning: a bound alone refuses nobody in this mode."""
    if violation.action is not Action.DENY or violation.limit not in _NUMBERS:
        return violation
    return replace(violation, action=Action.WARN)


def _no_estimate(question: Question) -> Violation:
    policy = question.policies[0].metadata.name
    why = question.problems[0] if question.problems else "no estimate could be made"
    message = f"a bound is not enough here, and {why}."
    return Violation(f"energy policy {policy}", "onEstimatorFailure", Action.DENY, message, policy)


def _warnings(
    question: Question, charged: Option | None, violations: Sequence[Violation], remedy: str
) -> tuple[str, ...]:
    texts = [f"{one.owner}: {one.message}" for one in violations if one.action is Action.WARN]
    if texts and remedy:
        texts.append(remedy)
    bound = charged is not None and charged.estimate.method == "TDPBound"
    if bound and question.policies and question.problems:
        texts.append(f"energaizer knows only a bound, since {question.problems[0]}")
    return wording.warnings(texts)
