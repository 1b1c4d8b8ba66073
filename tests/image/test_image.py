"""The image without a container: the Dockerfile's own steps and command, in a clean virtual environment and folder.

What this can't show is the base image, and the user and the file system that a container has.
"""

import fnmatch
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = sorted(path.parent.name.replace("_", "-") for path in ROOT.glob("functions/*/main.py"))
SETTINGS = {  # nothing listens there: a function starts without what it needs, and says that it is not ready
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "REDIS_CACHE_URL": "redis://127.0.0.1:9/1",
    "TYPESENSE_URL": "http://127.0.0.1:9",
    "TYPESENSE_API_KEY": "made up",
    "OLLAMA_URL": "http://127.0.0.1:9",
    "OLLAMA_MODEL": "made-up",
    "K_SINK": "http://127.0.0.1:9",
    "KNTS_SIGNING_KEY": "made up",
    "KNTS_HOST": "127.0.0.1",
}


class Image:
    """The folder that stands for the image's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps = instructions((ROOT / "Dockerfile").read_text())
        self.workdir = root / "app"
        self.env: dict[str, str] = {}

    def build(self) -> None:
        """Run every step. `python` and `pip` are those of a fresh environment, as in the base image."""
        base = self.root / "base"
        subprocess.run([sys.executable, "-m", "venv", base], check=True)
        kept = {name: value for name, value in os.environ.items() if name == "HOME" or name.startswith("PIP_")}
        self.env = {**kept, "PATH": f"{base / 'bin'}:/usr/bin:/bin"}
        for name, rest in self.steps:
            if name == "WORKDIR":
                self.workdir = self._inside(rest)
                self.workdir.mkdir(exist_ok=True)
            elif name == "RUN":
                line = re.sub(r"(?<![\w./])/(venv|app)\b", rf"{self.root}/\1", rest)
                subprocess.run(["sh", "-ec", line], cwd=self.workdir, env=self.env, check=True, timeout=500)
            elif name == "COPY" and not rest.startswith("--from"):
                *sources, target = rest.split()
                for source in sources:
                    self._copy(source, target if len(sources) == 1 else f"{target}{source}")
            elif name == "ENV":
                for pair in rest.split():
                    key, value = pair.split("=", 1)
                    self.env[key] = value.replace("/venv", f"{self.root}/venv").replace("$PATH", "/usr/bin:/bin")

    def _inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _copy(self, source: str, target: str) -> None:
        """Copy what .dockerignore lets pass."""
        tracked = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", source],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in tracked.stdout.splitlines():
            if passes(name) and (ROOT / name).is_file():
                path = (
                    self.workdir / target / Path(name).relative_to(source)
                    if (ROOT / source).is_dir()
                    else self.workdir / target
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, path)

    def command(self) -> list[str]:
        [command] = [json.loads(rest) for name, rest in self.steps if name == "CMD"]
        return [str(self.root / "venv/bin" / command[0]), *command[1:]]


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The instructions, each with the rest of its line."""
    text = "\n".join(line for line in dockerfile.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


def passes(name: str) -> bool:
    """Whether .dockerignore lets a file into the build: the last line that fits decides."""
    let_in = True
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!").removeprefix("**/")
        if (
            fnmatch.fnmatch(name, pattern)
            or fnmatch.fnmatch(name, f"{pattern}/*")
            or fnmatch.fnmatch(name, f"*/{pattern}")
        ):
            let_in = line.startswith("!")
    return let_in


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    built = Image(tmp_path_factory.mktemp("image"))
    built.build()
    subprocess.run(["chmod", "-R", "a-w", built.root / "app"], check=True)
    yield built
    subprocess.run(["chmod", "-R", "u+w", built.root / "app"], check=True)


def test_the_tools_of_a_local_run_are_not_in_it(image: Image) -> None:
    assert sorted(path.name for path in (image.root / "app").iterdir()) == ["functions", "knts", "schemas"]
    assert not [name for name in ("local", "devbroker", "cli") if (image.root / "app/knts" / name).exists()]
    assert not list(image.root.glob("venv/bin/pip*"))


@pytest.mark.parametrize("target", FUNCTIONS)
def test_its_command_serves_each_function(image: Image, target: str, tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("[]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = set((image.root / "app").rglob("*"))
    env = (
        image.env | SETTINGS | {"FUNCTION_TARGET": target, "PORT": str(port), "KNTS_KEYS_FILE": f"{tmp_path}/keys.yaml"}
    )
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(image.command(), cwd=image.root / "app", env=env, stdout=log, stderr=log)
    try:
        assert answer(port, "/healthz", process, tmp_path / "log") == 200
        assert answer(port, "/readyz", process, tmp_path / "log") == 503  # nothing that it needs is there
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert set((image.root / "app").rglob("*")) == before


def answer(port: int, path: str, process: subprocess.Popen[bytes], log: Path) -> int:
    """The status of a GET, once the process listens."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    pytest.fail(f"it does not listen: {log.read_text()}")
