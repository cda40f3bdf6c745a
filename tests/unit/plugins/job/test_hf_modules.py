# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the Hub, with the real huggingface_hub against the local cloud's Hub."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import manifest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import hub as program
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import preflight, target
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import launch, runner
from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import RepoFile

from .conftest import Hub, RunModule, Systemd

numbers = count()


@pytest.fixture(autouse=True)
def without_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub has read the environment when it was imported."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults that pass are asked again at once, by the program in its own process too."""
    source_of, patiently = launch.source_of, program.patiently

    def source(module: ModuleType) -> str:
        text = source_of(module)
        assert text.count("PAUSE = 1.0") == 1
        return text.replace("PAUSE = 1.0", "PAUSE = 0.0")

    monkeypatch.setattr(launch, "source_of", source)
    monkeypatch.setattr(preflight, "patiently", lambda work: patiently(work, pause=0.0))


@pytest.fixture
def common(hub: Hub) -> dict[str, Any]:
    """The options of a repository of this test's own."""
    return {
        "repo_id": f"local/test-{next(numbers)}",
        "endpoint": hub.url,
        "token": hub.token,
        "python": sys.executable,
        "environment": {"HF_HUB_DISABLE_XET": "1"},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "export"
    (path / "sub").mkdir(parents=True)
    (path / ".git").mkdir()
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(os.urandom(100_000))
    (path / "sub" / "notes.txt").write_text("はい")
    (path / ".git" / "HEAD").write_text("ref")
    return path


@pytest.fixture
def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


def request(common: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    base = {
        "repo_id": common["repo_id"],
        "repo_type": "model",
        "revision": "main",
        "folder": str(folder),
        "ignore_patterns": [],
        "replace": False,
        "message": "Upload",
    }
    return {**base, **changes}


@pytest.fixture
def hub_environment(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the helper: the Hub and its token are in the environment."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", hub.token)


def test_a_repository_s_life(run_module: RunModule, common: dict[str, Any]) -> None:
    would = run_module("hf_repo", check=True, diff=True, **common)
    made = run_module("hf_repo", **common)
    again = run_module("hf_repo", **common)
    gone = run_module("hf_repo", state="absent", **common)
    still_gone = run_module("hf_repo", state="absent", **common)
    opened = run_module("hf_repo", private=False, **common)
    steps = (would, made, again, gone, still_gone, opened)
    assert [each["changed"] for each in steps] == [True, True, False, True, False, True]
    assert [each["repo"]["private"] for each in steps] == [True, True, True, None, None, False]
    assert (would["repo"]["revision"], gone["repo"]["exists"]) == (None, False)
    assert len(made["repo"]["revision"]) == 40
    assert would["diff"] == {
        "before": {"exists": False, "private": None},
        "after": {"exists": True, "private": True},
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": ""}, "token: is not set"),
        ({"token": "hf_wrong"}, "token: {url} refused it"),
        ({"token": "hf_half\nhalf"}, "token: has a blank, a line feed or a character that is not ASCII"),
        ({"python": "/no/such/python"}, "python: there is no /no/such/python"),
        ({"repo_id": "local/--bad"}, "repo_id: 'local/--bad' is not the name of a repository"),
        ({"endpoint": "http://127.0.0.1:1"}, "endpoint: http://127.0.0.1:1 cannot be reached"),
        ({"environment": {"A": True}}, "environment: A is not a string"),
    ],
)
def test_what_is_wrong_is_said(
    without_pauses: None,
    run_module: RunModule,
    common: dict[str, Any],
    hub: Hub,
    options: dict[str, Any],
    message: str,
) -> None:
    result = run_module("hf_repo", **{**common, **options})
    assert result["failed"]
    assert result["msg"].startswith(message.format(url=hub.url))
    assert hub.token not in json.dumps(result)
    assert "half" not in result["msg"]


def test_a_token_that_may_only_read(run_module: RunModule, common: dict[str, Any], hub: Hub) -> None:
    result = run_module("hf_repo", **{**common, "token": hub.read_token})
    assert result["msg"].startswith("token: may not do this")


def test_a_python_without_huggingface_hub(
    run_module: RunModule, common: dict[str, Any], tmp_path: Path
) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    result = run_module("hf_repo", **{**common, "python": python})
    assert result["msg"].startswith(f"python: {python} has no huggingface_hub")


def test_a_helper_that_breaks_off_is_told_with_its_last_words() -> None:
    with pytest.raises(program.HubError, match="huggingface_hub failed: Killed"):
        target.parse("", "Killed\n")


def test_an_upload_makes_one_commit_and_a_second_none(
    common: dict[str, Any],
    folder: Path,
    api: HfApi,
    run_module: RunModule,
    hub_environment: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_module("hf_repo", **common)
    upload = ["upload", json.dumps(request(common, folder))]
    before = len(api.list_repo_commits(common["repo_id"]))
    assert program.main(upload) == 0
    assert program.main(upload) == 0
    commits = api.list_repo_commits(common["repo_id"])
    files = set(api.list_repo_files(common["repo_id"]))
    assert len(commits) == before + 1
    assert files == {
        ".gitattributes",
        "config.json",
        "model.safetensors",
        "sub/notes.txt",
        "tpuops-upload.json",
    }
    assert capsys.readouterr().out.count(f"has all 3 files, at commit {commits[0].commit_id}") == 2


def test_only_what_differs_is_sent(
    common: dict[str, Any], folder: Path, run_module: RunModule, hub_environment: None
) -> None:
    run_module("hf_repo", **common)
    program.upload(request(common, folder))
    (folder / "config.json").write_text("[]")  # as long as before
    found = program.compare(request(common, folder))
    assert (found["upload"], found["delete"], found["bytes"]) == (["config.json"], [], 2)


def test_ignored_files_stay(
    common: dict[str, Any], folder: Path, run_module: RunModule, hub_environment: None
) -> None:
    run_module("hf_repo", **common)
    found = program.compare(request(common, folder, ignore_patterns=["*.safetensors", "sub/*"]))
    assert found["upload"] == ["config.json"]


def test_faults_that_pass_are_waited_out_and_others_are_not(
    common: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []
    answers: list[Any] = [program.Transient("503"), program.Transient("cut"), {"files": 3, "revision": "abc"}]

    def once(_request: dict[str, Any]) -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer

    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(program, "upload_once", once)
    assert program.upload(request(common, folder))["revision"] == "abc"
    assert pauses == [4.0, 8.0]
    answers[:] = [program.Transient("503")] * program.UPLOAD_ATTEMPTS
    assert program.main(["upload", json.dumps(request(common, folder))]) == 1
    answers[:] = [program.HubError("token: refused")]
    assert program.main(["upload", json.dumps(request(common, folder))]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["503 (given up after 6 attempts)", "token: refused"]


def test_a_question_is_asked_again_too(
    common: dict[str, Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    answers: list[Any] = [program.Transient("429"), program.Transient("503"), {"exists": False}]

    def show(_request: dict[str, Any]) -> dict[str, Any]:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer

    monkeypatch.setitem(program.ACTIONS, "show", show)
    assert program.main(["show", json.dumps(request(common, folder))]) == 0
    assert json.loads(capsys.readouterr().out) == {"exists": False}
    answers[:] = [program.Transient("429")] * program.ATTEMPTS
    assert program.main(["show", json.dumps(request(common, folder))]) == 1
    assert json.loads(capsys.readouterr().out) == {"error": "429 (given up after 4 attempts)"}


def test_an_upload_that_the_hub_got_wrong_is_no_success(
    common: dict[str, Any],
    folder: Path,
    run_module: RunModule,
    hub_environment: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_module("hf_repo", **common)
    commit = program.commit

    def commit_less(wanted: dict[str, Any], comparison: dict[str, Any]) -> str:
        return commit(wanted, {**comparison, "upload": comparison["upload"][:-1]})

    monkeypatch.setattr(program, "commit", commit_less)
    with pytest.raises(program.HubError, match=r"differs from .* after the upload: sub/notes\.txt"):
        program.upload(request(common, folder))


@pytest.mark.parametrize(
    ("status", "transient"), [(429, True), (412, True), (503, True), (400, False), (401, False)]
)
def test_which_answers_are_worth_another_attempt(status: int, transient: bool) -> None:
    class Answer(Exception):
        class response:
            status_code = status

    error = program.explain(Answer("said"), "a/b", "repo_id", "http://hub", True)
    assert isinstance(error, program.Transient) is transient
    assert program.explain(ValueError("a bug"), "a/b", "repo_id", "http://hub", True) is None


def test_the_upload_module_starts_a_job(
    run_module: RunModule,
    common: dict[str, Any],
    folder: Path,
    fake_systemd: Systemd,
    records_dir: str,
    hub: Hub,
    api: HfApi,
) -> None:
    Path(records_dir).parent.mkdir()
    options = {**common, "folder": str(folder), "records_dir": records_dir, "user": "root"}
    api.create_repo(common["repo_id"], private=True)
    would = run_module("hf_upload", check=True, diff=True, **options)
    result = run_module("hf_upload", **options)
    attached = run_module("hf_upload", **options)
    name = "upload-" + common["repo_id"].replace("/", ".")
    assert would["diff"]["prepared"].splitlines() == [f"upload {path}" for path in sorted(result["upload"])]
    assert (would["changed"], "job" in would) == (True, False)
    assert (result["action"], attached["action"], result["job"]["name"]) == ("run", "attach", name)
    assert (result["bytes"], result["files"]) == (100_008, 3)
    assert fake_systemd.seen_secrets["HF_TOKEN"] == hub.token
    assert hub.token not in json.dumps([result, fake_systemd.started])
    argv = result["job"]["argv"]
    assert Path(argv[2]).read_text() == Path(program.__file__).read_text()
    assert result["job"]["environment"]["HF_HUB_DISABLE_XET"] == "1"
    answer = subprocess.run(
        argv,
        env={**result["job"]["environment"], "HF_TOKEN": hub.token},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "has all 3 files" in answer.stdout
    assert run_module("hf_upload", **options)["action"] == "skip"


def test_an_upload_that_finds_its_disk_full_says_what_to_do(
    run_module: RunModule,
    common: dict[str, Any],
    folder: Path,
    fake_systemd: Systemd,
    records_dir: str,
    api: HfApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: str, record: dict[str, Any]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    Path(records_dir).parent.mkdir()
    api.create_repo(common["repo_id"], private=True)
    monkeypatch.setattr(runner, "write_json", refuse)
    options = {**common, "folder": str(folder), "records_dir": records_dir, "user": "root"}
    result = run_module("hf_upload", **options)
    assert result["failed"]
    assert "No space left on device. Delete what is not needed" in result["msg"]
    assert result["msg"].startswith(records_dir)


def test_a_damaged_folder_is_not_uploaded(
    run_module: RunModule,
    common: dict[str, Any],
    folder: Path,
    fake_systemd: Systemd,
    records_dir: str,
    api: HfApi,
    tmp_path: Path,
) -> None:
    Path(records_dir).parent.mkdir()
    api.create_repo(common["repo_id"], private=True)
    record = tmp_path / "folder.manifest.json"
    manifest.write(str(record), manifest.build(str(folder)))
    options = {**common, "folder": str(folder), "records_dir": records_dir, "user": "root"}
    weights = folder / "model.safetensors"
    good, before = weights.read_bytes(), weights.stat()
    for damaged in (good[:-1], good[:-1] + bytes([good[-1] ^ 1])):
        weights.write_bytes(damaged)
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
        refused = run_module("hf_upload", manifest=str(record), **options)
        assert refused["msg"].startswith(f"folder: {folder} is damaged ({weights} has ")
        assert f"(sudo rm {record} on the machine) and export again" in refused["msg"]
    assert fake_systemd.started == []
    weights.write_bytes(good)
    assert run_module("hf_upload", manifest=str(record), **options)["action"] == "run"


def test_an_upload_needs_a_folder_and_a_repository(
    run_module: RunModule, common: dict[str, Any], folder: Path, fake_systemd: Systemd, records_dir: str
) -> None:
    options = {**common, "records_dir": records_dir, "user": "root"}
    no_folder = run_module("hf_upload", folder="/no/such/folder", **options)
    no_repository = run_module("hf_upload", folder=str(folder), **options)
    would = run_module("hf_upload", check=True, folder=str(folder), **options)
    nothing = run_module("hf_upload", check=True, folder="/no/such/folder", **options)
    assert no_folder["msg"] == "folder: /no/such/folder is not a directory on the target"
    assert "Create it first" in no_repository["msg"]
    assert (would["changed"], len(would["upload"])) == (True, 3)
    assert nothing["changed"]
    assert fake_systemd.started == []


@pytest.fixture
def dataset(common: dict[str, Any], api: HfApi) -> str:
    """A data set with a train and a test split, two columns."""
    repo_id = str(common["repo_id"])
    api.create_repo(repo_id, repo_type="dataset")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": [1], "messages": ["x"]}), buffer)
    for split in ("train", "test"):
        api.upload_file(
            path_or_fileobj=buffer.getvalue(),
            path_in_repo=f"data/{split}-00000-of-00001.parquet",
            repo_id=repo_id,
            repo_type="dataset",
        )
    return repo_id


def test_everything_a_run_needs_is_there(
    run_module: RunModule,
    hub: Hub,
    dataset: str,
    api: HfApi,
    common: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.create_repo(dataset, repo_type="model")
    for name in ("model.safetensors", "pytorch_model.bin"):
        api.upload_file(path_or_fileobj=bytes(1000), path_in_repo=name, repo_id=dataset)
    size = sum(file.size or 0 for file in api.list_repo_tree(dataset) if isinstance(file, RepoFile))
    result = run_module(
        "hf_repo_info",
        endpoint=hub.url,
        token=hub.token,
        models=[{"repo_id": dataset}],
        datasets=[{"repo_id": dataset, "split": "test", "columns": ["messages"]}],
        write_to="local/new",
    )
    assert result["identity"] == {"name": "local", "role": "write", "organizations": []}
    model = api.model_info(dataset)
    assert result["models"] == [
        {"repo_id": dataset, "revision": model.sha, "bytes": size, "safetensors_bytes": 1000}
    ]
    (found,) = result["datasets"]
    assert found["columns"] == ["id", "messages"]
    assert sorted(found["splits"]) == ["test", "train"]
    assert (found["revision"], result["changed"]) == (api.dataset_info(dataset).sha, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": None, "write_to": "local/x"}, "token: is not set. Give one, or export HF_TOKEN"),
        ({"token": "hf_wrong"}, "token: {url} refused it"),
        ({"token": "hf_half\n"}, "token: has a blank, a line feed or a character that is not ASCII"),
        ({"token": "hf_h\u00e1lf"}, "token: has a blank, a line feed or a character that is not ASCII"),
        ({"models": [{"repo_id": "Qwen/Nope"}]}, "models: there is no Qwen/Nope at {url}"),
        ({"models": [{"repo_id": "a//b"}]}, "models: 'a//b' is not the name of a repository"),
        ({"datasets": [{"repo_id": "no/data"}]}, "datasets: there is no no/data at {url}"),
        ({"datasets": [{"repo_id": "data/a/b"}]}, "datasets: 'data/a/b' is not the name of a repository"),
        (
            {"datasets": [{"repo_id": "{dataset}", "revision": "v9"}]},
            "datasets.revision: {dataset} at {url} has no branch, tag or commit 'v9'. Set one",
        ),
        (
            {"datasets": [{"repo_id": "{dataset}", "split": "trian"}]},
            "datasets.split: {dataset} has no split 'trian': it has ",
        ),
        (
            {"datasets": [{"repo_id": "{dataset}", "columns": ["id", "messagez"]}]},
            "datasets.columns: {dataset} has no column 'messagez': it has id, messages",
        ),
        ({"write_to": "other/x"}, "write_to: the token of local may not write other/x"),
        ({"write_to": "x"}, "write_to: 'x' is no repository. Give <user or organization>/<name>"),
        ({"write_to": "local/my run"}, "write_to: 'local/my run' is not the name of a repository: "),
        ({"write_to": "local/--bad"}, "write_to: 'local/--bad' is not the name of a repository: "),
        ({"write_to": "local/a..b"}, "write_to: 'local/a..b' is not the name of a repository: "),
        ({"write_to": "local/日本"}, "write_to: 'local/日本' is not the name of a repository: "),
        ({"write_to": "local/a/b"}, "write_to: 'local/a/b' is not the name of a repository: "),
        ({"write_to": "local/"}, "write_to: 'local/' is not the name of a repository: "),
        ({"write_to": "local/x.git"}, "write_to: 'local/x.git' is not the name of a repository: "),
        (
            {"write_to": f"local/{'x' * 97}"},
            f"write_to: 'local/{'x' * 97}' is not the name of a repository: ",
        ),
        ({"endpoint": "http://127.0.0.1:1"}, "endpoint: http://127.0.0.1:1 cannot be reached"),
    ],
)
def test_each_thing_that_is_not_as_it_has_to_be(
    without_pauses: None, run_module: RunModule, hub: Hub, dataset: str, options: dict[str, Any], message: str
) -> None:
    named = json.loads(json.dumps(options).replace("{dataset}", dataset))
    result = run_module("hf_repo_info", **{"endpoint": hub.url, "token": hub.token, **named})
    assert result["failed"]
    assert result["msg"].startswith(message.replace("{dataset}", dataset).replace("{url}", hub.url))


@pytest.mark.parametrize(("option", "kind"), [("models", ""), ("datasets", "datasets/")])
@pytest.mark.parametrize("known", [True, False])
def test_a_gated_repository_is_told_from_one_that_is_open(
    run_module: RunModule, hub: Hub, dataset: str, api: HfApi, option: str, kind: str, known: bool
) -> None:
    api.create_repo(dataset, repo_type="model")
    asked = {"endpoint": hub.url, "token": hub.token if known else None, option: [{"repo_id": dataset}]}
    hub.faults.arm("hub-gated", {"repository": dataset})
    refused = run_module("hf_repo_info", **asked)
    hub.faults.clear()
    assert refused["failed"]
    assert refused["msg"] == (
        f"{option}: {dataset} is gated. Ask for access at {hub.url}/{kind}{dataset}, and give a token of the "
        "account that has it"
    )
    assert not run_module("hf_repo_info", **asked)["failed"]


FINE = {"auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"scoped": [
    {"entity": {"type": "user", "name": "me"}, "permissions": ["repo.content.read"]},
    {"entity": {"type": "org", "name": "lab"}, "permissions": ["repo.content.read", "repo.write"]},
    {"entity": {"type": "model", "name": "me/one"}, "permissions": ["repo.write"]},
]}}}, "name": "me"}  # fmt: skip
WRITE = {"name": "me", "auth": {"accessToken": {"role": "write"}}, "orgs": [
    {"name": "lab", "roleInOrg": "admin"}, {"name": "club", "roleInOrg": "read"}]}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "repo_id", "may"),
    [
        (WRITE, "me/x", True),
        (WRITE, "lab/x", True),
        (WRITE, "club/x", False),
        (WRITE, "other/x", False),
        ({**WRITE, "auth": {"accessToken": {"role": "read"}}}, "me/x", False),
        ({**WRITE, "auth": {"type": "oauth"}}, "me/x", True),
        (FINE, "me/x", False),
        (FINE, "me/one", True),
        (FINE, "lab/x", True),
    ],
)
def test_who_may_write(answer: dict[str, Any], repo_id: str, may: bool) -> None:
    assert preflight.may_write(answer, repo_id) is may
