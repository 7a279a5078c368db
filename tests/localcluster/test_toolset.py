from pathlib import Path
from shutil import copytree

import pytest

from localcluster import BuildError
from localcluster.build import copy
from localcluster.toolchain import go_environment
from localcluster.toolset import (
    ModuleFiles,
    Toolset,
    default_program_name,
    expand_ldflags,
    load_toolset,
    parse_version,
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("v1.37.2", (1, 37, 2)), ("go1.26.8", (1, 26, 8)), ("1.26", (1, 26)), ("go1.27rc1", (1, 27))],
)
def test_versions_are_read_as_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_version(text) == numbers


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(BuildError, match='"devel"'):
        parse_version("devel")


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("go.etcd.io/etcd/server/v3", "server"),
        ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
        ("helm.sh/helm/v4/cmd/helm", "helm"),
    ],
)
def test_a_program_is_named_as_go_names_it(package: str, name: str) -> None:
    assert default_program_name(package) == name


def test_ldflags_take_the_version() -> None:
    flags = ("-s", "-X", "a.v={version}", "-X", "a.m={major}.{minor}")
    assert expand_ldflags(flags, "v1.37.2") == "-s -X a.v=v1.37.2 -X a.m=1.37"


def test_the_recipe_builds_tools_that_go_mod_pins() -> None:
    toolset = load_toolset("kubernetes")
    pinned = (toolset.folder / "go.mod").read_text()
    for package in toolset.recipe.programs.values():
        assert f"\t{package}\n" in pinned
    for files in toolset.recipe.files:
        assert f"\t{files.module} v" in pinned
    assert toolset.go_version == (1, 26, 0)


def test_kueue_and_the_kinds_it_brings_are_pinned() -> None:
    toolset = load_toolset("kueue")
    pinned = (toolset.folder / "go.mod").read_text()
    for module in (toolset.recipe.version_of, *(one.module for one in toolset.recipe.files)):
        assert f"\t{module} v" in pinned


def test_files_of_a_module_keep_their_folders(tmp_path: Path) -> None:
    for name in ("data/base/one.yaml", "data/base/one.txt", "data/two.yaml", "other/three.yaml"):
        (tmp_path / "module" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "module" / name).write_text(name)
    chosen = ModuleFiles(module="m", folder="data", names=("**/*.yaml",), to="x")
    copy(chosen, tmp_path / "module", tmp_path / "copied")
    copied = sorted(path.relative_to(tmp_path / "copied") for path in tmp_path.rglob("copied/**/*"))
    assert [str(path) for path in copied] == ["base", "base/one.yaml", "two.yaml"]


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    absent = ModuleFiles(module="m", folder=".", names=("*.yaml",), to="x")
    with pytest.raises(BuildError, match=r"m: no \./\*\.yaml"):
        copy(absent, tmp_path, tmp_path / "copied")


def test_staging_modules_follow_the_version_of_kubernetes() -> None:
    lines = (load_toolset("kubernetes").folder / "go.mod").read_text().splitlines()
    version = next(line.split()[1] for line in lines if line.startswith("\tk8s.io/kubernetes v"))
    replaced = [line.split("=> ")[1].split()[1] for line in lines if "=>" in line]
    assert replaced == [version.replace("v1.", "v0.")] * 33


def test_an_unknown_tool_set_lists_the_known_ones() -> None:
    with pytest.raises(BuildError, match=r"there are: .*kubernetes"):
        load_toolset("kubernets")


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "toolset.toml", "main.go"])
def test_any_change_of_what_is_built_gives_another_key(tmp_path: Path, changed: str) -> None:
    original = load_toolset("cert-manager")
    copy = Toolset("cert-manager", tmp_path / "copy", original.recipe)
    copytree(original.folder, copy.folder)
    assert copy.key("go1.26.8") == original.key("go1.26.8")
    assert copy.key("go1.27.0") != original.key("go1.26.8")
    with (copy.folder / changed).open("a") as file:
        file.write("\n")
    assert copy.key("go1.26.8") != original.key("go1.26.8")


def test_flags_of_the_caller_do_not_reach_the_build() -> None:
    chosen = go_environment(
        {"GOFLAGS": "-mod=vendor", "GOPROXY": "p", "GOWORK": "/x", "GOOS": "js"}
    )
    assert (chosen["GOFLAGS"], chosen["GOWORK"], chosen["GOOS"]) == ("", "off", "")
    assert chosen["GOPROXY"] == "p"
