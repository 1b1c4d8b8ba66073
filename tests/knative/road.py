"""Our own manifests on the real data plane, and our functions where the Knative Services of those manifests say.

The functions, Redis, Typesense and the model are what `make run` starts, with the Broker of the plane instead of the
development broker.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from knts.local.process import http_status
from tests.knative.cluster import NODE, ROOT
from tests.knative.plane import Plane

MANIFESTS = ROOT / "tests" / "knative" / "overlay"
NAMESPACE, BROKER = "road", "kn-ts"
PAGE_PORT = 8080
START_SECONDS = 180.0


class PlaneRoad:
    """A running kn-ts on the plane."""

    def __init__(self, plane: Plane, home: Path) -> None:
        self.plane = plane
        self.home = home
        self.url = f"http://127.0.0.1:{PAGE_PORT}"
        self.broker_url = plane.broker_url(NAMESPACE, BROKER)
        self.run: dict[str, Any] = {}

    def start(self) -> None:
        """Start the functions, apply the manifests, and wait for both."""
        ours = {"KNTS_HOME": str(self.home), "KNTS_PORT": str(PAGE_PORT), "PYTHONPATH": str(ROOT)}
        elsewhere = {"K_SINK": self.broker_url, "KNTS_FUNCTIONS_HOST": NODE, "KNTS_FIRST_DOCUMENTS": "docs/events.md"}
        elsewhere |= {"KNTS_EMBEDDINGS": "off"}  # as the end-to-end suite has it on the development broker
        self.process = self.plane.cluster.start(
            "road", [sys.executable, "-m", "knts.local"], {**os.environ, **ours, **elsewhere}
        )
        self.plane.cluster.wait("run.json tells the addresses", (self.home / "run.json").exists, START_SECONDS)
        self.run = json.loads((self.home / "run.json").read_text())
        self.apply()
        self.plane.cluster.wait("kn-ts is up", self._up, START_SECONDS)

    def apply(self) -> None:
        """Apply our manifests, and let their Services be where the functions are."""
        subprocess.run([ROOT / "deploy" / "secrets.sh"], check=True, capture_output=True)
        self.plane.cluster.kubectl("apply", "-k", str(MANIFESTS))
        self.plane.serve(NAMESPACE, self.run["functions"])
        self.plane.ready(NAMESPACE)

    def _up(self) -> bool:
        said = (self.plane.cluster.home / "road.log").read_text()
        return "kn-ts is up after" in said and http_status(f"{self.url}/readyz")[0] == 200
