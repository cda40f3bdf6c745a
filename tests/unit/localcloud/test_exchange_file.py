# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of what clients and Google's APIs say to each other."""

from __future__ import annotations

from pathlib import Path

from localcloud.exchanges import Exchange, ExchangeFile

ASKED = Exchange("GET", "/v2/projects/p", [("pageSize", "1"), ("a", "")], b"", 200, '{"é": 1}'.encode())
LOST = Exchange("POST", "/v2/projects/p:do", [], b"\xff\n{}", 0, b"")


def test_exchanges_are_read_as_they_were(tmp_path: Path) -> None:
    file = ExchangeFile(tmp_path)
    assert list(file.read()) == []
    for exchange in (ASKED, LOST):
        file.add(exchange)
    assert list(ExchangeFile(tmp_path).read()) == [ASKED, LOST]
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_tokens_and_the_clouds_own_commands_are_left_out(tmp_path: Path) -> None:
    file = ExchangeFile(tmp_path)
    file.add(Exchange("POST", "/token", [], b"assertion=x", 200, b"{}"))
    file.add(Exchange("POST", "/localcloud/fault-arm", [], b"{}", 200, b"{}"))
    assert list(file.read()) == []
