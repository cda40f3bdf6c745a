# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles the step that MaxText's SFT trainer runs, for a TPU that is not there, and says what it needs.

    compile_sft.py <SETTINGS >RESULTS

SETTINGS has a JSON object a line: ``topology``, MaxText's name of the accelerator (v5e-8), and ``arguments``,
those of the trainer. Each gives a JSON object a line, in the same order and at once, so that one process pays
for imports once:

- ``verdict``: ``fits``, or ``too large`` where the compiler refuses it for lack of memory;
- ``total``: GiB of a device that the program needs, or at least needs where it is refused;
- with ``fits`` its parts: ``arguments``, ``temporary``, ``output``, ``aliased`` (output in the place of an
  argument: Tunix donates the optimizer);
- ``splash``: whether the attention is the TPU's own kernel;
- ``cpu``: seconds of CPU; ``versions``: of what decides.

Or ``error``: why it cannot be compiled at all.

Runs in an environment from environments/train-tpu.txt, on any x86-64 Linux: libtpu compiles for a topology by
its name. The state is made as ``train_sft.setup_trainer_state`` makes it, but of shapes alone. The step is
the trainer's own method, jitted as Tunix does. Read in maxtext 0.2.5 and google-tunix 0.1.7.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

VERSIONS = ("maxtext", "google-tunix", "jax", "libtpu")
GIB = 2**30
FITS, TOO_LARGE = "fits", "too large"
# What the trainer is told that the compiled program does not depend on.
FIXED = ("run_name=fit", "base_output_directory=/nowhere", "skip_jax_distributed_system=True")
REFUSALS = (
    re.compile(r"Used ([\d.]+)([KMG]) of [\d.]+[KMG] hbm"),
    re.compile(r"total memory required for HLO temporaries \(([\d.]+)([KMG])\) exceeds available HBM"),
)
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def main() -> None:
    # No TPU is looked for, here or at the metadata server, so others may use libtpu, too: it has a lock file.
    os.environ.update(
        JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1", DECOUPLE_GCLOUD="TRUE"
    )
    for line in sys.stdin:
        settings = json.loads(line)
        # MaxText prints what it is told.
        with redirect_stdout(sys.stderr):
            answer = answer_to(settings["topology"], settings["arguments"])
        print(json.dumps(answer), flush=True)


def answer_to(topology: str, arguments: list[str]) -> dict[str, Any]:
    began = time.process_time()
    try:
        found = measure(topology, arguments)
    except Exception as error:  # whatever it is, the other settings are compiled too
        found = refusal(str(error)) or {"error": f"{type(error).__name__}: {error}"[:2000]}
    versions = {name: metadata.version(name) for name in VERSIONS}
    return {**found, "cpu": round(time.process_time() - began), "versions": versions}


def measure(topology: str, arguments: list[str]) -> dict[str, Any]:
    """What the compiled step needs."""
    lowered = lower(topology, arguments)
    splash = "splash" in lowered.as_text()
    try:
        memory = lowered.compile().memory_analysis()
    except Exception as error:
        found = refusal(str(error))
        if found is None:
            raise
        return {**found, "splash": splash}
    parts = {
        "arguments": memory.argument_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "output": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
    }
    total = parts["arguments"] + parts["temporary"] + parts["output"] - parts["aliased"]
    sizes = {name: round(size / GIB, 2) for name, size in {**parts, "total": total}.items()}
    return {"verdict": FITS, **sizes, "splash": splash}


def refusal(message: str) -> dict[str, Any] | None:
    """The verdict of a compiler that says how much memory is missing; None for another message."""
    found = next((match for pattern in REFUSALS if (match := pattern.search(message))), None)
    if not found:
        return None
    return {"verdict": TOO_LARGE, "total": round(float(found[1]) * UNITS[found[2]] / GIB, 2)}


def lower(topology: str, arguments: list[str]) -> Any:
    """The trainer's step, ready to be compiled."""
    import jax
    import maxtext
    from flax import nnx
    from flax.core.spmd import logical_axis_rules
    from maxtext.configs import pyconfig
    from maxtext.trainers.post_train.sft import train_sft
    from maxtext.trainers.pre_train import train_compile
    from maxtext.utils import maxtext_utils, sharding

    config = pyconfig.initialize(
        [
            "",
            str(Path(next(iter(maxtext.__path__))) / "configs" / "post_train" / "sft.yml"),
            *arguments,
            *FIXED,
            f"compile_topology={topology}",
            "compile_topology_num_slices=1",
        ]
    )
    mesh = train_compile.get_topology_mesh(config)
    make = state_maker(config, mesh)
    abstract, _annotations, _shardings = maxtext_utils.get_abstract_state(config, mesh, make, True)
    with logical_axis_rules(config.logical_axis_rules):
        graph, _state = nnx.split(nnx.eval_shape(make))
    state = nnx.merge(graph, abstract)
    batch = maxtext_utils.get_shaped_batch(config, sharding.get_input_data_sharding(config, mesh))
    trainer = train_sft.use_maxtext_loss_function(Trainer(state.model, config), config)
    step = train_sft.MaxTextPeftTrainer.create_train_step_fn(trainer)
    with jax.set_mesh(mesh), logical_axis_rules(config.logical_axis_rules):
        jitted = nnx.jit(step, donate_argnames=("optimizer",))
        lowered = jitted.lower(state.model, state.optimizer, None, batch)
    return getattr(lowered, "lowered", lowered)


def state_maker(config: Any, mesh: Any) -> Callable[[], Any]:
    """A function that makes the trainer's model and optimizer, to be traced."""
    import optax
    from flax import nnx
    from flax.core.spmd import logical_axis_rules
    from maxtext.common import train_state_nnx
    from maxtext.optimizers import optimizers
    from maxtext.utils import lora_utils, maxtext_utils, model_creation_utils

    make_model, _model = model_creation_utils.create_nnx_abstract_model(config, mesh)
    lora = bool(config.lora.enable_lora)

    def make() -> Any:
        model = make_model()
        if lora:
            with logical_axis_rules(config.logical_axis_rules), own_inputs(lora_utils, mesh):
                # Without a mesh, as it would move the adapters' values, and there are none. All devices hold
                # all of them either way.
                model = lora_utils.apply_lora_to_model(model, None, config)
        schedule = maxtext_utils.create_learning_rate_schedule(config)
        optimizer = optimizers.get_optimizer(config, schedule, model)
        if config.gradient_clipping_threshold > 0:
            clip = optax.clip_by_global_norm(max_norm=config.gradient_clipping_threshold)
            optimizer = optax.chain(clip, optimizer)
        if config.gradient_accumulation_steps > 1:
            optimizer = optax.MultiSteps(optimizer, config.gradient_accumulation_steps)
        nnx.pop(model, nnx.Intermediate)
        trained = nnx.LoRAParam if lora else nnx.Param
        return train_state_nnx.TrainStateNNX(model, nnx.Optimizer(model, optimizer, wrt=trained))

    return make


def own_inputs(lora_utils: Any, mesh: Any) -> Any:
    """The inputs of LoRA's trial run have the mesh's number of sequences, whatever mesh it is told."""
    original = lora_utils._prepare_dummy_inputs
    return mock.patch.object(lora_utils, "_prepare_dummy_inputs", lambda *_mesh: original(mesh))


class Trainer(SimpleNamespace):
    """What the trainer's own method needs of Tunix's PeftTrainer."""

    def __init__(self, model: Any, config: Any) -> None:
        super().__init__(
            model=model,
            gen_model_input_fn=lambda inputs: inputs,
            _lora_enabled=bool(config.lora.enable_lora),
            config=SimpleNamespace(
                get_with_default=lambda name, _default: getattr(config, name), max_seq_token_per_tpu=None
            ),
        )

    def with_loss_fn(self, function: Any, has_aux: bool) -> Trainer:
        self.loss_fn, self._has_aux = function, has_aux
        return self


if __name__ == "__main__":
    main()
