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

import click

from localcloud import description, lifecycle, places
from localcloud.config import DEFAULT_PORT, DEFAULT_STATE_DIR, DEFAULT_SUBNET, CloudConfig
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
        bridge = CloudConfig(state_dir).bridge
        with errors():
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
    require_root()
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
@click.pass_obj
def serve(config: CloudConfig) -> None:
    """Serve in the foreground, as `up` does in the background."""
    from localcloud import server  # costs half a second that the other commands need not wait for

    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    require_root()
    with errors():
        server.serve(config)


def require_root() -> None:
    if os.geteuid() != 0:
        raise click.ClickException("the local cloud makes machines, so it needs root: run it with sudo")


@contextmanager
def errors() -> Iterator[None]:
    """Known failures as one line."""
    try:
        yield
    except (CloudError, MachineError, OSError) as error:
        raise click.ClickException(str(error)) from error
