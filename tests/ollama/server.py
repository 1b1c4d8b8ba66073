"""A real Ollama with the packaged weights, on a port and in folders of its own."""

import contextlib
import json
import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knts.local.model.api import STOP, TEMPLATE
from knts.local.model.engine import weights
from knts.local.process import Child, free_port, http_status, start, wait_until
from tests.e2e.roads import descendants
from tests.ollama_contract import MODEL

CHATML = "smollm2:chatml"  # with the template that Ollama finds for these weights, which ends every message
THINKER = "smollm2:thinker"  # with one that opens a thought, as those of models that can think do
EMBEDDER = "tiny:embedder"  # which embeds, by what its file says; it has no weights to do it with
THINKING = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n"
    "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n{{ if not .IsThinkSet }}<think>{{ else if .Think }}<think>{{ end }}"
)
START_SECONDS = 60.0


@dataclass
class RealOllama:
    """One `ollama serve`. `env` are its own settings, such as OLLAMA_NUM_PARALLEL."""

    program: Path
    folder: Path  # what it writes; its models are in `models` there
    env: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OLLAMA_")}
        ours = {
            "HOME": str(self.folder),
            "OLLAMA_HOST": f"127.0.0.1:{self.port}",
            "OLLAMA_MODELS": str(self.folder / "models"),
            "OLLAMA_NO_CLOUD": "1",
        }
        return kept | ours | self.env

    @property
    def log(self) -> Path:
        return self.folder / f"ollama-{self.port}.log"

    def start(self) -> None:
        """Start it, again perhaps, on its port, and wait until it answers."""
        self.child = start("ollama", [self.program, "serve"], log=self.log, env=self.environment)
        wait_until(lambda: http_status(f"{self.url}/api/version")[0] == 200, self.child, seconds=START_SECONDS)

    def create(self, name: str, modelfile: str) -> None:
        """`ollama create`: a model from a Modelfile."""
        file = self.folder / "Modelfile"
        file.write_text(modelfile)
        command = [self.program, "create", name, "-f", file]
        made = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert made.returncode == 0, made.stderr

    @property
    def runners(self) -> list[int]:
        """The processes that hold a loaded model."""
        assert self.child is not None
        return descendants(self.child.popen.pid)

    @property
    def loaded(self) -> list[dict[str, Any]]:
        """What /api/ps says."""
        models: list[dict[str, Any]] = json.loads(http_status(f"{self.url}/api/ps")[1])["models"]
        return models

    def kill(self) -> None:
        """End it and its runners as a power cut does."""
        assert self.child is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.popen.pid, signal.SIGKILL)  # they are one group, started for it
        self.child.popen.wait()


def with_models(program: Path, folder: Path) -> None:
    """Make the models in this folder, by an Ollama that is stopped again."""
    one = "PARAMETER num_thread 1\n"  # two wait for each other on two busy cores
    more = one + "".join(f'PARAMETER stop "{mark}"\n' for mark in STOP)
    with serving(RealOllama(program, folder)) as ollama:
        ollama.create(MODEL, f'FROM {weights()}\nTEMPLATE """{TEMPLATE}"""\n{more}')
        ollama.create(CHATML, f"FROM {weights()}\n{one}")
        ollama.create(THINKER, f'FROM {weights()}\nTEMPLATE """{THINKING}"""\n{more}')
        file = folder / "embedder.gguf"
        file.write_bytes(_embedder())
        ollama.create(EMBEDDER, f"FROM {file}\n")


def _embedder() -> bytes:
    """A GGUF file of a model that embeds, with one tensor of zeros: enough to be described."""
    facts = {"general.architecture": "bert", "bert.context_length": 256, "bert.pooling_type": 1}
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(facts))
    for key, value in facts.items():
        kind, data = (8, _text(value)) if isinstance(value, str) else (4, struct.pack("<I", value))
        head += _text(key) + struct.pack("<I", kind) + data
    head += _text("token_embd.weight") + struct.pack("<IQIQ", 1, 32, 0, 0)
    return head.ljust(-(-len(head) // 32) * 32, b"\0") + bytes(4 * 32)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


@contextlib.contextmanager
def serving(ollama: RealOllama) -> Iterator[RealOllama]:
    """It runs until the end."""
    ollama.start()
    try:
        yield ollama
    finally:
        ollama.kill()


def cpu_seconds(pid: int) -> float:
    """The processor's time that a process has had; none for one that has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
