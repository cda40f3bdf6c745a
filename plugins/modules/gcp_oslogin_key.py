#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gcp_oslogin_key
short_description: Keep an SSH key in the OS Login profile of a Google account
version_added: 0.2.0
description:
  - Adds a public key to the OS Login profile of an account, lets it expire when it is wanted to, renews it in
    time, or deletes it. Other keys of the profile stay as they are.
  - Machines with the metadata C(enable-oslogin=TRUE) let in the keys of profiles in place of those in their
    own metadata. The account needs one of the roles C(roles/compute.osAdminLogin) (with sudo) and
    C(roles/compute.osLogin) there.
  - Tells the POSIX user name that SSH logs in under, and has Google make the account in the project when
    there is none.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.gcp
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.actiongroup_gcp
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  key:
    description: The public key, the content of a C(.pub) file. Its comment does not count when keys are
      compared.
    type: str
    required: true
  email:
    description:
      - E-mail address of the account whose profile it is.
      - That of the credentials by default. The credentials of a person and access tokens do not tell it.
    type: str
  ttl:
    description:
      - Seconds after which the key expires.
      - A key of which less than half of that is left is renewed, so that running again now and then keeps a
        key alive that is gone when nobody runs any more.
      - When it is left out a new key never expires, and the expiry of one that is there stays. A key that has
        expired is added anew.
    type: int
  state:
    description: Whether the key is in the profile.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let my key in for a day
  tpuops.maxtext.gcp_oslogin_key:
    project: my-project
    email: me@example.com
    key: "{{ lookup('ansible.builtin.file', '~/.ssh/google_compute_engine.pub') }}"
    ttl: 86400
  register: login

- name: Say how to log in
  ansible.builtin.debug:
    msg: "ssh {{ login.username }}@..."

- name: Delete the key
  tpuops.maxtext.gcp_oslogin_key:
    project: my-project
    email: me@example.com
    key: "{{ lookup('ansible.builtin.file', '~/.ssh/google_compute_engine.pub') }}"
    state: absent
"""

RETURN = r"""
ssh_key:
  description: The key as the API gives it, empty if it is not there. In check mode, as it would be.
  returned: success
  type: dict
  sample:
    name: users/me@example.com/sshPublicKeys/e0d96d6fad35a61a0577f467940509b5aa08b6dea8d99456ec19a6e47126bc52
    fingerprint: e0d96d6fad35a61a0577f467940509b5aa08b6dea8d99456ec19a6e47126bc52
    key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB
    expirationTimeUsec: "1795432100000000"
username:
  description: POSIX user name of the account on the project's machines; empty where there is none yet.
  returned: success
  type: str
  sample: me_example_com
email:
  description: E-mail address of the account.
  returned: success
  type: str
"""

import time
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import google
from ansible_collections.tpuops.maxtext.plugins.module_utils.fields import Change, Field, given
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import oslogin
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import GcpError, InvalidArgument
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.ssh_keys import public_key
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.resource import Resource

EXPIRY = "expirationTimeUsec"
SHORTEST_TTL = 60
#: Clocks of several controllers differ; an expiry that is later by no more than this is none of others.
CLOCKS_DIFFER = 60


class OsLoginKey(Resource):
    noun = "SSH key"
    result = "ssh_key"
    identity = ("project",)

    def __init__(self, module: AnsibleModule, client: Client) -> None:
        super().__init__(module, client)
        self.key = public_key(self.params["key"], "key: what it holds")
        self.ttl = self.params["ttl"]
        if self.ttl is not None and self.ttl < SHORTEST_TTL:
            raise InvalidArgument(
                f"ttl: {self.ttl} is not valid", remedy=f"Give seconds, {SHORTEST_TTL} or more."
            )
        self.email = oslogin.account(client, self.params["email"], "email")
        self.path = f"v1/users/{self.email}"
        self.profile: dict[str, Any] = {}
        self.now = time.time()
        self.fields = (Field(EXPIRY, "ttl", mutable=True, same=self._lasts),)

    def _lasts(self, have: str | None, want: str) -> bool:
        """Whether a key expires, but not soon. have, want: microseconds since the epoch; None for never."""
        end = int(want)
        return have is not None and end - self.ttl * 500_000 <= int(have) <= end + CLOCKS_DIFFER * 1_000_000

    def fetch(self) -> dict[str, Any] | None:
        self.profile = oslogin.profile(self.client, self.email, self.project)
        return self._found()

    def _found(self) -> dict[str, Any] | None:
        keys = self.profile.get("sshPublicKeys", {}).values()
        return next((key for key in keys if key["key"].split()[:2] == self.key.split()), None)

    def settle(self, current: dict[str, Any]) -> dict[str, Any]:
        return current  # keys have no states

    def is_dead(self, current: dict[str, Any]) -> bool:
        return EXPIRY in current and int(current[EXPIRY]) <= self.now * 1_000_000

    def body(self, current: dict[str, Any] | None) -> dict[str, Any]:
        end = None if self.ttl is None else str(int((self.now + self.ttl) * 1_000_000))
        return given(key=self.key, expirationTimeUsec=end)

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.post(
            oslogin.API, f"{self.path}:importSshPublicKey", body, {"projectId": self.project}
        )
        self.profile = answer.get("loginProfile", {})
        found = self._found()
        if found is None:
            raise GcpError(f"Google did not add the key: {answer.get('details', 'it does not say why')}")
        return found

    def update(
        self, current: dict[str, Any], changes: Sequence[Change], body: dict[str, Any]
    ) -> dict[str, Any]:
        path = f"{self.path}/sshPublicKeys/{current['fingerprint']}"
        return self.client.patch(oslogin.API, path, body, {"updateMask": EXPIRY})

    def delete(self, current: dict[str, Any]) -> None:
        self.client.delete(oslogin.API, f"{self.path}/sshPublicKeys/{current['fingerprint']}")

    def finish(self, current: dict[str, Any]) -> dict[str, Any]:
        """A key can be there, and no account in this project."""
        if not oslogin.username(self.profile):
            self.changed = True
            if not self.check_mode:
                made = self.client.post(oslogin.API, f"{self.path}/projects/{self.project}")
                self.profile = {**self.profile, "posixAccounts": [made]}
        return current

    def facts(self, current: dict[str, Any] | None) -> dict[str, Any]:
        return {"username": oslogin.username(self.profile), "email": self.email}


OPERATION = google(
    {
        "key": {"type": "str", "required": True, "no_log": False},
        "email": {"type": "str"},
        "ttl": {"type": "int"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    },
    lambda module, client: OsLoginKey(module, client).execute(),
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
