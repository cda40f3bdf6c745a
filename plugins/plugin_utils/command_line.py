# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands in messages, as the user of the running command can type them.

A message names a playbook as a clone has it, ``ansible-playbook playbooks/teardown.yml``. What the user reads
finds the same playbook, from a clone or from Galaxy, and acts on the same cloud, node and disk.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Set
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.splitter import parse_kv
from ansible.utils.vars import load_extra_vars
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import setting_values, settings

COLLECTION = "tpuops.maxtext"
#: Where this collection is: what a link leads to, in a clone.
ROOT = Path(__file__).resolve().parents[2]
#: Extra variables that say where something is, whose, and of which run.
PLACE = (
    "project",
    "zone",
    "tpu_vm_candidates",
    "tpu_vm_name",
    "tpu_vm_owner",
    "tpu_vm_labels",
    "data_disk_mount_point",
    "model",
    "run_name",
    "serve_port",
    # Without them a machine is not reached: teardown.yml then deletes its node with the job that runs there.
    "tpu_vm_user",
    "tpu_vm_ssh_key_file",
    "tpu_vm_os_login",
    "tpu_vm_os_login_email",
)
#: Playbooks that start the server again where it serves another model, and what they do that by.
SERVING = ("chat", "connect")
SERVED = (
    "hf_username",
    "hf_repo",
    "hf_endpoint",
    "hf_model",
    "hf_revision",
    "platform",
    "tensor_parallel_size",
)
#: What is meant for one command. In another one it would delete, stop or serve what its message does not say.
ONCE = frozenset(
    {
        "tpu_vm_force",
        "tpu_vm_delete_disk",
        "tpu_vm_ephemeral",
        "leftovers_delete",
        "vllm_serve_state",
        "vllm_serve_model",
    }
)
#: Roles whose settings make a run and its node, with the entry point that has them.
RUN = (
    ("common", "run"),
    ("common", "variables"),
    ("tpu_vm", "main"),
    ("tpu_vm", "recover"),
    ("data_disk", None),
    ("maxtext_env", None),
    ("convert", None),
    ("sft", None),
    ("export", None),
    ("vllm_serve", None),
    ("evaluate", None),
)
#: What may hold a secret, beside what is declared as one and beside variables of environments.
SECRET = frozenset({"vllm_serve_arguments"})
#: Dicts that hold none.
OPEN = frozenset({"tpu_vm_service_account"})
# Ansible splits, unquotes and expands other values of NAME=VALUE.
PLAIN = re.compile(r"[A-Za-z0-9_.:@/-]*")
COMMAND = re.compile(r"ansible-playbook\s+(?:playbooks/)?([a-z_]+)\.yml\b")
#: The options that follow a playbook in a message, the values as shlex.quote writes them.
OPTIONS = re.compile(r"""(?:\s+(?:-e|--tags|--skip-tags)\s+(?:'[^']*'(?:"'"'[^']*')*|[^\s']+))*""")


def as_started(text: str) -> str:
    """A message in which each command has the inventory and the place of the running command, and its run.

    A command for stages has what makes the run and its node: without these it would begin another one. No
    secret is repeated. A file of variables is, by its name.

    What the message itself says after a command's playbook is not said twice.
    """
    parts = COMMAND.split(text)
    told = parts[0]
    for name, rest in zip(parts[1::2], parts[2::2], strict=True):
        told += playbook_command(name, rest) + rest
    return told


def playbook_command(name: str, rest: str = "") -> str:
    """The command that plays one of our playbooks. rest: what follows in the message."""
    variables = load_extra_vars(DataLoader())
    options = OPTIONS.match(rest)
    own = options[0] if options else ""
    files, typed = given()
    # What a file has beside the place is not known to be right for another command.
    once = ONCE & variables.keys()
    if once - typed or not all(can_be_named(file, once) for file in files):
        files, typed = [], typed | variables.keys()
    wanted = (*PLACE, *(of_run() if name == "site" else of_server() if name in SERVING else ()))
    again = [
        each
        for each in wanted
        if each in typed
        and not re.search(rf"-e (?:'{{)?{each}\b", own)
        and not setting_values.PASSWORD.search(str(variables[each]))
    ]
    place = [f"-e {shlex.quote('@' + shortest(file))}" for file in files]
    place += [extra_variable(each, variables[each]) for each in again]
    return " ".join(["ansible-playbook", *sources(), shlex.quote(playbook(name)), *place])


def given() -> tuple[list[str], set[str]]:
    """The files of extra variables of the running command, and the variables that it has beside them."""
    files, typed = [], set[str]()
    for option in map(str, context.CLIARGS.get("extra_vars") or ()):
        if option.startswith("@"):
            files.append(option[1:])
        elif option.startswith(("{", "[")):
            typed |= dict(DataLoader().load(option)).keys()
        elif option:
            typed |= parse_kv(option).keys()
    return files, typed


def can_be_named(file: str, once: Set[str]) -> bool:
    """Whether another command can read the file, and none of the variables `once` counts there again."""
    path = Path(file).expanduser()
    if not path.is_file():  # <(sops decrypt FILE), which was read once
        return False
    content = path.read_bytes() if once else b""
    return not (content.startswith(b"$ANSIBLE_VAULT") or any(each.encode() in content for each in once))


def of_server() -> tuple[str, ...]:
    """The settings without which a command for the server would start it with another model."""
    return (*SERVED, *(each for each in of_run() if each.startswith("vllm_serve_")))


@cache
def of_run() -> tuple[str, ...]:
    """The settings without which a command for stages would begin another run, or make another node."""
    every = [each for role, entry in RUN for each in settings.of_role(role, entry)]
    left_out = {*PLACE, *ONCE, *SECRET}
    return tuple(
        dict.fromkeys(
            each.name
            for each in every
            # An environment or an authorisation is a dict, and may hold a secret.
            if not (each.secret or each.passed or each.name in left_out)
            and (each.type != "dict" or each.name in OPEN)
        )
    )


def command(name: str, *arguments: str, **variables: str) -> str:
    """The command that plays one of our playbooks with these arguments and extra variables."""
    rest = "".join(f" {each}" for each in arguments)
    # Of two values of a variable the last one counts, so what is given here stands behind the place.
    rest += "".join(f" {extra_variable(key, value)}" for key, value in variables.items())
    return playbook_command(name, rest) + rest


def sources() -> list[str]:
    """The options that give the same inventory, and open what is encrypted in it."""
    asked = context.CLIARGS
    options = [("-i", source) for source in asked.get("inventory") or [] if source != "/etc/ansible/hosts"]
    options += [("--vault-id", each) for each in asked.get("vault_ids") or []]
    options += [("--vault-password-file", each) for each in asked.get("vault_password_files") or []]
    told = [f"{option} {shlex.quote(shortest(value))}" for option, value in options]
    return [*told, *(["--ask-vault-pass"] if asked.get("ask_vault_pass") else [])]


def playbook(name: str) -> str:
    """A playbook of ours as the running one was named: by its path in a clone, else by its full name."""
    running = next(iter(context.CLIARGS.get("args") or []), "")
    if not Path(running).is_file() or ROOT not in Path(running).resolve().parents:
        return f"{COLLECTION}.{name}"
    path = ROOT / f"{name}.yml"
    return shortest(str(path if path.is_file() else ROOT / "playbooks" / f"{name}.yml"))


def shortest(path: str) -> str:
    """A path below the working directory, from there on; anything else as it is."""
    beside = os.path.relpath(path, Path.cwd()) if os.path.isabs(path) else path
    return path if beside.startswith("..") else beside


def extra_variable(name: str, value: Any) -> str:
    """The argument that sets the variable, quoted for a shell.

    It is YAML, as a result that Ansible prints as JSON has a backslash before each double quote.
    """
    text = f"{name}={value}" if value is not None and PLAIN.fullmatch(str(value)) else in_yaml({name: value})
    return f"-e {shlex.quote(text)}"


def in_yaml(value: Any) -> str:
    """On one line. Ansible's own kinds of strings are strings there."""
    plain = json.loads(json.dumps(value, ensure_ascii=False, default=str))
    text = yaml.safe_dump(plain, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return str(text).strip()
