# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models through the stages' own programs, without a training: to MaxText and back.

Standard input has a JSON object: `programs`, the directory of the programs; `place`, one for the results;
`messages` of a conversation; and `models`, each with its name, repository, commit, config and arguments. For
each there is a line that begins with ANSWER, with the tokens of the conversation, the log probabilities that
MaxText computes for them where `logits` is set, and the tensors and settings in which the export is not its
base.

Runs on the TPU VM in the training environment. The layers and experts of MaxText's presets are reduced to
those of the models: its converters take their number from a table and not from the settings.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
REDUCED = (
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "moe_intermediate_size",
    "num_attention_heads",
    "num_experts",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_key_value_heads",
    "vocab_size",
)
#: Wraps MaxText's converters, as the package `reduced`. The programs run its modules instead.
PACKAGE = {
    "__init__.py": "",
    "utils/__init__.py": "",
    "utils/utils.py": """
import sys
from maxtext.checkpoint_conversion.utils import utils
sys.modules[__name__] = utils
""",
    **{
        f"{name}.py": f"""
import json, os, runpy
from maxtext.checkpoint_conversion.utils.hf_model_configs import HF_MODEL_CONFIGS
preset, sizes = json.loads(os.environ["REDUCED"])
for key, value in sizes.items():
    setattr(HF_MODEL_CONFIGS[preset], key, value)
if __name__ == "__main__":
    module = "maxtext.checkpoint_conversion.{name}"
    globals().update(runpy.run_module(module, run_name="__main__", alter_sys=True))
"""
        for name in ("to_maxtext", "to_huggingface")
    },
}


def log_probabilities(base: str, arguments: list[str], item: Path, tokens: list[int]) -> list[list[float]]:
    """What MaxText's trainer computes with, in float32."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from maxtext.configs import pyconfig
    from maxtext.utils import model_creation_utils

    settings = [
        "run_name=family",
        f"base_output_directory={item.parent}",
        f"load_parameters_path={item}",
        "scan_layers=True",
        "skip_jax_distributed_system=True",
        "dtype=float32",
        "weight_dtype=float32",
        "matmul_precision=highest",
        "attention=dot_product",
        "per_device_batch_size=1",
        f"max_target_length={len(tokens)}",
        "enable_checkpointing=False",
    ]
    config = pyconfig.initialize_pydantic(["family", base, *settings, *arguments])
    model, mesh = model_creation_utils.from_pretrained(config, wrap_with_tunix_adapter=True)
    with mesh:
        given = jnp.array([tokens])
        logits, _cache = model(given, jnp.arange(len(tokens))[None], None, None)
    return np.asarray(jax.nn.log_softmax(logits[0].astype(jnp.float32))).tolist()


def same_directory(base: Path, export: Path) -> list[str]:
    """The tensors and settings that differ."""
    from safetensors.numpy import load_file

    theirs, ours = (load_file(directory / "model.safetensors") for directory in (base, export))
    tensors = [
        name
        for name in sorted({*theirs, *ours})
        if name not in theirs
        or name not in ours
        or theirs[name].dtype != ours[name].dtype
        or theirs[name].tobytes() != ours[name].tobytes()
    ]
    one, other = (json.loads((directory / "config.json").read_text()) for directory in (base, export))
    settings = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return tensors + settings


def seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def told(model: Answer, place: Path, messages: list[Answer]) -> Answer:
    import convert
    import export
    import transformers
    from maxtext.utils import globals as of_maxtext
    from tpuops import checkpoints, download, manifest

    began = seconds()
    config, arguments = model["config"], model["arguments"]
    preset = arguments[0].partition("=")[2]
    sizes = {name: config[name] for name in REDUCED if name in config}
    sizes.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    os.environ["REDUCED"] = json.dumps([preset, sizes])
    configs = Path(of_maxtext.MAXTEXT_CONFIGS_DIR)
    directory = place / model["name"]
    shutil.rmtree(directory, ignore_errors=True)
    shared = ["scan_layers=True", "skip_jax_distributed_system=True"]
    source = ["--repository", model["repository"], "--commit", model["commit"], "--about", "{}"]
    status = convert.main(
        [
            *source,
            "--output",
            str(directory / "converted"),
            "reduced.to_maxtext",
            str(configs / "base.yml"),
            f"base_output_directory={directory / 'converted'}",
            f"save_dtype={model['base_dtype']}",
            *shared,
            *arguments,
        ]
    )
    assert status == 0, "the conversion failed"
    item = directory / "converted" / "0" / "items"
    step = directory / "run" / "checkpoints" / "1"
    shutil.copytree(item, step / "model_params")
    record = Path(checkpoints.manifest_path(str(step)))
    record.parent.mkdir()
    manifest.write(str(record), manifest.build(str(step), {}))
    status = export.main(
        [
            "--base",
            model["repository"],
            "--revision",
            model["commit"],
            "--output",
            str(directory / "export"),
            "reduced.to_huggingface",
            str(configs / "base.yml"),
            f"load_parameters_path={step / 'model_params'}",
            "weight_dtype=auto",
            *shared,
            *arguments,
            # The models are small, whether or not their rows need it.
            *([] if "--override_model_architecture" in arguments else ["--override_model_architecture"]),
        ]
    )
    assert status == 0, "the export failed"
    base = download.fetch(model["repository"], model["commit"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokens = list(tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"])
    answer = {
        "name": model["name"],
        "export": str(directory / "export"),
        "tokens": tokens,
        "different": same_directory(base, directory / "export"),
        "round_trip_seconds": round(seconds() - began, 1),
    }
    if model["logits"]:
        given = [each for each in arguments if not each.startswith("--")]
        answer["best"] = log_probabilities(str(configs / "post_train" / "sft.yml"), given, item, tokens)
    return {**answer, "seconds": round(seconds() - began, 1)}


def main() -> None:
    given = json.load(sys.stdin)
    place = Path(given["place"])
    for name, text in PACKAGE.items():
        (place / "reduced" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "reduced" / name).write_text(text)
    sys.path[:0] = [given["programs"], str(place)]
    os.environ["PYTHONPATH"] = str(place)  # for the converter, which is a process of its own
    for model in given["models"]:
        print("ANSWER", json.dumps(told(model, place, given["messages"])), flush=True)


if __name__ == "__main__":
    main()
