# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run needs of the Hub, looked at before anything is created: token, models, data sets, permission."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import columns
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import (
    HubError,
    Result,
    check_token,
    explain,
    foreign,
    patiently,
    read_manifest,
    refusal,
    remote_files,
    repo_info,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.rows import DataFile

TIMEOUT = 30.0  # seconds, for each request
SIZED_FILES = 200  # whose sizes are asked for


class Preflight:
    """Reads from one Hub with one token.

    Every method raises HubError with the option, the value and the remedy.
    """

    def __init__(self, endpoint: str, token: str | None) -> None:
        from huggingface_hub import HfApi

        check_token(token or "")
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        self.api = HfApi(endpoint=self.endpoint, token=token or False)
        self.known_identity: dict[str, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """name, role (of the token) and organizations."""
        if not self.token:
            raise HubError("token: is not set. Give one, or export HF_TOKEN")
        return describe_identity(self.whoami())

    def whoami(self) -> dict[str, Any]:
        """The Hub's answer, asked for once: the Hub limits the rate of this request strictly."""
        if self.known_identity is None:
            self.known_identity = self.asked(lambda: dict(self.api.whoami()), "the account", "token")
        return self.known_identity

    def check_write(self, repo_id: str) -> None:
        """That the name can be a repository's, and that the token may create or write it."""
        from huggingface_hub.utils import validate_repo_id

        self.asked(lambda: validate_repo_id(repo_id), repo_id, "write_to")
        if "/" not in repo_id:
            raise HubError(f"write_to: {repo_id!r} is no repository. Give <user or organization>/<name>")
        answer = self.whoami()
        if not may_write(answer, repo_id):
            owner = answer.get("name")
            raise HubError(
                f"write_to: the token of {owner} may not write {repo_id}. Give a token with permission to, "
                f"or a repository of {owner}"
            )

    def check_target(self, repo_id: str, replace: bool) -> None:
        """That the upload will find nothing of others in the repository, or may replace it."""
        request = {"repo_id": repo_id, "repo_type": "model"}

        def others() -> list[str]:
            info = repo_info(self.api, request)
            if info is None:
                return []
            remote = remote_files(self.api, request, info.sha)
            return foreign(remote, read_manifest(self.api, request, info.sha, remote))

        if not replace and (found := self.asked(others, repo_id, "write_to")):
            raise refusal("write_to", repo_id, found)

    def model(self, repo_id: str, revision: str) -> dict[str, Any]:
        """repo_id, revision (a commit), and the sizes of all its files and of those in safetensors."""
        info = self.info("models", "model", repo_id, revision)
        sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or []}
        return {
            "repo_id": repo_id,
            "revision": info.sha,
            "bytes": sum(sizes.values()),
            "safetensors_bytes": sum(size for name, size in sizes.items() if name.endswith(".safetensors")),
        }

    def dataset(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """repo_id, revision (a commit), splits and columns, the last two None where the Hub cannot tell.

        Checks that the configuration, the splits and the columns that are wanted are there.
        """
        found = self.described(wanted)
        return {name: found[name] for name in ("repo_id", "revision", "splits", "columns")}

    def described(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """The same, with the paths of the wanted splits' files, and the card's number of rows."""
        repo_id = wanted["repo_id"]
        info = self.info("datasets", "dataset", repo_id, wanted["revision"])
        card = info.card_data.to_dict() if info.card_data else {}
        script = f"{repo_id.split('/')[-1]}.py"
        if script in (sibling.rfilename for sibling in info.siblings or []):
            raise HubError(
                f"datasets: {repo_id} is loaded by a script, {script}, which the datasets library does not "
                "run any more. Choose a data set of files"
            )
        config = chosen(card, wanted["config"], repo_id)
        known = columns.card_info(card, config.get("config_name"))
        files = columns.split_files(config, [sibling.rfilename for sibling in info.siblings or []])
        splits = list(files) or [str(split["name"]) for split in known.get("splits") or []] or None
        names = columns.split_names(wanted["split"]) if wanted["split"] else []
        if names is None:
            raise HubError(
                f"datasets.split: {wanted['split']!r} is a part of a split, which cannot be streamed. "
                "Name whole splits, such as train or train+test"
            )
        require("datasets.split", repo_id, "split", names, splits)
        paths = [path for name in names or ["train"] for path in files.get(name, [])]
        mixed = [path for path in paths if path not in columns.of_one_format(paths)]
        if mixed:
            raise HubError(
                f"datasets.config: {repo_id} names files of several formats for one split, such as "
                f"{mixed[0]}: the datasets library reads all of them as one format. Name files of one format "
                "in its card"
            )
        first = paths or next(iter(files.values()), [])
        has = columns.card_columns(known) or self.columns_of(repo_id, info.sha, first)
        require("datasets.columns", repo_id, "column", wanted["columns"], has)
        return {
            "repo_id": repo_id,
            "revision": info.sha,
            "splits": splits,
            "columns": has,
            "paths": paths,
            "rows": columns.card_rows(known, names or ["train"]),
        }

    def data_files(self, repo_id: str, revision: str, paths: list[str]) -> list[DataFile]:
        """Files of a data set, to be read by ranges."""
        entries = self.asked(
            lambda: self.api.get_paths_info(
                repo_id, paths[:SIZED_FILES], repo_type="dataset", revision=revision
            ),
            repo_id,
            "datasets",
        )
        sizes = {entry.path: entry.size for entry in entries}
        average = sum(sizes.values()) // max(1, len(sizes))  # of more files than the Hub tells at once
        return [
            DataFile(path, sizes.get(path, average), self.reader(repo_id, revision, path)) for path in paths
        ]

    def reader(self, repo_id: str, revision: str, path: str) -> columns.ReadRange:
        """Reads a range of a file of a data set."""
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(repo_id, path, repo_type="dataset", revision=revision, endpoint=self.endpoint)
        return lambda first, last: self.asked(lambda: self.read(url, first, last), repo_id, "datasets")

    def text(self, repo_id: str, revision: str, path: str) -> str | None:
        """A small file of a model, None where there is none."""
        import requests
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(repo_id, path, revision=revision, endpoint=self.endpoint)

        def get() -> str | None:
            answer = requests.get(url, headers=self.headers(), timeout=TIMEOUT)
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            return answer.content.decode("utf-8", "replace")

        return self.asked(get, repo_id, "models")

    def columns_of(self, repo_id: str, revision: str, files: list[str]) -> list[str] | None:
        """The columns of the first file, None when there is none."""
        return columns.file_columns(files[0], self.reader(repo_id, revision, files[0])) if files else None

    def headers(self) -> dict[str, str]:
        """The token; requests keeps it from other hosts."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def read(self, url: str, first: int, last: int | None) -> bytes:
        """A range of a file; a negative first byte counts from its end."""
        import requests

        given = f"bytes={first}" if first < 0 else f"bytes={first}-{'' if last is None else last}"
        answer = requests.get(url, headers={**self.headers(), "Range": given}, timeout=TIMEOUT)
        if answer.status_code == 416:  # an empty file, or a range behind the end
            return b""
        answer.raise_for_status()
        return answer.content

    def commit(self, kind: str, repo_id: str, revision: str) -> str:
        """The commit of a revision of a repository (kind model, tokenizer or dataset) now."""
        repo_type = "dataset" if kind == "dataset" else "model"
        option = "tokenizer" if kind == "tokenizer" else f"{repo_type}s"
        return str(self.info(option, repo_type, repo_id, revision).sha)

    def info(self, option: str, repo_type: str, repo_id: str, revision: str) -> Any:
        from huggingface_hub.errors import RevisionNotFoundError

        def ask() -> Any:
            try:
                return self.api.repo_info(
                    repo_id,
                    repo_type=repo_type,
                    revision=revision,
                    timeout=TIMEOUT,
                    files_metadata=repo_type == "model",  # of a data set with many files that is too much
                )
            except RevisionNotFoundError as error:
                raise HubError(
                    f"{option}.revision: {repo_id} at {self.endpoint} has no branch, tag or commit "
                    f"{revision!r}. Set one that it has, such as main"
                ) from error

        info = self.asked(ask, repo_id, option)
        if info.gated:
            self.check_gate(option, repo_type, repo_id)
        return info

    def check_gate(self, option: str, repo_type: str, repo_id: str) -> None:
        """That the token may read a gated repository, which anyone may see."""
        from huggingface_hub.errors import GatedRepoError

        def check() -> None:
            try:
                self.api.auth_check(repo_id, repo_type=repo_type)
            except GatedRepoError as error:
                page = f"{self.endpoint}/{'' if repo_type == 'model' else 'datasets/'}{repo_id}"
                raise HubError(
                    f"{option}: {repo_id} is gated. Ask for access at {page}, and give a token of the "
                    "account that has it"
                ) from error

        self.asked(check, repo_id, option)

    def asked(self, question: Callable[[], Result], repo: str, option: str) -> Result:
        """The Hub's answer, asked again while a fault may pass; the HubError that explains any other."""

        def once() -> Result:
            try:
                return question()
            except HubError:
                raise
            except Exception as error:
                raise explain(error, repo, option, self.endpoint, bool(self.token)) or error from error

        return patiently(once)


def as_named(message: str, names: dict[str, str]) -> str:
    """The message with the user's names of options, at its start and where it says what to set."""
    for option, name in names.items():
        own = re.escape(option)
        places = rf"^{own}(?=: )|(?<=[Ss]et ){own}(?= to )" + (rf"|\b{own}\b" if "_" in option else "")
        message = re.sub(places, name.replace("\\", ""), message)
    return message


def chosen(card: dict[str, Any], name: str | None, repo_id: str) -> dict[str, Any]:
    """The configuration that is loaded; HubError where the card leaves that open or has no such one."""
    config = columns.card_config(card, name)
    if config is not None:
        return config
    names = ", ".join(columns.config_names(card)) or "default"
    if name:
        raise HubError(f"datasets.config: {repo_id} has no configuration {name!r}: it has {names}")
    raise HubError(
        f"datasets.config: {repo_id} has several configurations and no default one: {names}. Set one of them"
    )


def require(option: str, repo_id: str, what: str, wanted: list[str], there: list[str] | None) -> None:
    """That all wanted names are there; whatever cannot be told passes."""
    for name in wanted:
        if there is not None and name not in there:
            raise HubError(f"{option}: {repo_id} has no {what} {name!r}: it has {', '.join(there)}")


def describe_identity(answer: dict[str, Any]) -> dict[str, Any]:
    token = (answer.get("auth") or {}).get("accessToken") or {}
    return {
        "name": answer.get("name"),
        "role": token.get("role"),
        "organizations": [org.get("name") for org in answer.get("orgs") or []],
    }


def may_write(answer: dict[str, Any], repo_id: str) -> bool:
    """Whether the token of this whoami answer may write the repository.

    Roles of tokens: read, write, fineGrained (permissions for each entity: a user, an organization or one
    repository). A token without a role (OAuth) is left to the Hub to judge.
    """
    namespace = repo_id.split("/")[0]
    token = (answer.get("auth") or {}).get("accessToken") or {}
    role = token.get("role")
    if role == "fineGrained":
        scopes = (token.get("fineGrained") or {}).get("scoped") or []
        return any(
            (scope.get("entity") or {}).get("name") in (namespace, repo_id)
            and "repo.write" in (scope.get("permissions") or [])
            for scope in scopes
        )
    if role == "read":
        return False
    organizations = {org.get("name"): org.get("roleInOrg") for org in answer.get("orgs") or []}
    return namespace == answer.get("name") or organizations.get(namespace, "read") != "read"
