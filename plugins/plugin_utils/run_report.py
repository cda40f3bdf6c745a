# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run prints at its start and its end, and what playbooks/status.yml prints: text for people.

Names, labels and states that others may have written pass through `shown`, so that nothing of them reaches
the terminal but printable text.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.job.progress import duration
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import own_end
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import command
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.leftovers import (
    DISK,
    FREE,
    NODE,
    QUEUED,
    Leftover,
    served,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown

KEY_FILE = "/etc/tpuops/vllm-api-key"


@dataclass(frozen=True)
class Details:
    """What was read on a node over SSH.

    info: what the module run_info returned, None where the node was not asked or did not answer; ssh: the
    command that opens a shell there, without a command for it; why: why there is no info.
    """

    info: Json | None = None
    ssh: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class View:
    """Everything that is told. name, run, zones: of the running command: its node, its run, and where its
    candidates are; hub: the address of the Hub."""

    project: str
    account: str
    name: str
    run: str
    zones: Sequence[str]
    resources: Sequence[Leftover]
    details: Mapping[tuple[str, str], Details]
    now: datetime
    currency: str
    hub: str = ""
    unasked: Sequence[str] = ()
    ended: str = ""
    notes: Sequence[str] = field(default_factory=tuple)


def start(
    project: str,
    account: str,
    name: str,
    places: Sequence[Mapping[str, Any]],
    repo: str,
    hub: str,
    limit: str = "",
) -> list[str]:
    """places: candidates, each {label, zone, cost}, in the order in which they are tried.

    limit: when the node ends by itself, as own_end.Limits tells it.
    """
    first = places[0]
    more = len(places) - 1
    other = f" (or {more} more: {shown(places[1]['label'])}{', ...' if more > 1 else ''})" if more else ""
    published = f"{shown(hub)}/{shown(repo)}" if repo else "nowhere: neither hf_username nor hf_repo is set"
    return [
        f"Project:   {shown(project)}",
        f"Account:   {shown(account)}",
        f"Node:      {shown(name)}, {shown(first['label'])}{other}",
        *([f"Limit:     it {limit}"] if limit else []),
        f"Price:     {shown(first['cost'])}",
        f"Publishes: {published}",
    ]


def status(view: View) -> list[str]:
    """What there is, where the models are, how to query them, what it costs and how to stop that."""
    lines = [f"Project {shown(view.project)}, account {shown(view.account)}"]
    nodes = [each for each in view.resources if each.kind == NODE]
    for node in nodes:
        lines += node_lines(node, view)
    for queued in (each for each in view.resources if each.kind == QUEUED):
        if not any(served(node, [queued]) for node in nodes):
            lines.append(
                f"Queued resource {shown(queued.name)} in {shown(queued.zone)}: {shown(queued.state)}. It "
                "costs nothing until Google creates its node."
            )
    for disk in (each for each in view.resources if each.kind == DISK):
        lines.append(
            f"Disk {shown(disk.name)} in {shown(disk.zone)}: {price(disk.hour, view.currency)}, "
            f"about {spent(disk, view)} so far"
        )
    if not view.resources:
        lines.append("There is nothing of yours: no node, no queued resource, no disk. Nothing costs money.")
    if view.ended:
        lines.append(shown(view.ended))
    if view.unasked:
        lines.append(f"Google could not ask these zones: {shown(', '.join(sorted(view.unasked)))}.")
    return [*lines, *stopping(view), *view.notes]


def node_lines(node: Leftover, view: View) -> list[str]:
    kind = shown(node.found.get("acceleratorType", ""))
    lines = [
        f"Node {shown(node.name)} in {shown(node.zone)}: {shown(node.state)}, {kind}, created "
        f"{ago(node.created, view.now)} ago"
    ]
    if itself := own_end.of_node(node.found):
        lines.append(f"  {shown(itself)}")
    if node.state in FREE:
        lines.append(f"  Cost:     nothing now, as it is {shown(node.state)}; its disks cost money")
    else:
        lines.append(f"  Cost:     {price(node.hour, view.currency)}, {spent(node, view, 'at most ')} so far")
    details = view.details.get((node.zone, node.name))
    if details is None or details.info is None:
        if node.state == "READY":
            own = {} if node.name == view.name else {"tpu_vm_name": shown(node.name)}
            reason = shown(details.why) if details and details.why else ""
            ask = f"  Runs:     {command('status', **own)}"
            lines.append(f"  Runs:     not known: {reason}" if reason else ask)
        return lines
    info = details.info
    running = [f"{shown(job['name'])}, for {since(job['started'], view.now)}" for job in info["running"]]
    lines.append(f"  Job:      {'; '.join(running) or 'none runs'}")
    for run in info["runs"]:
        lines += run_lines(run, view)
    return [*lines, *query_lines(info["server"], details, view)]


def run_lines(run: Json, view: View) -> list[str]:
    training, export, upload = run["training"], run["export"], run["upload"]
    lines = [f"  Run {shown(run['name'])}:"]
    if training:
        lines.append(f"    Training: {trained(training, view)}")
    if upload and upload["status"] == "finished":
        lines.append(f"    Hub:      {shown(view.hub)}/{shown(upload['repo'])}")
    elif upload:
        lines.append(f"    Hub:      the upload to {shown(upload['repo'])} is {shown(upload['status'])}")
    if export and export["status"] == "finished" and export["directory"]:
        lines.append(f"    Disk:     {shown(export['directory'])}")
    elif export:
        lines.append(f"    Disk:     the export is {shown(export['status'])}")
    return lines


def trained(training: Json, view: View) -> str:
    """``finished in 4 min, step 60 of 60, loss 6.94 -> 1.23``, with what is known of it."""
    first, last = training["first"] or {}, training["last"] or {}
    if training["status"] == "running":
        parts = [f"running for {since(training['started'], view.now)}"]
    else:
        took = f" in {duration(training['seconds'])}" if training["seconds"] is not None else ""
        parts = [f"{shown(training['status'])}{took}"]
    if "step" in last:
        total = f" of {training['steps']}" if training["steps"] else ""
        parts.append(f"step {last['step']:.0f}{total}")
    if "loss" in first and "loss" in last:
        parts.append(f"loss {first['loss']:.3g} (step {first['step']:.0f}) -> {last['loss']:.3g}")
    return ", ".join(parts)


#: Variables of a command for the server, by the kind of a model that is not the default.
KINDS = {"base": {"vllm_serve_model": "base"}, "export": {"vllm_serve_source": "export"}}


def query_lines(server: Json | None, details: Details, view: View) -> list[str]:
    if server is None:
        return [f"  Served:   nothing. To serve the model: {command('site', '--tags', 'vllm_serve')}"]
    ready = "" if server["healthy"] else ", not ready yet"
    run = f", of run {shown(server['run'])}" if server["run"] else ""
    # A chat serves the model that it is told, in place of the one that is served.
    own = {"run_name": shown(server["run"])} if server["run"] not in ("", None, view.run) else {}
    own |= KINDS.get(str(server.get("kind")), {})
    lines = [
        f"  Served:   {shown(server['model'])}{run}, on port {server['port']} of the node alone{ready}",
        f"    Chat:   {command('chat', **own)}",
        f"    Ask:    {command('chat', **own, prompt='Hello')}",
        f"    Client: {command('connect', **own)}",
    ]
    if details.ssh:
        prints_key = key(details.ssh, str(server.get("key_file") or KEY_FILE))
        lines += [
            f"    Tunnel: {tunnel(details.ssh, server['port'])}",
            f"    Key:    {prints_key}",
            f"    curl:   {curl(prints_key, server)}",
        ]
    return lines


def tunnel(ssh: Sequence[str], port: int) -> str:
    return shlex.join([*ssh[:-1], "-N", "-L", f"{port}:127.0.0.1:{port}", ssh[-1]])


def key(ssh: Sequence[str], key_file: str) -> str:
    """The command that prints the key of the server; the key itself is in no line that we print."""
    return shlex.join([*ssh, "sudo", "-n", "cat", key_file])


def curl(prints_key: str, server: Mapping[str, Any]) -> str:
    """A question with the tunnel open. The key passes through a pipe: no list of processes shows it."""
    # ASCII, with all control characters escaped: nothing of a model's name can be more than text.
    body = json.dumps({"model": server["model"], "messages": [{"role": "user", "content": "Hello"}]})
    return (
        f"{prints_key} | sed 's/^/Authorization: Bearer /' | curl --silent --show-error --fail --noproxy '*' "
        f"--header @- --header 'Content-Type: application/json' --data {shlex.quote(body)} "
        f"http://127.0.0.1:{server['port']}/v1/chat/completions"
    )


def client(model: str, port: int, key_file: str) -> list[str]:
    """What a program needs to ask the model through an open tunnel, and two that do."""
    url = f"http://127.0.0.1:{port}/v1"
    path, name = json.dumps(key_file), json.dumps(model)
    return [
        f"Base URL: {url}",
        f"Model:    {shown(model)}",
        f"API key:  in the file {key_file}, which goes with the tunnel",
        "Ask with curl:",
        curl(f"cat {shlex.quote(key_file)}", {"model": model, "port": port}),
        "Ask with OpenAI's client (pip install openai):",
        "python3 - <<'END'",
        "import openai",
        f"client = openai.OpenAI(base_url={json.dumps(url)}, api_key=open({path}).read().strip())",
        'messages = [{"role": "user", "content": "Hello"}]',
        f"answer = client.chat.completions.create(model={name}, messages=messages)",
        "print(answer.choices[0].message.content)",
        "END",
        "The tunnel is open. Ctrl-C closes it.",
    ]


def stopping(view: View) -> list[str]:
    """Commands that end what costs money, with what is left of the cost."""
    lines = []
    for each in view.resources:
        own = {} if each.name == view.name else {"tpu_vm_name": shown(each.name)}
        here = each.zone in view.zones
        if each.kind == NODE and here and each.state == "READY" and starts_again(each):
            lines.append(f"  stop {shown(each.name)}, keep it: {command('stop_node', **own)}")
        if each.kind == NODE and not here:  # teardown looks at the zones of the candidates alone
            lines.append(
                f"  delete {shown(each.name)}, keep its data disk: "
                f"{command('leftovers', leftovers_delete=shown(each.path))}"
            )
        elif each.kind == NODE:
            lines.append(f"  delete {shown(each.name)}, keep its data disk: {command('teardown', **own)}")
        elif each.kind == DISK:
            lines.append(
                f"  delete the disk {shown(each.name)} and the checkpoints on it, after its node: "
                f"{command('leftovers', leftovers_delete=shown(each.path))}"
            )
        elif not any(served(node, [each]) for node in view.resources):
            lines.append(
                f"  delete the queued resource {shown(each.name)}: "
                f"{command('leftovers', leftovers_delete=shown(each.path))}"
            )
    return ["To stop paying:", *lines] if lines else []


def starts_again(node: Leftover) -> bool:
    """Whether Google starts the node again that is stopped: no slice, no spot node and none of a queue."""
    scheduling = node.found.get("schedulingConfig", {})
    return not (
        len(node.found.get("networkEndpoints", [])) > 1
        or scheduling.get("spot")
        or scheduling.get("preemptible")
        or node.found.get("queuedResource")
    )


def price(hour: float | None, currency: str) -> str:
    if hour is None:
        return "no price in tpu_vm_prices"
    return f"{hour:.2f} {currency} an hour" if hour >= 0.1 else f"{hour:.3f} {currency} an hour"


def spent(each: Leftover, view: View, prefix: str = "") -> str:
    """What it has cost so far. A node may have been stopped in between, so that is an upper limit."""
    if each.hour is None:
        return "an unknown amount"
    hours = max(0.0, (view.now - each.created).total_seconds() / 3600)
    return f"{prefix}{each.hour * hours:.2f} {view.currency}"


def ago(moment: datetime, now: datetime) -> str:
    return duration(max(0.0, (now - moment).total_seconds()))


def since(text: Any, now: datetime) -> str:
    """How long ago the time is that a record has."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return "an unknown time"
    return ago(moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo), now)
