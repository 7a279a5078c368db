"""Trainers: programs that train by documented flags, whatever launches them.

`--model_name_or_path` and its neighbours are those of Hugging Face's Trainer, which TRL,
LLaMA-Factory and many scripts share. What a file of settings or a recipe holds is not in the
manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from energaizer_operator.runtimes.arguments import canonical, understand
from energaizer_operator.runtimes.models import hidden, tagged_name
from energaizer_operator.runtimes.records import Call, Input, Reading, Runtime

_LAUNCHERS = frozenset({"torchrun", "accelerate", "deepspeed", "colossalai", "horovodrun"})
_READ_MOST = 256  # words of a command among which a trainer is looked for
_TRAINS = frozenset(
    {"--per-device-train-batch-size", "--num-train-epochs", "--max-steps", "--learning-rate"}
    | {"--gradient-accumulation-steps", "--do-train"}
)
_TOGETHER = frozenset(
    {"--nnodes", "--num-machines", "--num-processes", "--hostfile", "--rdzv-endpoint"}
)
"""Flags of launchers that join several pods into one training."""
_FORMATS = {"--bf16": "BF16", "--fp16": "FP16"}
_MIXED = {"bf16": "BF16", "fp16": "FP16", "fp8": "FP8"}
_RECIPE = re.compile(r"((?:llama|qwen|mistral|gemma|phi)[\d_]*)/(\d+(?:\.\d+)?B)_\w+", re.ASCII)


def _completed(call: Call, values: dict[str, str], unknown: dict[str, str]) -> None:
    """Number format, task and global batch of Hugging Face's Trainer."""
    said = _said(call)
    if call.runtime is TRAINER and not _TRAINS & said.keys():
        del values[Input.TASK]  # it may evaluate or serve: nothing says that it trains
    for flag, meaning in _FORMATS.items():
        if said.get(flag, "false").casefold() in ("", "true", "1", "yes"):
            values[Input.PRECISION] = meaning
    mixed = said.get("--mixed-precision", "").casefold()
    if mixed in _MIXED:
        values.setdefault(Input.PRECISION, _MIXED[mixed])
    _batch(call, said, values, unknown)


def _batch(
    call: Call, said: Mapping[str, str], values: dict[str, str], unknown: dict[str, str]
) -> None:
    """The global batch: samples of one GPU at once, times accumulation, times the GPUs."""
    each, folds = values.get(Input.MICRO), said.get("--gradient-accumulation-steps", "1")
    if each is None or Input.BATCH in values:
        return
    if "--gradient-accumulation-steps" not in said and _names_settings(call):
        unknown[Input.BATCH] = "follows gradient accumulation, which a file of settings may state"
    elif not folds.isdigit():
        unknown[Input.BATCH] = "follows gradient accumulation, which is no literal number"
    elif not call.world:
        unknown[Input.BATCH] = "follows the number of GPUs, which the pods do not state"
    elif (why := _idle(call, said)) is not None:
        unknown[Input.BATCH] = unknown[Input.DATA] = why
    else:
        values[Input.BATCH] = str(int(each) * int(folds) * call.world)


def _names_settings(call: Call) -> bool:
    """Return whether a trainer reads settings from a file beside its flags."""
    return call.runtime in (LIBRARIES, AXOLOTL) and any(
        canonical(word, call.runtime) == "--config"
        or (not word.startswith("-") and word.endswith((".yaml", ".yml", ".json")))
        for word in call.words
    )


def _idle(call: Call, said: Mapping[str, str]) -> str | None:
    """Return why the processes that a launcher starts are not one a GPU; None if they are."""
    for flag, gpus in (
        ("--nproc-per-node", call.gpus),
        ("--num-gpus", call.gpus),
        ("--num-processes", call.world),
    ):
        number = said.get(flag, "")
        if number.isdigit() and gpus and int(number) != gpus:
            return f"does not follow: {flag} is {number}, but the pods ask for {gpus} GPUs"
    if call.gpus and call.world != call.gpus and not _TOGETHER & said.keys():
        return "does not follow: whether its pods train together is not stated"
    return None


def _said(call: Call) -> dict[str, str]:
    """Return what stands after each flag, flags in the spelling of the tables."""
    found: dict[str, str] = {}
    for index, word in enumerate(call.words):
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            following = call.words[index + 1 : index + 2]
            if not equals and following and not following[0].startswith("-"):
                value = following[0]
            found[canonical(flag.replace("_", "-"), call.runtime)] = value
    return found


def _by_sizes(call: Call, values: dict[str, str], unknown: dict[str, str]) -> None:
    """Megatron-LM describes a model by its sizes, and trains it from nothing or on."""
    said = _said(call)
    values[Input.TASK] = "Training"
    unknown[Input.MODEL] = "is described by sizes alone"
    for flag, meaning in _FORMATS.items():
        if flag in said:
            values[Input.PRECISION] = meaning


_FLAGS = {
    "--model-name-or-path": Input.MODEL, "--model-revision": Input.REVISION,
    "--per-device-train-batch-size": Input.MICRO, "--max-steps": Input.STEPS,
    "--block-size": Input.STRETCH,
}  # fmt: skip
TRAINER = Runtime(
    "Hugging Face's Trainer", flags=_FLAGS, abbreviates=True, task="FineTuning", amend=_completed
)
LIBRARIES = Runtime(
    "TRL or LLaMA-Factory",
    flags=_FLAGS,
    commands=(
        *(("trl", method) for method in ("sft", "dpo", "grpo", "kto", "rloo", "reward")),
        ("llamafactory-cli", "train"),
    ),
    abbreviates=True,
    opaque=frozenset({"--config"}),
    task="FineTuning",
    amend=_completed,
)
AXOLOTL = Runtime(
    "Axolotl",
    flags={
        "--base-model": Input.MODEL, "--micro-batch-size": Input.MICRO,
        "--max-steps": Input.STEPS,
    },
    commands=(("axolotl", "train"), ("-m", "axolotl.cli.train")),
    abbreviates=True,
    task="FineTuning",
    amend=_completed,
)  # fmt: skip
TORCHTUNE = Runtime("torchtune", flags={}, commands=(("tune", "run"),), task="FineTuning")
MEGATRON = Runtime(
    "Megatron-LM",
    flags={
        "--tensor-model-parallel-size": Input.TENSOR,
        "--pipeline-model-parallel-size": Input.PIPELINE,
        "--context-parallel-size": Input.CONTEXT, "--expert-model-parallel-size": Input.EXPERT,
        "--micro-batch-size": Input.MICRO, "--global-batch-size": Input.BATCH,
        "--seq-length": Input.STRETCH, "--train-iters": Input.STEPS,
    },
    abbreviates=True,
    task="Training",
    amend=_by_sizes,
)  # fmt: skip
_MEGATRON = re.compile(r"(.*/)?pretrain_(gpt|bert|t5|mamba|vlm)\.py")
TRAINERS = (LIBRARIES, AXOLOTL, TORCHTUNE)


def started(words: tuple[str, ...], variables: Mapping[str, str], gpus: int) -> Call | None:
    """Return the trainer that a command starts, directly or by a launcher; None if none."""
    read = words[:_READ_MOST]
    for runtime in TRAINERS:
        for start in runtime.commands:
            for index in range(len(read) - len(start) + 1):
                if read[index : index + len(start)] == start:
                    return Call(runtime, words, variables, gpus)
    program = words[0].rpartition("/")[2] if words else ""
    if program not in _LAUNCHERS and not program.startswith("python"):
        return None
    if any(_MEGATRON.fullmatch(word) for word in read):
        return Call(MEGATRON, words, variables, gpus)
    flags = {word.partition("=")[0].replace("_", "-") for word in read}
    return Call(TRAINER, words, variables, gpus) if "--model-name-or-path" in flags else None


def trained(call: Call, known: Mapping[str, str]) -> Reading:
    """Return what a trainer states; `key=value` overrides what its file of settings says."""
    if call.runtime is TORCHTUNE:
        return _tuned(call, known)
    if call.runtime is TRAINER or call.runtime is MEGATRON:
        return understand(call, known)
    words = tuple(
        f"--{word}" if re.match(r"[a-z][a-z_]*=", word, re.ASCII) else word for word in call.words
    )
    reading = understand(replace(call, words=words), known)
    if Input.MODEL in {**reading.values, **reading.unknown}:
        return reading
    why = "stands in a file of settings that the arguments name, if anywhere"
    return replace(reading, unknown={**reading.unknown, Input.MODEL: why})


def _tuned(call: Call, known: Mapping[str, str]) -> Reading:
    """What `tune run RECIPE --config llama3_1/8B_full` states: the name of a shipped recipe."""
    values: dict[str, str] = {Input.TASK: "FineTuning"}
    unknown: dict[str, str] = {}
    said = _said(call)
    recipe = _RECIPE.fullmatch(said.get("--config", ""))
    spoken = f"{recipe[1].replace('_', '.')}:{recipe[2]}" if recipe else ""
    name = None if not spoken or hidden(spoken) else tagged_name(spoken, known)
    if name is None:
        unknown[Input.MODEL] = "stands in a recipe that is not known"
    else:
        values[Input.MODEL] = name
    overrides = dict(word.split("=", 1) for word in call.words if re.match(r"[a-z_]+=", word))
    micro, folds = overrides.get("batch_size", ""), overrides.get("gradient_accumulation_steps")
    if micro.isdigit():
        values[Input.MICRO] = micro
        if folds is not None:
            _batch(call, {**said, "--gradient-accumulation-steps": folds}, values, unknown)
    if overrides.get("dtype") in _MIXED:
        values[Input.PRECISION] = _MIXED[overrides["dtype"]]
    return Reading(values, unknown)
