# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cloud tells its users: the file that inventories and tests read, and the shell's exports."""

from __future__ import annotations

import getpass
import json
import os
from ipaddress import IPv4Network
from pathlib import Path

from localcloud import catalog
from localcloud.config import PROJECT_ROOT, CloudConfig
from localcloud.credentials import USER, CredentialFiles, write_secret
from localcloud.hub import accounts
from localcloud.machines import Machines

Description = dict[str, object]


def path(state_dir: Path) -> Path:
    return state_dir / "localcloud.json"


def read(state_dir: Path) -> Description | None:
    """The description of the cloud in a state directory; None when it never came up."""
    try:
        found: Description = json.loads(path(state_dir).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def known_settings(state_dir: Path) -> tuple[int, IPv4Network] | None:
    """Port and subnet that a cloud came up with."""
    found = read(state_dir)
    return (int(str(found["port"])), IPv4Network(str(found["subnet"]))) if found else None


def write(config: CloudConfig, machines: Machines) -> None:
    """Write the description of a cloud whose machines are prepared."""
    google = f"http://127.0.0.1:{config.port}"
    files = CredentialFiles(config)
    content: Description = {
        "project": catalog.DEFAULT_PROJECT.project_id,
        "project_number": catalog.DEFAULT_PROJECT.number,
        "zone": catalog.DEFAULT_ZONE,
        "state_dir": str(config.state_dir),
        "port": config.port,
        "subnet": str(config.subnet),
        "address": str(config.address),
        "endpoints": {
            "tpu": google,
            "compute": f"{google}/compute/v1",
            "serviceusage": google,
            "resourcemanager": google,
            "oslogin": google,
        },
        "token_uri": files.token_uri,
        "metadata": f"http://127.0.0.1:{config.metadata_port}",
        "hub": f"http://{config.address}:{config.hub_port}",
        "service_account_file": str(files.service_account),
        "access_token_file": str(files.access_token),
        "hf_username": accounts.LOCAL.name,
        "hf_token_file": str(config.state_dir / accounts.TOKEN_FILES[accounts.LOCAL]),
        "uv_cache": machines.uv_cache_dir,
        "wheels": machines.wheels_dir,
        "python": machines.guest_python,
        "serve_python": machines.serve_python,
        "locks": str(PROJECT_ROOT / "environments"),
    }
    write_gcloud_configuration(config)
    write_secret(path(config.state_dir), json.dumps(content, indent=2) + "\n")


def write_gcloud_configuration(config: CloudConfig) -> None:
    """Give gcloud a directory of its own with project and zone set.

    Files and not variables: those would overrule the user's own `gcloud config set`. Without `active_config`
    gcloud starts by emptying `config_default`.
    """
    directory = config.state_dir / "gcloud"
    settings = directory / "configurations" / "config_default"
    if settings.exists():
        return
    settings.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    zone = catalog.DEFAULT_ZONE
    write_secret(directory / "active_config", "default")
    write_secret(
        settings,
        f"[core]\nproject = {catalog.DEFAULT_PROJECT.project_id}\n\n"
        f"[compute]\nregion = {catalog.region(zone)}\nzone = {zone}\n",
    )


def exports(config: CloudConfig) -> dict[str, str]:
    """Environment variables with which gcloud, `hf`, Google's libraries and the modules use a cloud.

    The Hub's token is among the values: only as a variable does `hf` take it without storing it.
    """
    google = f"http://127.0.0.1:{config.port}/"
    files = CredentialFiles(config)
    hf_token = (config.state_dir / accounts.TOKEN_FILES[accounts.LOCAL]).read_text(encoding="utf-8").strip()
    return {
        # gcloud, and the modules, which read the same names
        "CLOUDSDK_CONFIG": str(config.state_dir / "gcloud"),
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "0",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(files.access_token),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": google,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{google}compute/v1/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": google,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": google,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_OSLOGIN": google,
        # whose access token that is, which OS Login wants to be told
        "CLOUDSDK_CORE_ACCOUNT": USER,
        # the modules and Google's client libraries
        "GCP_PROJECT": catalog.DEFAULT_PROJECT.project_id,
        "GCP_AUTH_KIND": "serviceaccount",
        "GCP_SERVICE_ACCOUNT_FILE": str(files.service_account),
        "TPUOPS_TOKEN_URI": files.token_uri,
        "GOOGLE_APPLICATION_CREDENTIALS": str(files.service_account),
        "GOOGLE_CLOUD_PROJECT": catalog.DEFAULT_PROJECT.project_id,
        "GCE_METADATA_HOST": f"127.0.0.1:{config.metadata_port}",
        "GCE_METADATA_IP": f"127.0.0.1:{config.metadata_port}",
        # the Hub
        "HF_ENDPOINT": f"http://{config.address}:{config.hub_port}",
        "HF_TOKEN": hf_token,
    }


def gcloud_login() -> str:
    """Whom gcloud logs in to a TPU VM as, "" for the user who calls it.

    It takes the local user's name, and root has no login there. Only gcloud is to be told: a LOGNAME for the
    whole shell would be another person to everything else, to Ansible above all.
    """
    if getpass.getuser() != "root":
        return ""
    return os.environ.get("SUDO_USER", "root").replace("root", "") or accounts.LOCAL.name
