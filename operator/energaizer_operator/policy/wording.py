"""Verdicts as people read them: what was needed, what the limit is, what would fit."""

import re
from collections.abc import Sequence

from energaizer_operator import human
from energaizer_operator.names import ANNOTATION_GPU_CLOCK, ANNOTATION_GPU_POWER_CAP
from energaizer_operator.options import Option
from energaizer_operator.policy.records import Balance, Question

MAX_WARNING = 256
MAX_WARNINGS = 4096
_MICRO = 1e-6
_SHOWN_PROBLEMS = 3


def run(option: Option) -> str:
    """Return how an option runs: `8 x h100-sxm5-80gb at 1200 MHz`."""
    text = f"{option.estimate.gpu_count} x {option.profile}"
    settings = []
    if option.clock_megahertz is not None:
        settings.append(f"{option.clock_megahertz} MHz")
    if option.power_cap_watts is not None:
        settings.append(f"a cap of {option.power_cap_watts} W")
    return f"{text} at {' and '.join(settings)}" if settings else text


def basis(option: Option, problems: Sequence[str]) -> str:
    """Return what stands behind a charge: prediction, intervals, GPUs, method."""
    estimate = option.estimate
    if estimate.method == "TDPBound":
        why = f", since {problems[0]}" if problems else ""
        return (
            f"a bound: {run(option)} at full power for {estimate.duration_seconds} s, TDPBound{why}"
        )
    energy = human.span(estimate.energy_low_joules, estimate.energy_high_joules, "J")
    power = human.span(estimate.power_low_watts, estimate.power_high_watts, "W")
    return (
        f"predicted {human.quantity(estimate.energy_joules, 'J')}, 90 % interval {energy};"
        f" {human.power(estimate.power_watts)}, {power}; {run(option)}, {estimate.method}"
    )


def energy(need: int, limit: int, why: str) -> str:
    """Return that a workload takes too much energy."""
    needed, most = human.pair(need, limit, "J")
    return f"needs {needed} ({why}) but the limit is {most} per workload."


def power(need: int, limit: int, why: str) -> str:
    """Return that a workload draws too much at once."""
    needed, most = human.pair(need, limit, "W")
    return f"needs {needed} ({why}) but the limit is {most} at once."


def balance(left: Balance, option: Option, problems: Sequence[str]) -> str:
    """Return that a budget has no room for an option."""
    remaining = max(0, left.remaining_joules)
    needed, rest = human.pair(left.need(option), remaining, "J")
    why = basis(option, problems)
    if left.seconds is not None:
        more = f", with {left.surge} more while it rolls over" if left.surge else ""
        why = f"its power to the end of the window{more}; {why}"
    until = f" until {left.until}" if left.until else ""
    text = f"needs {needed} ({why}) but {rest} of {human.quantity(left.limit_joules, 'J')} remain"
    return f"{text}{until}.{f' {left.note}' if left.note else ''}"


def per_token(need: int | None, limit: int, why: str) -> str:
    """Return that a token takes too much energy, or that nobody knows how much."""
    if need is None:
        most = human.quantity(limit * _MICRO, "J")
        return f"the energy of a token is unknown ({why}) but the limit is {most} per token."
    needed, most = human.pair(need * _MICRO, limit * _MICRO, "J")
    return f"needs {needed} per token ({why}) but the limit is {most} per token."


def profiles(found: Sequence[str], allowed: Sequence[str]) -> str:
    """Return that a workload may land on a GPU that is not allowed."""
    return f"may run on {', '.join(found)} but only {', '.join(allowed)} may be used."


def inputs(problems: Sequence[str]) -> str:
    """Return that inputs are required."""
    shown = "; ".join(problems[:_SHOWN_PROBLEMS])
    more = len(problems) - _SHOWN_PROBLEMS
    return f"every input must be known, but {shown}{f'; and {more} more' if more > 0 else ''}."


def together(texts: Sequence[str]) -> str:
    """Return several refusals as one text, in which an estimate is described once."""
    result = ""
    for text in texts:
        described = re.search(r" \(.*\)(?= but the limit)", text)
        if described and described.group() in result:
            text = text.replace(described.group(), "")  # noqa: PLW2901 - the same text, shorter
        result = f"{result} Also {text}" if result else text
    return result


def way_out(question: Question, charged: Option, found: Option, crowd: bool) -> str:
    """Return the alternative and how to choose it.

    Args:
        question: What was judged.
        charged: The option that was refused.
        found: The option that fits.
        crowd: Whether other GPUs than the found one are possible as things stand.
    """
    shorter = question.shorter
    less = shorter.share if shorter and shorter.option is found else 1.0
    return (
        f"Fits: {_numbers(found, charged, less)}. {_how(question, charged, found, crowd)}".rstrip()
    )


def no_way_out(charged: Option, smallest: Option | None) -> str:
    """Return that nothing fits."""
    if smallest is None:
        return "Nothing fits."
    return f"Nothing fits; the smallest is {_numbers(smallest, charged)}."


def _numbers(option: Option, charged: Option, share: float = 1.0) -> str:
    """Return what an option takes, and its price in time; one that does less says how much."""
    estimate = option.estimate
    high = human.quantity(estimate.energy_high_joules, "J")
    replicas = (
        f" ({estimate.replicas} of {charged.estimate.replicas} replicas)"
        if estimate.replicas < charged.estimate.replicas
        else ""
    )
    work = f" for {100 * share:.0f} % of its work" if share < 1 else ""
    change = round(100 * estimate.duration_seconds / charged.estimate.duration_seconds) - 100
    time = f"{change:+d} % time" if change else "same time"
    if not change and option.work and charged.work:
        slower = round(100 * option.pace / charged.pace) - 100
        time = f"{slower:+d} % time per piece of work" if slower else time
    return (
        f"{run(option)}{replicas}{work}: {human.quantity(estimate.energy_joules, 'J')}"
        f" (up to {high}), {human.power(estimate.power_watts)}, {time}"
    )


def _how(question: Question, charged: Option, found: Option, crowd: bool) -> str:
    steps = []
    if crowd or not found.reachable:
        by = [f"spec.accelerator.allowedProfiles: [{found.profile}] in its AIWorkload"]
        if found.profile in question.remedies:
            by.append(f"{question.remedies[found.profile]} in its pods")
        change = "set" if found.reachable else "change what excludes it, e.g. set"
        steps.append(f"{change} {' or '.join(by)}")
    if found.clock_megahertz != question.declared_clock_megahertz and found.clock_megahertz:
        steps.append(f'set annotation {ANNOTATION_GPU_CLOCK}: "{found.clock_megahertz}"')
    if found.power_cap_watts != question.declared_cap_watts and found.power_cap_watts:
        steps.append(f'set annotation {ANNOTATION_GPU_POWER_CAP}: "{found.power_cap_watts}"')
    if found.estimate.replicas < charged.estimate.replicas:
        steps.append(f"run {found.estimate.replicas} replicas")
    if question.shorter and question.shorter.option is found:
        steps.append(f"set {question.shorter.change}")
    text = " and ".join(steps)
    return f"To choose it, {text}." if text else ""


def warnings(texts: Sequence[str]) -> tuple[str, ...]:
    """Return warnings as kubectl shows them: bounded each and together, cut between words."""
    result: list[str] = []
    left = MAX_WARNINGS
    for text in texts:
        cut = text
        if len(text) > MAX_WARNING:
            cut = text[: MAX_WARNING - 1].rsplit(" ", 1)[0][: MAX_WARNING - 1] + "…"
        left -= len(cut)
        if left < 0:
            break
        result.append(cut)
    return tuple(result)
