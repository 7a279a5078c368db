"""What is our own write, whichever comes first: the answer to it or its echo."""

from typing import Any

from energaizer_operator.controller.echoes import Echoes

KEY = ("team-a", "mine")


def answer(version: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}}


def echoes() -> tuple[Echoes, list[tuple[str, str]]]:
    made, told = Echoes(), []
    made.news = told.append
    return made, told


def test_echo_after_the_answer_is_no_news() -> None:
    made, told = echoes()
    with made.write(KEY) as wrote:
        wrote(answer("2"))
    assert not made.is_news(KEY, "2")
    assert made.is_news(KEY, "3")
    assert made.is_news(("team-a", "other"), "2")
    assert told == []


def test_echo_before_the_answer_is_no_news() -> None:
    made, told = echoes()
    with made.write(KEY) as wrote:
        assert not made.is_news(KEY, "2")
        wrote(answer("2"))
    assert told == []


def test_change_of_somebody_else_during_the_write_is_told_after_it() -> None:
    made, told = echoes()
    with made.write(KEY) as wrote:
        made.is_news(KEY, "2")
        made.is_news(KEY, "3")
        wrote(answer("3"))
    assert told == [KEY]


def test_change_during_a_write_that_failed_is_told() -> None:
    made, told = echoes()
    with made.write(KEY):
        made.is_news(KEY, "2")
    assert told == [KEY]


def test_nothing_is_known_of_what_is_gone() -> None:
    made, _ = echoes()
    with made.write(KEY) as wrote:
        wrote(answer("2"))
    made.forget(KEY)
    assert made.is_news(KEY, "2")
