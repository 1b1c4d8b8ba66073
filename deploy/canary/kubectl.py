"""Knative's objects, read and patched by the operator's own kubectl, with his context and rights."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from deploy.canary.traffic import Patch


class KubectlFailed(Exception):
    """kubectl did not do what it was asked; the message is its own."""


class Kubectl:
    """kubectl by a command such as `("kubectl", "--context", "production")`, in one namespace."""

    def __init__(self, command: Sequence[str], namespace: str, timeout: float = 30) -> None:
        self.command, self.namespace, self.timeout = (*command, "--namespace", namespace), namespace, timeout

    def service(self, name: str) -> dict[str, Any] | None:
        """The Knative Service, or None where there is none. Raises KubectlFailed."""
        return self._get("services.serving.knative.dev", name)

    def revision(self, name: str) -> dict[str, Any] | None:
        """One of its Revisions, or None. Raises KubectlFailed."""
        return self._get("revisions.serving.knative.dev", name)

    def patch(self, name: str, patch: Patch) -> None:
        """Apply a JSON patch to the Service. Raises KubectlFailed, also where a test of the patch does not hold."""
        self._run("patch", "services.serving.knative.dev", name, "--type=json", "--patch", json.dumps(patch))

    def _get(self, kind: str, name: str) -> dict[str, Any] | None:
        text = self._run("get", kind, name, "--ignore-not-found", "--output=json")
        found: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return found

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own command
                [*self.command, *arguments], capture_output=True, text=True, timeout=self.timeout, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KubectlFailed(str(error)) from error
        if done.returncode:
            raise KubectlFailed(done.stderr.strip() or f"kubectl ended with {done.returncode}")
        return done.stdout
