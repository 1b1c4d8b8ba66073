"""The script that makes the virtual environment: what it says when it can't, and that a cut run is taken up again."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKE_PYTHON = """#!/bin/sh
case "$*" in
--version) echo "Python ${FAKE_VERSION:-3.11.2}" ;;
*version_info*) [ -z "$FAKE_VERSION" ] ;;
*"import venv"*) [ -z "$FAKE_NO_VENV" ] ;;
"-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && echo made >>calls ;;
"-m pip --version") ;;
*leftovers.py) echo "$*" >>calls ;;
"-m pip install"*) echo "$*" >>calls
    echo "  Downloading thing-1.0-py3-none-any.whl (1.0 MB)" && [ -z "$FAKE_PIP_FAILS" ] ;;
*sysconfig*) mkdir -p .venv/site && echo .venv/site ;;
esac
"""
FAKE_DF = '#!/bin/sh\necho header\necho "disk 9999999 9 $FAKE_FREE_KB 1% /"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with its locks, and FakePython and FakeDf before everything else on the PATH."""
    (tmp_path / "knts" / "local").mkdir(parents=True)
    shutil.copy(ROOT / "knts" / "local" / "bootstrap.sh", tmp_path / "knts" / "local")
    (tmp_path / "Makefile").touch()
    for lock in ("requirements-local.txt", "requirements-dev.txt", "requirements-load.txt", "requirements-nodeps.txt"):
        (tmp_path / lock).write_text(f"{lock}==1.0\n")
    (tmp_path / "bin").mkdir()
    for name, script in (("python3", FAKE_PYTHON), ("df", FAKE_DF)):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    for newer in ("python3.11", "python3.12", "python3.13", "python3.14"):  # whatever this machine has is hidden
        (tmp_path / "bin" / newer).symlink_to("python3")
    return tmp_path


def bootstrap(checkout: Path, what: str = "run", **env: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": f"{checkout}/bin:{os.environ['PATH']}", "FAKE_FREE_KB": "9999999", **env}
    command = [checkout / "knts" / "local" / "bootstrap.sh", what]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=30, check=False)


def calls(checkout: Path) -> list[str]:
    path = checkout / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_it_installs_by_digest_and_wheels_only_and_then_rests(checkout: Path) -> None:
    first = bootstrap(checkout)
    assert first.returncode == 0, first.stderr
    assert "thing-1.0 (1.0 MB)" in first.stdout
    made, looked, *installed = calls(checkout)
    assert (made, looked) == ("made", "knts/local/leftovers.py")
    assert [call.split()[-1] for call in installed] == ["requirements-local.txt", "requirements-nodeps.txt"]
    assert all("--require-hashes --only-binary :all: --no-deps" in call for call in installed)
    assert (checkout / ".venv" / "site" / "knts-checkout.pth").read_text().strip() == str(checkout)
    assert os.access(checkout / ".venv" / "bin" / "knts", os.X_OK)
    assert bootstrap(checkout).stdout == ""
    assert len(calls(checkout)) == 4


def test_a_changed_lock_is_installed(checkout: Path) -> None:
    bootstrap(checkout)
    (checkout / "requirements-nodeps.txt").write_text("other==2.0\n")
    bootstrap(checkout)
    assert len(calls(checkout)) == 7


@pytest.mark.parametrize("what", ["dev", "load"])
def test_tests_and_the_load_test_have_requirements_of_their_own(checkout: Path, what: str) -> None:
    assert bootstrap(checkout, what).returncode == 0
    assert calls(checkout)[2].endswith(f"requirements-{what}.txt")


def test_a_failed_installation_is_told_and_taken_up_again(checkout: Path) -> None:
    failed = bootstrap(checkout, FAKE_PIP_FAILS="1")
    assert failed.returncode == 1
    assert "pip could not install requirements-local.txt" in failed.stderr
    assert bootstrap(checkout).returncode == 0
    assert calls(checkout).count("made") == 1


def test_a_half_made_environment_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    again = bootstrap(checkout)
    assert "interrupted" in again.stdout
    assert calls(checkout)[0] == "made"


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"FAKE_VERSION": "3.9.2"}, "Python 3.11 or newer is needed; found Python 3.9.2"),
        ({"FAKE_NO_VENV": "1"}, "has no venv module; install it (Debian: apt install python3-venv)"),
        ({"FAKE_FREE_KB": "102400"}, "has 100 MB free and the installation needs"),
    ],
)
def test_what_is_missing_is_named(checkout: Path, env: dict[str, str], said: str) -> None:
    done = bootstrap(checkout, **env)
    assert done.returncode == 1
    assert said in done.stderr
    assert calls(checkout) == []


def test_another_python_may_be_named(checkout: Path) -> None:
    other = checkout / "my python"
    other.write_text(FAKE_PYTHON)
    other.chmod(0o755)
    (checkout / "bin" / "python3").write_text("#!/bin/sh\nexit 1\n")
    assert bootstrap(checkout, PYTHON=str(other)).returncode == 0
