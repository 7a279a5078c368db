"""The image without an engine: the Dockerfile is sound, and what it installs runs where it will.

The script that the Dockerfile runs fills a folder here; its programs then run as user 65532, who
may write nothing there, as in a pod with a read-only root.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import energaizer

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BIN = Path(sys.executable).parent
NOBODY = 65532

pytestmark = pytest.mark.packaging


def interpreter() -> str:
    """Return a Python that user 65532 may run: the test's own may lie in a private home."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        try:
            subprocess.run(
                [candidate, "-c", "import sys; assert sys.version_info >= (3, 11)"],
                **as_nobody(),
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip("no Python 3.11 that another user may run")


def as_nobody() -> dict[str, object]:
    """Return the options of a run as user 65532; an ordinary user stays who he is."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the image holds under /opt/energaizer, with nobody's right to write."""
    folder = tmp_path_factory.mktemp("image")
    for parent in (folder, *folder.parents[:4]):
        if parent.stat().st_uid == os.geteuid() and parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o055)
    target = folder / "energaizer"
    subprocess.run(
        ["packaging/assemble", str(target), interpreter()],
        cwd=ROOT,
        env={**os.environ, "PIP": f"{sys.executable} -m pip"},
        check=True,
    )
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    yield target
    for path in (target, *target.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the image as it runs in a pod: few variables, no home."""
    return subprocess.run(
        [str(root / "bin" / command[0]), *command[1:]],
        cwd="/",
        env={"PATH": f"{root}/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
        **as_nobody(),
    )


@pytest.mark.skipif(
    not (BIN / "hadolint").exists(), reason="hadolint has no program for this machine"
)
def test_the_dockerfile_is_linted() -> None:
    done = subprocess.run(
        [BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_keeps_the_promises_of_the_chart() -> None:
    stages = re.findall(r"^FROM (.*)$", DOCKERFILE, re.MULTILINE)
    assert stages == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    base = re.search(
        r"^ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?$",
        *(DOCKERFILE, re.MULTILINE),
    )
    assert base, "the base is pinned to a full version, and by digest once `make pin` ran"
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert f"USER {NOBODY}:{NOBODY}" in last
    assert "RUN" not in last, "the last stage only copies"
    assert f"ARG VERSION={energaizer.__version__}" in last
    assert re.findall(r"^RUN (.*)$", DOCKERFILE, re.MULTILINE) == [
        "packaging/assemble /opt/energaizer"
    ]
    for label in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{label}=" in last


DIGEST = f"sha256:{'5e' * 32}"
ASKED = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *Architecture*) echo "{architectures} " ;;
  *imagetools*) echo {digest} ;;
esac
"""
"""A docker of which a registry can be asked."""


def with_docker(
    folder: Path, architectures: str, *command: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command beside a docker that tells these architectures; return what that was told."""
    docker, log = folder / "docker", folder / "log"
    docker.write_text(ASKED.format(log=log, architectures=architectures, digest=DIGEST))
    docker.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done, log.read_text().splitlines()


def test_an_image_is_built_for_both_architectures_from_a_digest(tmp_path: Path) -> None:
    done, told = with_docker(tmp_path, "amd64 arm64", "make", "image", "OUTPUT=--push")
    assert done.returncode == 0, done.stderr
    for option in (
        "--platform linux/amd64,linux/arm64",
        f"-slim-bookworm@{DIGEST}",
        "--sbom=true --provenance=true --push .",
    ):
        assert option in told[-1]
    done, told = with_docker(tmp_path, "amd64", "make", "image")
    assert done.returncode != 0
    assert "has no arm64, only: amd64" in done.stderr
    assert "imagetools" in told[-1], "built all the same"


def test_the_digest_of_the_base_is_written_into_the_dockerfile(tmp_path: Path) -> None:
    copy = tmp_path / "Dockerfile"
    copy.write_text(DOCKERFILE)
    pin = ("packaging/pin", "--write", str(copy))
    for _ in range(2):  # the second time it replaces a digest
        done, _ = with_docker(tmp_path, "arm64 amd64", *pin)
        assert done.returncode == 0, done.stderr
        assert f"-slim-bookworm@{DIGEST}\n" in copy.read_text()
        assert copy.read_text().replace(f"@{DIGEST}", "") == re.sub(
            "@sha256:[0-9a-f]{64}", "", DOCKERFILE
        )


def test_what_the_dockerfile_copies_passes_dockerignore() -> None:
    passing = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    build = DOCKERFILE.partition("FROM ${PYTHON_IMAGE}\n")[0]
    copied = {
        name
        for line in re.findall(r"^COPY (.*)$", build, re.MULTILINE)
        for name in line.split()[:-1]
    }
    assert copied == passing
    assert all((ROOT / name).exists() for name in copied)


def test_programs_run_as_nobody_on_a_read_only_tree(root: Path) -> None:
    before = sorted(str(path) for path in root.rglob("*"))
    version = run(root, "energaizer-operator", "--version")
    assert version.stdout == f"energaizer-operator {energaizer.__version__}\n", version.stderr
    model = ("--model", "llama-3.1-8b", "--gpu", "h100-sxm", "--batch", "1", "-o", "json")
    lengths = ("--input-tokens", "128", "--output-tokens", "8")
    estimate = run(root, "energaizer", "estimate", *model, *lengths)
    assert estimate.returncode == 0, estimate.stderr
    assert json.loads(estimate.stdout)
    profiles = run(root, "kubectl-energaizer", "profiles", "-o", "json")
    assert len(json.loads(profiles.stdout)["items"]) > 20, profiles.stderr
    alone = run(root, "energaizer-operator", "check", "--kubeconfig", "/nowhere")
    assert alone.returncode == 1
    assert alone.stderr.startswith("error: no cluster: cannot use /nowhere")
    if os.geteuid() == 0 or not os.access(root, os.W_OK):
        writing = run(root, "python", "-c", f"open({str(root / 'new')!r}, 'w')")
        assert "PermissionError" in writing.stderr
    assert sorted(str(path) for path in root.rglob("*")) == before


def test_the_tree_holds_the_program_and_no_tools(root: Path) -> None:
    packages = {path.name for path in root.glob("lib/python3*/site-packages/*")}
    assert {"energaizer", "energaizer_operator", "kopf"} <= packages
    assert not packages & {"pip", "setuptools", "pytest", "mypy", "pandas", "scipy", "localcluster"}


def test_the_bill_of_materials_names_every_pinned_version(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    command = ["environment", "--output-reproducible", "--output-format", "JSON"]
    subprocess.run(
        [BIN / "cyclonedx-py", *command, "--output-file", out, root / "bin/python"], check=True
    )
    components = {
        one["name"].lower().replace("_", "-"): one["version"]
        for one in json.loads(out.read_text())["components"]
    }
    pinned = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().split()
        if "==" in line
    )
    assert {"numpy", "kubernetes", "kopf", "cryptography"} <= set(components)
    assert all(pinned[name] == components[name] for name in components if name != "energaizer")
