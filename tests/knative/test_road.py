"""The one end-to-end suite, unchanged, on the real data plane."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.knative.cluster import ROOT
from tests.knative.road import PlaneRoad

E2E_SECONDS = 540


@pytest.mark.timeout(E2E_SECONDS + 240)
def test_the_end_to_end_suite_passes(plane_road: PlaneRoad, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    given = {"KNTS_E2E_URL": plane_road.url, "KNTS_E2E_BROKER_URL": plane_road.broker_url}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/e2e", "-p", "no:cacheprovider", f"--junitxml={report}"],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=E2E_SECONDS,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:]
    passed = {case.get("name") for case in ElementTree.parse(report).iter("testcase") if not len(case)}
    print(passed)
