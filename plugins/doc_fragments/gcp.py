# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that everything shares which talks to Google's APIs: arguments.py reads them."""

from __future__ import annotations


class ModuleDocFragment:
    """The default fragment has the options of modules; INVENTORY adds what an inventory plugin reads them
    from, ZONES the zones of a module that reads."""

    DOCUMENTATION = r"""
options:
  project:
    description:
      - Id of the project.
      - The environment variable E(GCP_PROJECT) is used if it is not set.
    type: str
  auth_kind:
    description:
      - Which credentials to use, in the words of the google.cloud collection.
      - V(application) is application default credentials, also those of an external account;
        V(machineaccount) the service account of the machine that this runs on; V(serviceaccount) the key of
        O(service_account_file) or O(service_account_contents); V(accesstoken) the token of O(access_token).
      - The environment variable E(GCP_AUTH_KIND) is used if it is not set.
    type: str
    choices: [application, machineaccount, serviceaccount, accesstoken]
    default: application
  service_account_file:
    description:
      - Path of the key file of a service account.
      - The environment variable E(GCP_SERVICE_ACCOUNT_FILE) is used if it is not set.
    type: path
  service_account_contents:
    description:
      - Content of the key file of a service account; comes before O(service_account_file).
      - The environment variable E(GCP_SERVICE_ACCOUNT_CONTENTS) is used if it is not set.
    type: jsonarg
  service_account_email:
    description:
      - Which service account of the machine to use with O(auth_kind=machineaccount).
      - The environment variable E(GCP_SERVICE_ACCOUNT_EMAIL) is used if it is not set.
    type: str
  access_token:
    description:
      - An access token. It is never refreshed.
      - The environment variable E(GCP_ACCESS_TOKEN) is used if it is not set.
    type: str
  scopes:
    description:
      - Scopes of the access token, V(https://www.googleapis.com/auth/cloud-platform) by default.
      - The environment variable E(GCP_SCOPES) is used if it is not set.
    type: list
    elements: str
  token_uri:
    description:
      - Where access tokens are fetched, in place of the address that the credentials name.
      - The environment variable E(TPUOPS_TOKEN_URI) is used if it is not set.
    type: str
  tpu_endpoint:
    description:
      - Address of the TPU API, V(https://tpu.googleapis.com) by default.
      - The environment variable E(CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU), which gcloud reads too, is used if it
        is not set.
    type: str
  compute_endpoint:
    description:
      - Address of the Compute Engine API, V(https://compute.googleapis.com/compute/v1) by default.
      - The environment variable E(CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE) is used if it is not set.
    type: str
  serviceusage_endpoint:
    description:
      - Address of the Service Usage API, V(https://serviceusage.googleapis.com) by default.
      - The environment variable E(CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE) is used if it is not set.
    type: str
  resourcemanager_endpoint:
    description:
      - Address of the Resource Manager API, V(https://cloudresourcemanager.googleapis.com) by default.
      - The environment variable E(CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER) is used if it is not
        set.
    type: str
  oslogin_endpoint:
    description:
      - Address of the OS Login API, V(https://oslogin.googleapis.com) by default.
      - The environment variable E(CLOUDSDK_API_ENDPOINT_OVERRIDES_OSLOGIN) is used if it is not set.
    type: str
    version_added: 0.2.0
  timeout:
    description: Seconds without an answer until a request counts as lost. Lost requests are sent again a few
      times.
    type: float
    default: 60
requirements:
  - google-auth
  - requests
notes:
  - Rate limits (429), server errors and lost answers are retried with growing, jittered pauses that respect
    C(Retry-After), up to two minutes of it, and end with the module's C(wait_timeout).
"""

    # For modules that look in several zones.
    ZONES = r"""
options:
  zones:
    description: Zones to look in. All zones by default.
    type: list
    elements: str
    aliases: [zone]
"""

    INVENTORY = r"""
options:
  project:
    env:
      - name: GCP_PROJECT
  auth_kind:
    env:
      - name: GCP_AUTH_KIND
  service_account_file:
    env:
      - name: GCP_SERVICE_ACCOUNT_FILE
  service_account_contents:
    type: raw
    env:
      - name: GCP_SERVICE_ACCOUNT_CONTENTS
  service_account_email:
    env:
      - name: GCP_SERVICE_ACCOUNT_EMAIL
  access_token:
    env:
      - name: GCP_ACCESS_TOKEN
  scopes:
    env:
      - name: GCP_SCOPES
  token_uri:
    env:
      - name: TPUOPS_TOKEN_URI
  tpu_endpoint:
    env:
      - name: CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU
  compute_endpoint:
    env:
      - name: CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE
  serviceusage_endpoint:
    env:
      - name: CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE
  resourcemanager_endpoint:
    env:
      - name: CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER
  oslogin_endpoint:
    env:
      - name: CLOUDSDK_API_ENDPOINT_OVERRIDES_OSLOGIN
"""
