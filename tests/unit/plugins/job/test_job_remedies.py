# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a job that failed, by the words that real programs end with."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import log
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.job_remedies import remedy

LIMITED = """\
Traceback (most recent call last):
    raise _format(HfHubHTTPError, message, response) from e
huggingface_hub.errors.HfHubHTTPError: (Request ID: Root=1-ae7c2e01a8d14331929ada5bebdeb743)

429 Too Many Requests for url: http://hub/api/models/Qwen/Qwen3-4B/tree/main?recursive=true.
"""
# What hf_hub_download() ends with, whatever the Hub answered.
HIDDEN = """\
huggingface_hub.errors.HfHubHTTPError: {}
huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub
"""
BUSY, SILENT, REFUSED, FULL = "busy or failed", "did not answer", "refused the token", "The disk is full"
FAILED = "The disk failed"


def what_to_do(told: str) -> str | None:
    lines = log.lines_of(told)
    return remedy(log.cause(lines), lines)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (LIMITED, BUSY),
        (
            "huggingface_hub.errors.HfHubHTTPError: Server error '503 Service Unavailable' for url 'http://hub'",
            BUSY,
        ),
        (
            "huggingface_hub.errors.HfHubHTTPError: Server error '500 Internal Server Error' for url 'http://h'",
            BUSY,
        ),
        ("requests.exceptions.HTTPError: 502 Server Error: Bad Gateway for url: http://hub/api", BUSY),
        (
            "huggingface_hub.errors.HfHubHTTPError: Client error '401 Unauthorized' for url 'http://h'",
            REFUSED,
        ),
        ("huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Pv)", REFUSED),
        ("huggingface_hub.errors.GatedRepoError: 403 Client Error. (Request ID: Vi)", REFUSED),
        ("httpx.ConnectError: [Errno 113] No route to host", SILENT),
        ("httpx2.ReadTimeout: The read operation timed out", SILENT),
        ("httpx.RemoteProtocolError: Server disconnected without sending a response.", SILENT),
        ("requests.exceptions.ConnectionError: ('Connection aborted.', RemoteDisconnected('...'))", SILENT),
        (HIDDEN.format("503 Server Error: Service Unavailable for url: http://hub/config.json"), BUSY),
        (HIDDEN.format("401 Client Error: Unauthorized for url: http://hub/config.json"), REFUSED),
        (HIDDEN.format("(Request ID: Root=1-abc)\n\n403 Forbidden: Access is restricted."), REFUSED),
        ("OSError: We couldn't connect to 'http://hub' to load the files, and couldn't find them", SILENT),
        ("ConnectionError: Couldn't reach 'llm-jp/data' on the Hub (ConnectTimeout)", SILENT),
        ("OSError: [Errno 28] No space left on device", FULL),
        ("OSError: [Errno 5] Input/output error: '/mnt/disks/checkpoints/env'", FAILED),
        ("OSError: [Errno 12] Cannot allocate memory: '/mnt/disks/checkpoints/env/transformers'", FAILED),
    ],
)
def test_what_is_to_be_done(told: str, words: str) -> None:
    found = what_to_do(told)
    assert found and words in found
    assert "run the whole playbook again" in found or "un the same command again" in found


def test_a_full_disk_comes_first() -> None:
    """It breaks a download too."""
    found = what_to_do("OSError: [Errno 28] No space left on device\nhttpx.ReadError: [Errno 104]")
    assert found and FULL in found


@pytest.mark.parametrize(
    "line",
    [
        "ValueError: Vocab size 512 is too small",
        "completed step: 503, seconds: 1.2, loss: 4.290",
        "OSError: [Errno 30] Read-only file system: '/etc/motd'",  # a job's sandbox
        "OSError: [Errno 12] Cannot allocate memory",
        "FileNotFoundError: [Errno 2] No such file or directory: 'requests/429'",
        # The first of two attempts met the Hub's fault, the second one ended on its own.
        "HfHubHTTPError: Server error '503 Service Unavailable' for url 'http://h'\nValueError: too small",
    ],
)
def test_nothing_is_made_up(line: str) -> None:
    assert what_to_do(line) is None


def test_the_cause_of_a_limited_request_names_its_status() -> None:
    """huggingface_hub says it in the line below."""
    cause = log.cause(log.lines_of(LIMITED))
    assert cause and cause.endswith(
        "429 Too Many Requests for url: http://hub/api/models/Qwen/Qwen3-4B/tree/main?recursive=true."
    )
    assert cause.startswith("huggingface_hub.errors.HfHubHTTPError: ")
