"""The dashboards: what Grafana needs of each, and that the committed files are what the code writes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "deploy/components/observability/grafana/dashboards").glob("*.json"))


def dashboards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in FILES]


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_the_files_are_what_the_code_writes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "tools/dashboards.py", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_there_is_one_of_each_part() -> None:
    assert [dashboard["uid"] for dashboard in dashboards()] == [
        "knts-broker",
        "knts-cache",
        "knts-documents",
        "knts-model",
        "knts-road",
    ]
    assert [path.stem for path in FILES] == [dashboard["uid"] for dashboard in dashboards()]
    assert len({dashboard["title"] for dashboard in dashboards()}) == len(FILES)


@pytest.mark.parametrize("dashboard", dashboards(), ids=[path.stem for path in FILES])
def test_each_panel_says_what_it_shows_and_in_which_unit(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"] for variable in dashboard["templating"]["list"] if variable["type"] == "datasource"}
    assert dashboard["description"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        for source in [panel["datasource"], *(target["datasource"] for target in panel["targets"])]:
            assert source["uid"].strip("${}") in variables, panel["title"]
            assert source["uid"].startswith("${"), panel["title"]


@pytest.mark.parametrize("dashboard", dashboards(), ids=[path.stem for path in FILES])
def test_no_two_panels_stand_in_one_place(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in dashboard["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
