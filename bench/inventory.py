# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of many nodes, side by side with everything else that lists them: `make bench`.

Everything runs once a round, one after the other, on one local cloud in a process of its own. What counts are
ratios within a round, so that neither a slow machine nor a busy one tells a lie.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import requests

from bench import table
from bench.cloud import ROOT, Cloud, serving
from bench.table import BARE, LISTED, NAMES, NOTHING, SAME, Result

PEER = [sys.executable, "-m", "bench.peers"]
CACHED = "ansible-cached"


@dataclass(frozen=True)
class Contender:
    """One way to list nodes. command: what is run; tells: it prints the seconds of its list and the nodes."""

    name: str
    command: list[str]
    tells: bool = False


def contenders(directory: Path, nodes: int, gcloud: bool) -> list[Contender]:
    """What is compared; writes the inventories that it takes."""

    def write(name: str, text: str) -> str:
        path = directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def listing(inventory: str) -> list[str]:
        return ["ansible-inventory", "-i", inventory, "--list"]

    options = "plugin: tpuops.maxtext.tpu_vm\nauth_kind: accesstoken\n"
    options += "access_token: \"{{ lookup('file', lookup('env', 'CLOUDSDK_AUTH_ACCESS_TOKEN_FILE')) }}\"\n"
    cache = "cache: true\ncache_plugin: ansible.builtin.jsonfile\n"
    fresh = write("tpu_vm.yml", options)
    cached = write("cached-tpu_vm.yml", f"{options}{cache}cache_connection: {directory / 'cache'}\n")
    same = write("same", f"#!/bin/sh\nexec cat {directory / 'same.json'}\n")
    Path(same).chmod(0o700)
    found = [
        Contender(BARE, [*PEER, "requests_loop"], tells=True),
        Contender("google-cloud-tpu", [*PEER, "google_cloud_tpu"], tells=True),
        Contender("plugin", [*PEER, "plugin", fresh], tells=True),
        Contender("plugin-cached", [*PEER, "plugin", cached], tells=True),
        Contender(LISTED, listing(fresh)),
        Contender(CACHED, listing(cached)),
        Contender(SAME, listing(same)),
        Contender(NAMES, listing(write("names.ini", "\n".join(f"host-{each}" for each in range(nodes))))),
        Contender(NOTHING, listing(write("empty.yml", "all: {}\n"))),
    ]
    if gcloud:
        command = ["gcloud", "--quiet", "compute", "tpus", "tpu-vm", "list", "--zone=-", "--format=json"]
        found.append(Contender("gcloud", command))
    return found


class Arena:
    """Runs contenders on a cloud."""

    def __init__(self, cloud: Cloud, directory: Path, nodes: int) -> None:
        self.cloud = cloud
        self.directory = directory
        self.nodes = nodes
        self.environment = {
            **cloud.environment(),
            "HOME": str(directory),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "PYTHONPATH": str(ROOT),
        }
        self._marks = 0

    def run(self, contender: Contender) -> tuple[float, float | None, int, str]:
        """Seconds of the process, seconds of the list where it tells them, requests, and what it printed."""
        before = self._asked().total()
        start = time.perf_counter()
        done = subprocess.run(
            contender.command,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        made = self._asked().total() - before
        if done.returncode:
            raise click.ClickException(
                f"{contender.name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        alone = None
        if contender.tells:
            alone, found = float(done.stdout.split()[0]), int(done.stdout.split()[1])
        else:
            found = count(contender, done.stdout)
        if found != (0 if contender.name == NOTHING else self.nodes):
            raise click.ClickException(f"{contender.name} found {found} of {self.nodes} nodes")
        return seconds, alone, made, done.stdout

    def _asked(self) -> Counter[str]:
        """What the server was asked for until now, but for the question by which this is known."""
        self._marks += 1
        mark = f"/mark-{self._marks}"
        requests.get(f"http://127.0.0.1:{self.cloud.description['port']}{mark}", timeout=60)
        deadline = time.monotonic() + 60
        while f"GET {mark}" not in (asked := self.cloud.requests()):
            if time.monotonic() > deadline:
                raise click.ClickException("the server does not write its log")
            time.sleep(0.01)
        return Counter({what: times for what, times in asked.items() if not what.startswith("GET /mark-")})


def count(contender: Contender, output: str) -> int:
    """How many nodes a listing has."""
    listed = json.loads(output)
    return len(listed) if contender.name == "gcloud" else len(listed["_meta"]["hostvars"])


def measure(nodes: int, repeat: int, gcloud: bool, say: Callable[[str], None]) -> list[Result]:
    """Every contender once a round, in an order that turns; before them one round that is not counted."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        with serving(directory, nodes) as cloud:
            arena = Arena(cloud, directory, nodes)
            everyone = contenders(directory, nodes, gcloud)
            by_name = {contender.name: contender for contender in everyone}
            listed = arena.run(by_name[LISTED])[-1]
            (directory / "same.json").write_text(listed, encoding="utf-8")
            arena.run(by_name[CACHED])
            results = {contender.name: Result(nodes, contender.name) for contender in everyone}
            for turn in range(repeat):
                for contender in everyone[turn % len(everyone) :] + everyone[: turn % len(everyone)]:
                    seconds, alone, made, _ = arena.run(contender)
                    result = results[contender.name]
                    result.seconds.append(seconds)
                    result.requests.append(made)
                    if alone is not None:
                        result.alone.append(alone)
                    say(f"{nodes} nodes, round {turn + 1}: {contender.name} {seconds:.2f} s, {made} requests")
    return list(results.values())


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--nodes",
    "sizes",
    multiple=True,
    default=(1000, 10_000),
    show_default=True,
    type=click.IntRange(1),
    help="How many nodes the project has; may be given several times.",
)
@click.option("--repeat", default=5, show_default=True, type=click.IntRange(1), help="How many rounds.")
@click.option(
    "--gcloud/--no-gcloud", default=shutil.which("gcloud") is not None, help="Whether gcloud takes part."
)
@click.option("--json", "as_json", is_flag=True, help="Print every single figure as JSON.")
@click.option("--write/--no-write", default=True, help="Write the tables into docs/performance.md.")
def main(sizes: Sequence[int], repeat: int, gcloud: bool, as_json: bool, write: bool) -> None:
    """Measure the inventory on local clouds of this command's own."""
    # Else the cloud would outlive this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found = [measure(nodes, repeat, gcloud, lambda line: click.echo(line, err=True)) for nodes in sizes]
    if as_json:
        click.echo(json.dumps([asdict(result) for results in found for result in results], indent=2))
    text = table.render(found, repeat)
    if not as_json:
        click.echo(text)
    if write:
        table.write(text)


if __name__ == "__main__":
    main()
