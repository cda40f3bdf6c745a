# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a machine's accounts what its metadata's SSH keys say; runs inside it, as root.

Standard input: a JSON object, user -> list of public key lines. Does as Google's guest agent does: a new user
gets an account with sudo and without a password; one that was made here and is no longer named loses its keys
and sudo, but keeps its home; keys that a user added by hand stay. Standard library only; Python 3.9 or later.
"""

import json
import pwd
import subprocess
import sys
from pathlib import Path

SUDOERS = "google-sudoers"
MANAGED = Path("/var/lib/google/google_users")
MARK = "# Added by Google"


def merge_keys(present: str, keys: "list[str]") -> str:
    """authorized_keys with exactly `keys` among its marked lines, and what it held besides."""
    lines = present.splitlines()
    pairs = zip(["", *lines], lines)  # noqa: B905 - Python 3.9 has no `strict`; one longer on purpose
    own = [line for before, line in pairs if MARK not in (before, line)]
    return "".join(f"{line}\n" for line in own) + "".join(f"{MARK}\n{key}\n" for key in keys)


def account(user: str) -> "pwd.struct_passwd":
    """The user's account, made when there is none."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", "--", user], check=True)
        return pwd.getpwnam(user)


def write_keys(user: str, keys: "list[str]") -> None:
    """Give the account these keys, files owned by it and closed to others, as sshd wants them."""
    entry = account(user)
    directory = Path(entry.pw_dir, ".ssh")
    file = directory / "authorized_keys"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(merge_keys(file.read_text(), keys))
    for path in (directory, file):
        subprocess.run(["chown", "--no-dereference", f"{entry.pw_uid}:{entry.pw_gid}", str(path)], check=True)


def main() -> None:
    """Apply the keys on standard input."""
    wanted = {user: keys for user, keys in json.load(sys.stdin).items() if user != "root"}
    managed = set(MANAGED.read_text().split()) if MANAGED.exists() else set()
    for user, keys in wanted.items():
        write_keys(user, keys)
        subprocess.run(["gpasswd", "--add", user, SUDOERS], check=True, stdout=subprocess.DEVNULL)
    for user in managed - set(wanted):
        write_keys(user, [])
        subprocess.run(["gpasswd", "--delete", user, SUDOERS], check=True, stdout=subprocess.DEVNULL)
    MANAGED.parent.mkdir(parents=True, exist_ok=True)
    MANAGED.write_text("".join(f"{user}\n" for user in sorted(wanted)))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError:
        sys.exit(1)  # the command itself said what it refused
