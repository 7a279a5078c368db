import io

import pytest

from localcluster.progress import Progress, clock, is_package


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("k8s.io/kubernetes/cmd/kube-apiserver", True),
        ("internal/byteorder", True),
        ("fmt", True),
        ("go.etcd.io/etcd/server/v3", True),
        ("gopkg.in/evanphx/json-patch.v4", True),
        ("# k8s.io/kubernetes/pkg/apis", False),
        ("go: downloading k8s.io/api v0.37.2", False),
        ("pkg/x.go:3:1: undefined: y", False),
        ("", False),
    ],
)
def test_a_line_names_a_package_or_not(line: str, expected: bool) -> None:
    assert is_package(line) is expected


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (245, "4 min 05 s")])
def test_durations_read_as_people_read_them(seconds: float, text: str) -> None:
    assert clock(seconds) == text


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_counts_packages_then_says_that_it_links() -> None:
    now = Clock()
    progress = Progress(total=4, target="kubernetes", out=io.StringIO(), now=now)
    progress.compiled()
    now.now = 65.0
    assert progress.text(8) == "kubernetes [##......]  25 %  1/4 packages  1 min 05 s"
    for _ in range(3):
        progress.compiled()
    assert progress.text(8) == "kubernetes [########] 100 %  linking  1 min 05 s"


def test_more_packages_than_promised_never_pass_the_whole() -> None:
    progress = Progress(total=1, target="x", out=io.StringIO())
    progress.compiled()
    progress.compiled()
    assert (progress.done, progress.total) == (2, 2)


def test_nothing_to_compile_is_linking_from_the_start() -> None:
    assert "100 %  linking" in Progress(total=0, target="x", out=io.StringIO()).text()


def test_a_log_gets_a_whole_line_each_fifteen_seconds() -> None:
    now, out = Clock(), io.StringIO()
    progress = Progress(total=2, target="x", out=out, now=now)
    for second in range(0, 46):
        now.now = float(second)
        progress.tick()
    progress.close()
    assert out.getvalue().count("\n") == 3
    assert "\r" not in out.getvalue()


def test_a_terminal_gets_one_line_that_is_rewritten_and_wiped() -> None:
    now, out = Clock(), Terminal()
    progress = Progress(total=2, target="x", out=out, now=now)
    for tenth in range(1, 6):
        now.now = tenth / 5
        progress.tick()
    progress.close()
    assert "\n" not in out.getvalue()
    assert out.getvalue().count("\r\x1b[2K") == 6
