# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in place of MaxText and of the installer, for tests of what is around them.

They leave what the real ones leave, in seconds, and each adds its name to FINISHED when it is done. Given as
extra variables they outweigh the roles' own command lines; all else is the real thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DISK = "/mnt/disks/checkpoints"
FINISHED = f"{DISK}/maxtext/finished"
HOLD = "/run/hold"  # on the node: a new node does not have it
COUNT = f"open('{FINISHED}', 'a').write(NAME + '\\n')"
CHECKPOINT = """
import hashlib, json, os, shutil
def describe(tree, record):
    files = {}
    for directory, _, names in os.walk(tree):
        for name in names:
            data = open(directory + "/" + name, "rb").read()
            path = os.path.relpath(directory + "/" + name, tree)
            files[path] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    os.makedirs(os.path.dirname(record), exist_ok=True)
    open(record, "w").write(json.dumps({"files": files, "about": {}}))
def save(root, step, item):
    final, new = f"{root}/{step}", f"{root}/{step}.orbax-checkpoint-tmp"
    shutil.rmtree(new, ignore_errors=True)
    for name in ("d", "ocdbt.process_0"):
        os.makedirs(f"{new}/{item}/{name}")
    for name in ("_METADATA", "manifest.ocdbt", "d/0", "ocdbt.process_0/manifest.ocdbt"):
        open(f"{new}/{item}/{name}", "w").write("{}")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(new, final)
"""
INSTALL = f"""
import os, sys
NAME = "install"
prefix, link = sys.argv[1:]
os.makedirs(prefix + "/bin", exist_ok=True)
open(prefix + "/bin/python", "w").close()
open(prefix + "/.complete", "w").close()
os.path.islink(link) or os.symlink(os.path.basename(prefix), link)
{COUNT}
"""
# arguments: directory of the model. It does not end while the file HOLD is there.
CONVERT = f"""
import os, sys, time
NAME = "convert"
{CHECKPOINT}
while os.path.exists("{HOLD}"):
    time.sleep(0.1)
save(sys.argv[1], 0, "items")
describe(sys.argv[1] + "/0", sys.argv[1] + "/manifest.json")
{COUNT}
"""
# arguments: directory of the run, steps, steps a checkpoint, steps at which it stands still the first time.
# It says each step as MaxText does, goes on from the last checkpoint, and keeps what was trained in the file
# history.
TRAIN = f"""
import sys, time
NAME = "train"
{CHECKPOINT}
root = sys.argv[1] + "/checkpoints"
steps, period = int(sys.argv[2]), int(sys.argv[3])
still = [int(step) for step in sys.argv[4:]]
os.makedirs(root, exist_ok=True)
open(sys.argv[1] + "/history", "a").close()
known = [int(step) for step in open(sys.argv[1] + "/history")]
first = max([int(name) for name in os.listdir(root) if name.isdigit()], default=0) + 1
for step in range(first, steps + 1):
    time.sleep(0.05)
    loss = 8 / step
    print(f"completed step: {{step}}, seconds: 0.05, TFLOP/s/device: 0.0, loss: {{loss:.3f}}")
    with open(sys.argv[1] + "/history", "a") as history:
        print(step, file=history)
        history.flush()
        os.fsync(history.fileno())
    if step in still and step not in known:
        while True:
            time.sleep(60)
    if step % period == 0 or step == steps:
        save(root, step, "model_params")
        describe(f"{{root}}/{{step}}", f"{{sys.argv[1]}}/manifests/{{step}}.json")
{COUNT}
"""


def variables(*, steps: int, period: int, still: Sequence[int] = ()) -> dict[str, Any]:
    """Extra variables of a run with a checkpoint each `period` steps, that stands still once at some."""
    python = ["/usr/bin/python3", "-c"]
    return {
        "_locked_env_argv": [*python, INSTALL, "{{ _locked_env_prefix }}", "{{ _locked_env_link }}"],
        "_convert_argv": [*python, CONVERT, "{{ _common_base_directory }}"],
        "_sft_argv": [*python, TRAIN, "{{ _sft_run_directory }}", *map(str, [steps, period, *still])],
        "steps": steps,
        "sft_num_epoch": steps,  # so that the tiny data set lasts for any number of them
    }
