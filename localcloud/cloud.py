# SPDX-License-Identifier: GPL-3.0-or-later
"""One running cloud: the state, machines and credentials that all its servers share."""

from __future__ import annotations

from localcloud.catalog import Project
from localcloud.config import CloudConfig
from localcloud.credentials import SERVICE_ACCOUNT, USER, CredentialFiles, Tokens
from localcloud.faults import Faults
from localcloud.google.operations import Operations
from localcloud.machines import Machines
from localcloud.state import Store

SERVICE_KIND = "service"


class Cloud:
    """What handlers work on. A cloud made over the store of an earlier one goes on with it."""

    def __init__(self, config: CloudConfig, store: Store, machines: Machines) -> None:
        self.config = config
        self.store = store
        self.machines = machines
        self.credentials = CredentialFiles(config)
        self.tokens = Tokens(store)
        self.faults = Faults(store)
        self.operations = Operations(store, self.faults)
        self.credentials.write()
        self._register_access_token()
        self.tokens.forget_expired()
        self.service_account_key = self.credentials.public_key()
        self.service_account = SERVICE_ACCOUNT

    def _register_access_token(self) -> None:
        self.tokens.register(self.credentials.access_token.read_text(encoding="utf-8").strip(), USER)

    def expire_tokens(self) -> None:
        """Kill all access tokens; the token file gets a new one, for who reads it again."""
        self.tokens.expire_all()
        self.credentials.renew_access_token()
        self._register_access_token()

    def service_enabled(self, project: Project, service: str) -> bool:
        return self.store.get(SERVICE_KIND, f"projects/{project.number}/services/{service}") is not None

    def set_service(self, project: Project, service: str, enabled: bool) -> None:
        name = f"projects/{project.number}/services/{service}"
        if enabled:
            self.store.put(SERVICE_KIND, name, {"name": service})
        else:
            self.store.delete(SERVICE_KIND, name)
