# SPDX-License-Identifier: GPL-3.0-or-later
"""The tutorial's own commands, by an unchanged gcloud."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.advice import advised
from tests.contract.conftest import Description, environment_of, localcloud
from tests.contract.served import Served
from tests.exchanges import method_of

pytestmark = pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not on PATH")

PROJECT = "qwiklabs-gcp-01-localcloud"
ZONE = "us-west1-c"
LAB_FILTER = "projectId ~ '^qwiklabs-gcp-' AND projectId != 'qwiklabs-resources'"

Gcloud = Callable[..., str]


class GcloudError(Exception):
    """gcloud ended with an error; the message is what it said."""


def at(environment: dict[str, str], home: Path) -> Gcloud:
    """Runs gcloud in a fresh home with the exports of a cloud; gives its output.

    What it sets stays there: other tests have the same cloud.
    """
    settings = shutil.copytree(environment["CLOUDSDK_CONFIG"], home / "gcloud")
    environment = {**environment, "HOME": str(home), "CLOUDSDK_CONFIG": str(settings)}

    def run(*arguments: str) -> str:
        command = ["gcloud", "--quiet", *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            raise GcloudError(result.stderr)
        return result.stdout

    run("config", "set", "project", PROJECT)
    return run


@pytest.fixture(scope="module")
def gcloud(cloud_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Gcloud:
    return at(cloud_environment, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def enabled(gcloud: Gcloud) -> Gcloud:
    gcloud("services", "enable", "compute.googleapis.com", "tpu.googleapis.com")
    return gcloud


def read(gcloud: Gcloud, *arguments: str) -> Any:
    return json.loads(gcloud(*arguments, "--format=json"))


def test_the_project_is_found_by_its_name(gcloud: Gcloud) -> None:
    found = gcloud("projects", "list", f"--filter={LAB_FILTER}", "--format=value(projectId)")
    assert found.split() == [PROJECT]
    assert len(read(gcloud, "projects", "list")) == 3
    number = gcloud("projects", "describe", PROJECT, "--format=value(projectNumber)").strip()
    assert len(number) == 12
    assert number.isdigit()
    with pytest.raises(GcloudError, match="Permission denied on resource project none"):
        gcloud("projects", "describe", "none")


def test_apis_are_enabled_and_disabled(gcloud: Gcloud) -> None:
    for service, command in (
        ("compute.googleapis.com", ["compute", "disks", "list"]),
        ("tpu.googleapis.com", ["compute", "tpus", "tpu-vm", "list", f"--zone={ZONE}"]),
    ):
        gcloud("services", "disable", service, "--force")
        with pytest.raises(GcloudError, match=rf"(?s)reason: SERVICE_DISABLED|apis/api/{service}"):
            gcloud(*command)
    gcloud("services", "enable", "compute.googleapis.com", "tpu.googleapis.com")
    names = gcloud("services", "list", "--enabled", "--format=value(config.name)").split()
    assert names == ["compute.googleapis.com", "tpu.googleapis.com"]
    gcloud("compute", "disks", "list")
    gcloud("compute", "tpus", "tpu-vm", "list", f"--zone={ZONE}")


def refusal(do: Callable[[], object]) -> str:
    from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import GcpError

    with pytest.raises(GcpError) as error:
        do()
    return str(error.value)


def test_the_commands_that_errors_print(enabled: Gcloud, collection: None) -> None:
    from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names
    from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import auth, client, oslogin

    def of_token(token: str) -> Any:
        return client.Client(auth.AuthSettings(kind="accesstoken", access_token=token))

    messages = {
        "projects list": (refusal(lambda: check_names(project="no project")), PROJECT),
        "print-access-token": (refusal(lambda: of_token("two words")), ""),
        "get account": (refusal(lambda: oslogin.account(of_token("t"), None, "email")), "@"),
    }
    for words, (message, told) in messages.items():
        assert told in enabled(*shlex.split(advised(message, words))[1:])


def test_defaults_are_the_users(enabled: Gcloud) -> None:
    enabled("config", "set", "compute/region", "us-west1")
    enabled("config", "set", "compute/zone", ZONE)
    assert enabled("config", "get", "compute/zone").strip() == ZONE


@pytest.fixture
def disk(enabled: Gcloud) -> Iterator[str]:
    """The tutorial's disk; its path."""
    enabled("compute", "disks", "create", "tpu-data-disk", "--size", "256gb", "--type", "pd-balanced")
    yield f"projects/{PROJECT}/zones/{ZONE}/disks/tpu-data-disk"
    enabled("compute", "disks", "delete", "tpu-data-disk")


def test_the_life_of_a_disk(enabled: Gcloud, disk: str) -> None:
    made = read(enabled, "compute", "disks", "describe", "tpu-data-disk")
    assert (made["sizeGb"], made["status"]) == ("256", "READY")
    assert made["type"].endswith("/diskTypes/pd-balanced")
    enabled("compute", "disks", "resize", "tpu-data-disk", "--size=300gb")
    enabled("compute", "disks", "update", "tpu-data-disk", "--update-labels=team=a")
    (listed,) = read(enabled, "compute", "disks", "list", "--filter=name=tpu-data-disk AND labels.team=a")
    assert listed["sizeGb"] == "300"
    assert read(enabled, "compute", "disks", "list", "--filter=name=none") == []
    with pytest.raises(GcloudError, match="already exists"):
        enabled("compute", "disks", "create", "tpu-data-disk")
    with pytest.raises(GcloudError, match="cannot be smaller"):
        enabled("compute", "disks", "resize", "tpu-data-disk", "--size=20gb")


def test_what_a_zone_offers(enabled: Gcloud) -> None:
    types = enabled(
        "compute", "tpus", "tpu-vm", "accelerator-types", "list", f"--zone={ZONE}", "--format=value(type)"
    )
    assert "v5litepod-8" in types.split()
    versions = enabled(
        "compute", "tpus", "tpu-vm", "versions", "list", f"--zone={ZONE}", "--format=value(version)"
    )
    assert "v2-alpha-tpuv5-lite" in versions.split()
    assert ZONE in enabled("compute", "zones", "list", "--format=value(name)").split()
    assert (
        "pd-balanced"
        in enabled("compute", "disk-types", "list", f"--zones={ZONE}", "--format=value(name)").split()
    )


def test_lists_come_page_by_page(
    enabled: Gcloud, served: Served, run_module: Callable[..., dict[str, Any]]
) -> None:
    """With resources of the modules. A page of gcloud's own is a request of its own."""
    node = {"accelerator_type": "v5litepod-1", "runtime_version": "v2-alpha-tpuv5-lite"}
    here: dict[str, Any] = {"project": PROJECT, "zone": ZONE}
    names = ["page-a", "page-b"]
    kinds: dict[str, tuple[str, list[str], dict[str, Any]]] = {
        "tpu_vm": ("nodes", ["compute", "tpus", "tpu-vm", "list", f"--zone={ZONE}"], node),
        "tpu_queued_resource": (
            "queuedResources",
            ["compute", "tpus", "queued-resources", "list", f"--zone={ZONE}"],
            {**node, "node_count": 2},
        ),
        "gcp_disk": ("disks", ["compute", "disks", "list", f"--zones={ZONE}"], {"size_gb": 10}),
    }
    for module, (collection, command, options) in kinds.items():
        for name in names:
            made = run_module(module, name=name, **here, **options)
            assert made["changed"] is True, made
        mark = len(served.exchanges)
        found = read(enabled, *command, "--page-size=1")
        assert [item["name"].rpartition("/")[2] for item in found] == names
        methods = map(method_of, served.since(mark))
        lists = [method for method in methods if str(method).endswith("ist")]
        assert [str(method).split(".")[-2] for method in lists] == [collection] * 2
        for name in names:
            force = {"force": True} if module == "tpu_queued_resource" else {}
            run_module(module, name=name, **here, state="absent", **force)
    assert served.records() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "--accelerator-type=v4-8", "--version=v2-alpha-tpuv5-lite"], "is not offered in zone"),
        (["a", "--accelerator-type=v5litepod-8", "--version=none"], '"none" was not found'),
        (["Bad_Name", "--accelerator-type=v5litepod-8", "--version=v2-alpha-tpuv5-lite"], "Invalid node id"),
        (
            ["a", "--accelerator-type=v5litepod-8", "--version=v2-alpha-tpuv5-lite", "--data-disk=source=x"],
            "Invalid disk 'x'",
        ),
    ],
)
def test_a_wrong_node_is_refused(enabled: Gcloud, served: Served, arguments: list[str], words: str) -> None:
    with pytest.raises(GcloudError, match=words):
        enabled("compute", "tpus", "tpu-vm", "create", *arguments, f"--zone={ZONE}")
    assert served.records() == []


def test_the_life_of_a_tpu_vm(machines_cloud: Description, tmp_path: Path) -> None:
    """On machines, for it logs in."""
    enabled = at(environment_of(machines_cloud), tmp_path)
    enabled("services", "enable", "compute.googleapis.com", "tpu.googleapis.com")
    disk = f"projects/{PROJECT}/zones/{ZONE}/disks/tpu-data-disk"
    enabled(
        "compute", "disks", "create", "tpu-data-disk", f"--zone={ZONE}", "--size=10gb", "--type=pd-balanced"
    )
    name, zone = "tpu-v5e-8", f"--zone={ZONE}"
    tpu_vm = ("compute", "tpus", "tpu-vm")
    shape = ["--accelerator-type=v5litepod-8", "--version=v2-alpha-tpuv5-lite"]
    enabled(*tpu_vm, "create", name, *shape, zone, "--data-disk", f"source={disk}")
    try:
        node = read(enabled, *tpu_vm, "describe", name, zone)
        assert (node["state"], node["health"]) == ("READY", "HEALTHY")
        assert node["dataDisks"] == [{"mode": "READ_WRITE", "sourceDisk": disk}]

        def ssh(command: str) -> str:
            return enabled(
                *tpu_vm, "ssh", f"local@{name}", "--project", PROJECT, zone, f"--command={command}"
            )

        ssh("true")  # the first login makes a key, and says so on its output
        assert ssh("sudo id -u").strip() == "0"
        assert "google-persistent-disk-1" in ssh("ls /dev/disk/by-id")
        metadata = "curl -sfH Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1"
        assert ssh(f"{metadata}/instance/attributes/accelerator-type") == "v5litepod-8"
        assert ssh(f"curl -so /dev/null -w %{{http_code}} {machines_cloud['hub']}/api/models") == "200"

        with pytest.raises(GcloudError, match="is already being used by"):
            enabled("compute", "disks", "delete", "tpu-data-disk", f"--zone={ZONE}")
        enabled(*tpu_vm, "update", name, zone, "--update-labels=team=a", "--update-metadata=k=v")
        (listed,) = read(enabled, *tpu_vm, "list", "--zone=-")
        assert (listed["labels"], listed["metadata"]["k"]) == ({"team": "a"}, "v")
        ssh("touch kept")
        enabled(*tpu_vm, "stop", name, zone)
        assert read(enabled, *tpu_vm, "describe", name, zone)["state"] == "STOPPED"
        enabled(*tpu_vm, "start", name, zone)
        assert ssh("ls").split() == ["kept"]
        enabled("services", "enable", "oslogin.googleapis.com")
        enabled(*tpu_vm, "update", name, zone, "--update-metadata=enable-oslogin=TRUE")
        assert ssh("whoami; sudo whoami").split() == ["user_localcloud_example", "root"]
        attributes = read(enabled, *tpu_vm, "get-guest-attributes", name, zone)
        assert "ssh-ed25519" in json.dumps(attributes)
    finally:
        enabled(*tpu_vm, "delete", name, zone)
        enabled("compute", "disks", "delete", "tpu-data-disk", f"--zone={ZONE}")
    state = json.loads(localcloud(Path(machines_cloud["state_dir"]), "status", "--json"))
    assert (state["nodes"], state["machines"]) == ([], [])


#: The tutorial's commands for gcloud, as they stand there and in its order, from the project to the clean-up.
#: Left out is `gcloud auth login`, which asks for a browser and for Google's own page.
AGAIN = """
export PROJECT_ID=$(gcloud projects list --filter="projectId ~ '^qwiklabs-gcp-' AND projectId != 'qwiklabs-resources'" --format="value(projectId)" | head -n 1)
"""  # noqa: E501
PREPARE = f"""{AGAIN}
export PROJECT_NUMBER=$(gcloud projects describe $PROJECT_ID --format="value(projectNumber)")
echo $PROJECT_ID
echo $PROJECT_NUMBER
gcloud config set project $PROJECT_ID
gcloud services enable compute.googleapis.com tpu.googleapis.com
export REGION="us-west1"
export ZONE="us-west1-c"
gcloud config set compute/region $REGION
gcloud config set compute/zone $ZONE
gcloud compute disks create tpu-data-disk --size 256gb --type pd-balanced
"""
CREATE = """gcloud compute tpus tpu-vm create tpu-v5e-8 \\
    --accelerator-type=v5litepod-8 \\
    --version=v2-alpha-tpuv5-lite \\
    --data-disk source=projects/$PROJECT_ID/zones/us-west1-c/disks/tpu-data-disk"""
SSH = "gcloud compute tpus tpu-vm ssh tpu-v5e-8 --project $PROJECT_ID --zone us-west1-c"
DELETE = "gcloud compute tpus tpu-vm delete tpu-v5e-8"


def typed(script: str, environment: dict[str, str], home: Path) -> subprocess.CompletedProcess[str]:
    """What comes of typing a script into a shell."""
    return subprocess.run(
        ["bash", "-c", script],
        env={**environment, "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # a passphrase is asked for at the terminal, if there is one
    )


def test_the_tutorial_where_a_chip_is_free(
    served: Served, enabled: Gcloud, cloud_environment: dict[str, str], tmp_path: Path
) -> None:
    """Its command as it stands, without `--spot`. What is before it, and the login, are in the next test."""
    settings = shutil.copytree(cloud_environment["CLOUDSDK_CONFIG"], tmp_path / "gcloud")
    script = f"""set -eu
export PROJECT_ID={PROJECT} CLOUDSDK_CORE_PROJECT={PROJECT} CLOUDSDK_COMPUTE_ZONE={ZONE}
gcloud compute disks create tpu-data-disk --size 256gb --type pd-balanced
{CREATE}
gcloud compute tpus tpu-vm describe tpu-v5e-8 --zone us-west1-c --format=json > node.json
echo Y | {DELETE}
echo Y | gcloud compute disks delete tpu-data-disk
"""
    done = typed(script, {**cloud_environment, "CLOUDSDK_CONFIG": str(settings)}, tmp_path)
    assert done.returncode == 0, done.stderr
    node = json.loads((tmp_path / "node.json").read_text(encoding="utf-8"))
    assert (node["state"], node["acceleratorType"]) == ("READY", "v5litepod-8")
    assert node["schedulingConfig"]["spot"] is False
    assert [disk["sourceDisk"].rpartition("/")[2] for disk in node["dataDisks"]] == ["tpu-data-disk"]
    assert served.records() == []


def test_the_tutorial_as_it_stands(machines_cloud: Description, tmp_path: Path) -> None:
    """No on-demand chip is free, so that it comes to the `--spot` which the tutorial advises then."""
    state_dir = Path(machines_cloud["state_dir"])
    environment = environment_of(machines_cloud)
    exports = localcloud(state_dir, "env")
    # As the tutorial says, Enter twice where a passphrase for the new key is wanted. It logs in again later,
    # with that key: a command for the shell there. The end asks whether to delete.
    script = f"""set -eu
{exports}
{PREPARE}
if {CREATE}
then exit 9
fi
{CREATE} --spot
printf '\\n\\n' | {SSH}
{AGAIN}
{SSH} <<'COMMANDS'
sudo id -u
COMMANDS
gcloud compute tpus tpu-vm describe tpu-v5e-8 --zone us-west1-c --format=json > node.json
echo Y | {DELETE}
"""
    localcloud(state_dir, "capacity", "--zone", ZONE, "--on-demand", "0")
    try:
        done = typed(script, environment, tmp_path)
    finally:
        localcloud(state_dir, "capacity", "--zone", ZONE, "--on-demand", "unlimited")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == PROJECT
    assert lines[1].isdigit()
    assert "0" in lines, done.stdout + done.stderr
    assert "There is no more capacity in the zone" in done.stderr
    node = json.loads((tmp_path / "node.json").read_text(encoding="utf-8"))
    assert (node["state"], node["acceleratorType"]) == ("READY", "v5litepod-8")
    assert node["schedulingConfig"]["spot"] is True
    assert [disk["sourceDisk"].rpartition("/")[2] for disk in node["dataDisks"]] == ["tpu-data-disk"]
    state = json.loads(localcloud(state_dir, "status", "--json"))
    assert (state["nodes"], state["machines"]) == ([], [])
    assert [disk["size_gb"] for disk in state["disks"]] == [256]


def test_a_token_that_google_does_not_know(gcloud: Gcloud, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("ya29.unknown")
    with pytest.raises(GcloudError, match="invalid authentication credentials"):
        gcloud("projects", "list", f"--access-token-file={token}")
