"""Ray Jobs over HTTP: submit, ask, stop. The app itself needs no Ray, and no call lasts longer than TIMEOUT_S.

Source:
    https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html
    https://docs.ray.io/en/latest/ray-security/token-auth.html
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.errors import UserError

ADDRESS = "RAY_ADDRESS"
TOKEN, TOKEN_PATH, USUAL_TOKEN = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"
TIMEOUT_S = 5.0
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
GONE = "GONE"  # the cluster knows no such job
UNKNOWN = "UNKNOWN"  # the cluster does not answer
NO_PLACE = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"  # it waited for resources longer than Ray lets a job wait, 15 minutes


@dataclass(frozen=True)
class Told:
    """What Ray says of a job."""

    status: str
    error_type: str = ""
    message: str = ""


class Unreachable(Exception):
    """The cluster does not answer; it may do so later."""


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: the token is for this address alone."""


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)


def check_cluster() -> None:
    """Raises:
    UserError: There is no address, nobody answers there, or the token is wrong.
    """
    try:
        found = call("GET", "version")
    except Unreachable as error:
        raise UserError("The Ray cluster does not answer. Check that it runs, and RAY_ADDRESS.", "CLUSTER") from error
    if found is None:
        raise UserError("RAY_ADDRESS does not lead to a Ray dashboard. Check its port, usually 8265.", "CLUSTER")


def submit(submission: str, entrypoint: str, environment: dict[str, str], resources: dict[str, float]) -> None:
    """Raises:
    Unreachable: It may have been taken or not: `status_of` tells later.
    UserError: The cluster refuses it.
    """
    asked = {f"entrypoint_num_{name}": amount for name, amount in resources.items() if amount}
    runtime = {"env_vars": environment}
    call("POST", "jobs/", {"entrypoint": entrypoint, "submission_id": submission, "runtime_env": runtime, **asked})


def status_of(submission: str) -> Told:
    """How it stands with a job. Never raises: without an answer it is UNKNOWN."""
    try:
        found = call("GET", f"jobs/{quote(submission)}")
    except (Unreachable, UserError):
        return Told(UNKNOWN)
    if found is None:
        return Told(GONE)
    return Told(*(str(found.get(name) or "") for name in ("status", "error_type", "message")))


def stop(submission: str) -> None:
    """Ask for the end of a job. One that waits may not hear it, so whoever asks looks again."""
    try:
        call("POST", f"jobs/{quote(submission)}/stop")
    except (Unreachable, UserError):
        return


def call(method: str, path: str, body: Any = None) -> Any:
    """The answer, or None where there is no such thing.

    Raises:
        Unreachable: No answer, or the cluster has a fault of its own.
        UserError: No address is set, or the cluster refuses.
    """
    address = os.environ.get(ADDRESS, "").rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise UserError("Set RAY_ADDRESS to the cluster's dashboard, as in http://head:8265.", "CLUSTER")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **_authorisation()}
    request = urllib.request.Request(f"{address}/api/{path}", data, headers, method=method)
    try:
        with OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        if error.code in (401, 403):
            raise UserError("The Ray cluster refuses the token. Check RAY_AUTH_TOKEN_PATH.", "CLUSTER") from error
        if error.code < 500:
            raise UserError(
                f"The Ray cluster refuses this (HTTP {error.code}). Check RAY_ADDRESS.", "CLUSTER"
            ) from error
        raise Unreachable from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable from error


def _authorisation() -> dict[str, str]:
    """Where Ray itself looks for the token, in its order."""
    token = os.environ.get(TOKEN, "")
    path = Path(os.environ.get(TOKEN_PATH, "") or USUAL_TOKEN).expanduser()
    if not token and path.is_file():
        token = path.read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token else {}
