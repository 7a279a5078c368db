"""Ray Serve's `serveConfigV2`: applications, whose arguments or environment name the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from energaizer_operator.runtimes import kubelet
from energaizer_operator.runtimes.arguments import take
from energaizer_operator.runtimes.records import Input, Reading, common
from energaizer_operator.runtimes.tables import VLLM
from energaizer_operator.shapes import items, mapping

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEGREES = {
    "tensor_parallel_size": Input.TENSOR,
    "pipeline_parallel_size": Input.PIPELINE,
    "data_parallel_size": Input.DATA,
    "dtype": Input.PRECISION,
    "quantization": Input.WEIGHTS,
    "kv_cache_dtype": Input.CACHE,
    "revision": Input.REVISION,
}
_VARIABLES = {
    "MODEL_ID": Input.MODEL,
    "TENSOR_PARALLELISM": Input.TENSOR,
    "PIPELINE_PARALLELISM": Input.PIPELINE,
    "TENSOR_PARALLEL_SIZE": Input.TENSOR,
    "PIPELINE_PARALLEL_SIZE": Input.PIPELINE,
    "DTYPE": Input.PRECISION,
}
"""Of Ray's own examples that serve a model with vLLM."""


def read(text: str, known: Mapping[str, str]) -> Reading:
    """Return what the configuration of a RayService states.

    Args:
        text: YAML, of anybody's making.
        known: Last part of a model's name, in lower case -> name (`last_parts`).
    """
    if len(text) > kubelet.MAX_TEXT:
        return Reading()
    try:
        document = yaml.load(text, _LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError, ValueError):
        return Reading()
    found: list[Reading] = []
    for stated in _statements(document):
        values: dict[str, str] = {Input.TASK: "Inference"}
        unknown: dict[str, str] = {}
        for entry, said in stated.items():
            take(VLLM, entry, said, known, values, unknown)
        found.append(Reading(values, unknown))
    return common(found, "differs between the models that one service serves")


def _statements(document: Any) -> Iterator[dict[Input, str]]:
    """Yield what each served model states."""
    for application in items(mapping(document).get("applications")):
        arguments = mapping(application.get("args"))
        for one in [*items(arguments.get("llm_configs")), arguments.get("llm_config")]:
            loading = mapping(mapping(one).get("model_loading_config"))
            model = loading.get("model_source") or loading.get("model_id")
            if model is not None:
                engine = mapping(mapping(one).get("engine_kwargs"))
                yield {Input.MODEL: _text(model), **_chosen(engine, _DEGREES)}
        variables = mapping(mapping(application.get("runtime_env")).get("env_vars"))
        stated = _chosen(variables, _VARIABLES)
        if Input.MODEL in stated:
            yield stated


def _chosen(texts: Mapping[str, Any], names: Mapping[str, Input]) -> dict[Input, str]:
    return {
        entry: _text(texts[name]) for name, entry in names.items() if texts.get(name) is not None
    }


def _text(value: Any) -> str:
    if isinstance(value, Mapping):  # a bucket that mirrors it
        return ""
    return str(value)
