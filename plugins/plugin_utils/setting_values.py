# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The value of a setting: what is wrong with it, and what it is in its type."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpuops.maxtext.plugins.filter.plain_name import plain_name
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.setting_names import Given
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings import Setting, known, range_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.spelling import nearest, one_of

# Of each pair one is above 0, and the other is 0.
EITHER: Sequence[tuple[str, str]] = [("sft_checkpoint_period", "sft_checkpoint_minutes")]


class Invalid(ValueError):
    """A value that a setting cannot have. The message has the problem and the remedy, without the name."""


def unseen(given: Given, value: Any, here: Sequence[Any]) -> str:
    """That the workers and the controller have two values of a setting; "" where not.

    here: the controller's value, empty where it has none.
    """
    setting = known()[given.name]
    try:
        if [converted(setting, each) for each in here] == [converted(setting, value)]:
            return ""
    except Invalid:
        pass
    return (
        f"{given.name}: is {given.source}, and the plays on the controller have another value. "
        "Set it for the group all."
    )


def problem(name: str, value: Any) -> str:
    """What is wrong with the value of a setting, as a sentence; "" where nothing is."""
    try:
        converted(known()[name], value)
    except Invalid as error:
        return f"{name}: {error}"
    return ""


def problems(values: Mapping[str, Any]) -> list[str]:
    """A sentence for each problem of the settings of a role, which belong together."""
    found = [told for name, value in values.items() if (told := problem(name, value))]
    if found:
        return found
    typed = {name: converted(known()[name], value) for name, value in values.items()}
    return [
        f"{one}: is {typed[one]:g}, and {other} is {typed[other]:g}. Set one of the two to a number above 0, "
        "and leave the other out."
        for one, other in EITHER
        if one in typed and other in typed and (typed[one] > 0) == (typed[other] > 0)
    ]


def converted(setting: Setting, value: Any) -> Any:
    """The value in the type of the setting. A value from the command line is a string. Raises Invalid."""
    if value is None:
        if setting.limit.null:
            return None
        raise Invalid("is set to nothing. Give it a value, or leave it out for the default.")
    if setting.limit.number and value == "":
        return value
    result = _CONVERTERS.get(setting.type, _text)(setting, value)
    _check_choices(setting, result)
    _check_range(setting, result)
    return result


def _shown(setting: Setting, value: Any) -> str:
    """The value in a message. A secret is not shown, nor what may be one."""
    if setting.secret or setting.limit.environment:
        return "its value"
    text = repr(str(value)) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whole(setting: Setting, value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]+", text):
        raise Invalid(f"{_shown(setting, value)} is not a whole number. Set it to one, such as 10.")
    return int(text)


def _number(setting: Setting, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Invalid(f"{_shown(setting, value)} is not a number. Set it to one, such as 0.5 or 1e-5.")
    if setting.limit.whole and number != int(number):
        raise Invalid(f"{_shown(setting, value)} is not a whole number. Set it to one, such as 1.")
    return number


_WORDS = frozenset({"yes", "on", "1", "true", "no", "off", "0", "false"})


def _truth(setting: Setting, value: Any) -> bool:
    # No more than Ansible's filter bool, by which the roles read it. That takes others, as "y", for false.
    try:
        if not isinstance(value, str) or value.lower() in _WORDS:
            return bool(boolean(value, strict=True))
    except TypeError:
        pass
    raise Invalid(f"{_shown(setting, value)} is neither true nor false. Set it to true or false.")


def _text(setting: Setting, value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        raise Invalid(f"{_shown(setting, value)} is not a text. Set it to a single word or text.")
    if setting.limit.name:
        try:
            return plain_name(value, setting.name)
        except AnsibleFilterError as error:
            raise Invalid(str(error).removeprefix(f"{setting.name}: ")) from error
    if setting.limit.directory and not is_directory(value):
        raise Invalid(
            f"{_shown(setting, value)} is not the absolute path of a directory of its own. Set one, such as "
            "/mnt/disks/checkpoints."
        )
    return value


def is_directory(value: Any) -> bool:
    """Whether it is an absolute path, in its shortest form, below the root."""
    return isinstance(value, str) and value == os.path.normpath(value) and bool(re.match("/[^/]", value))


def _list(setting: Setting, value: Any) -> list[Any]:
    structured = setting.option.get("elements") in ("dict", "list")
    if isinstance(value, str):
        if structured:
            raise Invalid(
                "is a text, and must be a list. Set it in the inventory, or with "
                f"-e '{{\"{setting.name}\": [...]}}'."
            )
        return _list(setting, list_of_text(value))
    if not isinstance(value, list | tuple):
        raise Invalid(f"{_shown(setting, value)} is not a list. Write a list such as [a, b].")
    wrong = [each for each in value if each is None or (not structured and isinstance(each, Mapping | list))]
    if wrong:
        raise Invalid(f"{_shown(setting, wrong[0])} is not a text. Write a list of texts such as [a, b].")
    return list(value)


def list_of_text(text: str) -> list[Any]:
    """The list that a text from the command line means: [a, b] as in YAML, or a,b as Ansible has it."""
    stripped = text.strip()
    if not stripped:
        return []
    if stripped.startswith("["):
        try:
            loaded = yaml.safe_load(stripped)
        except yaml.YAMLError:
            loaded = None
        if not isinstance(loaded, list):
            raise Invalid(f"{text!r} is not a list. Write a list such as [a, b].")
        return loaded
    return [each.strip() for each in stripped.split(",")]


# Names of environment variables whose value is a secret. HF_HUB_DISABLE_IMPLICIT_TOKEN is a switch.
SECRET = re.compile(
    r"(?:^|_)(?<!IMPLICIT_)(?:TOKEN|(?:API)?KEYS?|SECRETS?|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE
)
#: A password in the address of a proxy or of a hub.
PASSWORD = re.compile(r"://[^/\s]*@")


def _dict(setting: Setting, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Invalid(
            f"{_shown(setting, value)} is not a dictionary. Set it in the inventory, or with "
            f'-e \'{{"{setting.name}": {{"NAME": "VALUE"}}}}\'.'
        )
    for name, each in value.items() if setting.limit.environment else ():
        if SECRET.search(str(name)) or PASSWORD.search(str(each)):
            remedy = (
                "Set hf_token instead." if "HF" in str(name) or "HUGGING" in str(name) else "Leave it out."
            )
            raise Invalid(f"has {name}, and the record of a job shows its environment. {remedy}")
        if each is None or isinstance(each, Mapping | list | tuple):
            raise Invalid(f"the value of {name} is not a text. Set it to a single word or text.")
    return dict(value)


_CONVERTERS: Mapping[str, Callable[[Setting, Any], Any]] = {
    "int": _whole,
    "float": _number,
    "bool": _truth,
    "list": _list,
    "dict": _dict,
}


def _check_choices(setting: Setting, value: Any) -> None:
    choices = [str(each) for each in setting.choices]
    if choices and str(value) not in choices:
        meant = nearest(str(value), filter(None, choices))
        shown = [each or "'' (empty)" for each in choices]
        remedy = f"Did you mean {meant}?" if meant else f"Set it to {one_of(shown)}."
        raise Invalid(f"{_shown(setting, value)} is not one of {', '.join(shown)}. {remedy}")


def _check_range(setting: Setting, value: Any) -> None:
    rule = range_of(setting)
    limit = setting.limit
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if (
        (limit.minimum is not None and value < limit.minimum)
        or (limit.maximum is not None and value > limit.maximum)
        or (limit.above is not None and value <= limit.above)
    ):
        raise Invalid(f"{value:g} is out of range. Set a number {rule}.")
