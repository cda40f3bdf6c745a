# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the local cloud."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import click

from localcloud import admin, description, lifecycle, places
from localcloud.config import DEFAULT_PORT, DEFAULT_STATE_DIR, DEFAULT_SUBNET, CloudConfig
from localcloud.faults import KINDS, SELECTORS, Kind
from localcloud.lifecycle import CloudError
from localcloud.machines import MachineError, missing_packages
from localcloud.process import ServerProcess


class Subnet(click.ParamType[IPv4Network]):
    """A private IPv4 network with room for the bridge and some machines."""

    name = "subnet"

    def convert(
        self, value: object, param: click.Parameter | None, context: click.Context | None
    ) -> IPv4Network:
        try:
            network = IPv4Network(str(value))
        except ValueError as error:
            self.fail(f"{value!r} is not a network such as {DEFAULT_SUBNET}: {error}", param, context)
        if not network.is_private or network.prefixlen > 29:
            self.fail(f"{value!r} is not a private network of at least eight addresses", param, context)
        return network


@click.group(context_settings={"auto_envvar_prefix": "LOCALCLOUD", "help_option_names": ["-h", "--help"]})
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_STATE_DIR,
    show_default=True,
    help="Where the cloud keeps everything; its path is the cloud's identity.",
)
@click.option(
    "--port",
    type=click.IntRange(1024, 65533),
    help="Google's APIs listen there, the Hub and the metadata server on the two ports after it. "
    f"[default: the one that the cloud came up with, else the first free one of {DEFAULT_PORT}, "
    f"{DEFAULT_PORT + places.PORT_STEP}, ...]",
)
@click.option(
    "--subnet",
    type=Subnet(),
    help="The network of the machines. "
    f"[default: the one that the cloud came up with, else the first free one from {DEFAULT_SUBNET} on]",
)
@click.pass_context
def main(context: click.Context, state_dir: Path, port: int | None, subnet: IPv4Network | None) -> None:
    """The parts of Google Cloud and of the Hugging Face Hub that a run needs, on this machine."""
    known_port, known_subnet = description.known_settings(state_dir) or (None, None)
    if context.invoked_subcommand == "up":
        require_root()
        bridge = CloudConfig(state_dir).bridge
        with errors():
            if not (port or known_port) or not (subnet or known_subnet):
                context.with_resource(places.alone(click.echo))
            port = port or known_port or places.free_port()
            subnet = subnet or known_subnet or places.free_subnet(bridge)
    context.obj = CloudConfig(
        state_dir.resolve(),
        port or known_port or DEFAULT_PORT,
        subnet or known_subnet or IPv4Network(DEFAULT_SUBNET),
    )


@main.command()
@click.option("--install", is_flag=True, help="Install missing system packages with apt-get.")
@click.pass_obj
def up(config: CloudConfig, install: bool) -> None:
    """Start the cloud, or what is missing of it."""
    if missing := missing_packages():
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        if not install:
            raise click.ClickException(
                f"the host lacks {', '.join(missing)}: run `{shlex.join(command)}`, or `up --install`"
            )
        subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    with errors():
        lifecycle.up(config, click.echo)
    click.echo(f"The local cloud is up. `{sys.executable} -m localcloud env` prints how to use it.")


@main.command()
@click.pass_obj
def down(config: CloudConfig) -> None:
    """Stop the cloud and remove everything of it: server, machines, disks, network, state."""
    require_root()
    with errors():
        lifecycle.down(config, click.echo)
    click.echo("The local cloud is down.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(config: CloudConfig, as_json: bool) -> None:
    """Show what lives."""
    found = lifecycle.status(config)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for kind, value in found.items():
        if isinstance(value, dict):
            click.echo(f"{kind}: {' '.join(f'{key}={item}' for key, item in value.items())}")
            continue
        click.echo(f"{kind}: {len(value) or 'none'}")
        for item in value:
            click.echo("  " + "  ".join(map(str, item.values())))


@main.command()
@click.pass_obj
def env(config: CloudConfig) -> None:
    """Print shell exports with which gcloud, hf and the modules use the cloud: eval "$(... env)"."""
    if description.read(config.state_dir) is None:
        raise click.ClickException(f"there is no cloud in {config.state_dir}: run `localcloud up` first")
    for name, value in description.exports(config).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    if login := description.gcloud_login():
        click.echo(f'gcloud() {{ LOGNAME={shlex.quote(login)} command gcloud "$@"; }}')


@main.command()
@click.option("--follow", "-f", is_flag=True, help="Go on as the server writes more.")
@click.pass_obj
def logs(config: CloudConfig, follow: bool) -> None:
    """Print the server's log."""
    log = ServerProcess(config).log_file
    if not log.exists():
        raise click.ClickException(f"there is no log: no cloud ever came up in {config.state_dir}")
    if follow:
        os.execvp("tail", ["tail", "--lines=+1", "--follow=name", str(log)])
    with log.open(encoding="utf-8") as file:
        shutil.copyfileobj(file, sys.stdout)


@main.command()
@click.option(
    "--record",
    is_flag=True,
    show_envvar=True,
    help="Keep every exchange with Google's APIs in exchanges.jsonl of the state directory.",
)
@click.pass_obj
def serve(config: CloudConfig, record: bool) -> None:
    """Serve in the foreground, as `up` does in the background, which takes options from the environment."""
    from localcloud import server  # costs half a second that the other commands need not wait for

    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    require_root()
    with errors():
        server.serve(config, record)


@main.group()
def fault() -> None:
    """Arm a fault, list what is armed, clear it. A fault strikes until it is cleared, or --count times.

    Limits are globs. Faults outlive a restart of the server.
    """


@fault.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def fault_list(config: CloudConfig, as_json: bool) -> None:
    """Show the armed faults."""
    show_faults(lifecycle.status(config)["faults"], as_json)


@fault.command("clear")
@click.argument("names", nargs=-1)
@click.pass_obj
def fault_clear(config: CloudConfig, names: tuple[str, ...]) -> None:
    """Clear faults by NAMES or kinds, all when none is given, and show what was cleared."""
    with errors():
        show_faults(admin.call(config, "fault-clear", names=names), as_json=False)


def show_faults(faults: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(faults, indent=2))
        return
    for found in faults:
        click.echo(describe_fault(found))


def describe_fault(found: dict[str, Any]) -> str:
    """An armed fault as one line."""
    words = [found["name"], found["kind"], *(f"{key}={value}" for key, value in found["where"].items())]
    if found["struck"]:
        words.append(f"struck={found['struck']}")
    if found["left"] is not None:
        words.append(f"left={found['left']}")
    if found["seconds"] is not None:
        words.append(f"seconds={found['seconds']:g}")
    if found["size"] is not None:
        words.append(f"bytes={found['size']}")
    return "  ".join(words)


def fault_command(kind: Kind) -> click.Command:
    """The subcommand that arms a fault of a kind."""

    def arm(
        count: int | None, seconds: float | None = None, size: int | None = None, **selectors: str | None
    ) -> None:
        where = {name: value for name, value in selectors.items() if value is not None}
        config = click.get_current_context().obj
        settings = {"kind": kind.name, "where": where, "count": count, "seconds": seconds, "size": size}
        with errors():
            armed = admin.call(config, "fault-arm", **settings)
        show_faults([armed], as_json=False)

    options = [click.Option([f"--{name}"], help=SELECTORS[name]) for name in kind.selectors]
    options.append(
        click.Option(["--count"], type=click.IntRange(1), help="How often it strikes. [default: for ever]")
    )
    if kind.seconds is not None:
        options.append(
            click.Option(
                ["--seconds"],
                type=click.FloatRange(0),
                default=kind.seconds,
                show_default=True,
                help="How long.",
            )
        )
    if kind.size is not None:
        options.append(
            click.Option(
                ["--bytes", "size"],
                type=click.IntRange(0),
                default=kind.size,
                show_default=True,
                help="After how many bytes.",
            )
        )
    return click.Command(kind.name, callback=arm, params=[*options], help=kind.summary)


for _kind in KINDS.values():
    fault.add_command(fault_command(_kind))


class Chips(click.ParamType[int]):
    """A number of chips; -1 stands for any number."""

    name = "chips"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> int:
        if value == "unlimited":
            return -1
        if not str(value).isdigit():
            self.fail(f"{value!r} is neither a number of chips nor 'unlimited'", param, context)
        return int(str(value))


def limit_command(kind: str, text: str) -> click.Command:
    """The command that sets a capacity or a quota."""

    def limit(zone: str, chips: int, **matching: str | None) -> None:
        given = {name: value for name, value in matching.items() if value}
        arguments = {"kind": kind, "zone": zone, "chips": None if chips < 0 else chips, **given}
        with errors():
            admin.call(click.get_current_context().obj, "limit", **arguments)

    options: list[click.Parameter] = [
        click.Argument(["chips"], type=Chips(), metavar="CHIPS|unlimited"),
        click.Option(["--zone"], required=True, help="The zone that is limited."),
        click.Option(["--accelerator-type"], help="Only nodes of this type count."),
        click.Option(["--spot", "tier"], flag_value="spot", help="Only spot and preemptible nodes count."),
        click.Option(["--on-demand", "tier"], flag_value="on-demand", help="Only other nodes count."),
    ]
    if kind == "quota":
        options.append(click.Option(["--project"], help="The project's id. [default: each project]"))
    return click.Command(kind, callback=limit, params=options, help=text)


main.add_command(
    limit_command(
        "capacity",
        "Say how many chips a zone has for nodes of all projects (a v5litepod-8 takes 8). Beyond it the "
        "creation of a node fails with code 8, and queued resources wait.",
    )
)
main.add_command(
    limit_command(
        "quota",
        "Say how many chips a project may have in a zone. Beyond it requests are refused with a "
        "QuotaFailure. A queued resource counts until it is deleted, dead or not.",
    )
)


@main.command()
@click.argument("node")
@click.pass_obj
def preempt(config: CloudConfig, node: str) -> None:
    """Preempt a READY NODE (id or path): its machines go, its disks stay, it is PREEMPTED."""
    with errors():
        click.echo(f"preempted {admin.call(config, 'preempt', node=node)}")


@main.command()
@click.argument("node")
@click.option(
    "--seconds", type=click.FloatRange(0, 40), default=5.0, show_default=True, help="How long it takes."
)
@click.option("--begin", is_flag=True, help="Begin it only: it lasts until --end.")
@click.option("--end", is_flag=True, help="End a maintenance that is in progress.")
@click.pass_obj
def maintenance(config: CloudConfig, node: str, seconds: float, begin: bool, end: bool) -> None:
    """Take a READY NODE (id or path) off for maintenance: its machines end, and boot again later."""
    if begin and end:
        raise click.UsageError("give --begin or --end, not both")
    with errors():
        if begin or end:
            name = admin.call(config, f"maintenance-{'begin' if begin else 'end'}", node=node)
        else:
            name = admin.call(config, "maintenance", node=node, seconds=seconds)
        click.echo(f"{'began the maintenance of' if begin else 'maintained'} {name}")


@main.command()
@click.argument("node")
@click.argument("value", type=click.Choice(["HEALTHY", "TIMEOUT", "UNHEALTHY_TENSORFLOW"]), metavar="HEALTH")
@click.pass_obj
def health(config: CloudConfig, node: str, value: str) -> None:
    """Say of a READY NODE (id or path) that it is HEALTHY, TIMEOUT or UNHEALTHY_TENSORFLOW.

    Its machines are not touched: `machine cut` lets them fall silent.
    """
    with errors():
        click.echo(f"diagnosed {admin.call(config, 'health', node=node, health=value)}")


@main.group()
def machine() -> None:
    """Make something go wrong with the machines of TARGET: a machine's name, or a node's id for all workers.

    A cut or slow network and a failing disk last, also over a reboot, until `machine heal`.
    """


def machine_command(name: str, text: str, *options: click.Option) -> click.Command:
    """A command of the group `machine`."""

    def strike(target: str, **settings: object) -> None:
        with errors():
            config = click.get_current_context().obj
            for line in admin.call(config, "machine", action=name, target=target, **settings):
                click.echo(line)

    return click.Command(name, callback=strike, params=[click.Argument(["target"]), *options], help=text)


_DISK = click.Option(["--disk"], help="A disk's name. [default: all data disks of the machine]")
for _command in (
    machine_command("reboot", "Cut the power, and boot again."),
    machine_command(
        "kill",
        "End processes by SIGKILL: those of a unit, or whose command line matches.",
        click.Option(["--unit"], default="", help="Name of a systemd unit, with its suffix."),
        click.Option(["--pattern"], default="", help="A regular expression."),
    ),
    machine_command("cut", "Pull the network cable."),
    machine_command(
        "slow",
        "Let the network carry little.",
        click.Option(
            ["--rate"],
            type=click.IntRange(8),
            default=1000,
            show_default=True,
            help="In kbit/s, each way.",
        ),
    ),
    machine_command("fill-disk", "Take all the room of mounted data disks.", _DISK),
    machine_command("io-error", "Let every access to data disks fail.", _DISK),
    machine_command("heal", "Undo cut, slow, fill-disk and io-error."),
):
    machine.add_command(_command)


@main.group()
def token() -> None:
    """Access tokens."""


@token.command()
@click.pass_obj
def expire(config: CloudConfig) -> None:
    """Let all access tokens that were given out be dead; the access token file gets a new one."""
    with errors():
        admin.call(config, "token-expire")


def require_root() -> None:
    if os.geteuid() != 0:
        raise click.ClickException("the local cloud makes machines, so it needs root: run it with sudo")


@contextmanager
def errors() -> Iterator[None]:
    """Known failures as one line."""
    try:
        yield
    except (CloudError, admin.AdminError, MachineError, OSError) as error:
        raise click.ClickException(str(error)) from error
