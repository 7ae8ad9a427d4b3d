"""Embeddings without a neural network at run time: token vectors, looked up and averaged.

The weights and the tokenizer are those that the `wordllama` wheel carries (256 dimensions, trained by distillation
from large models' token embeddings; https://github.com/dleemiller/WordLlama). Only its files are used: importing the
package would configure logging for the whole process and load parts that averaging does not need.
"""

from __future__ import annotations

import importlib.util
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.core.embedding_chain import Device
from groundswell.errors import EmbeddingUnavailable
from groundswell.ports.vectors import Space, Vector, Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORDLLAMA_256 = Space(name="wordllama-256", dimensions=256)

MAX_CHARACTERS = 4_000
"""Text beyond this adds nothing to an average and would let one post hold up a batch."""
_CHUNK_TEXTS = 64
"""Texts tokenized and gathered at a time: their token vectors stay in the processor's cache."""
_UNKNOWN_TOKEN = 0

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_INSTALL_HINT = (
    "Posts are stored and searched by words without it. To search by meaning, install the embedded extra "
    "(`pip install 'groundswell[embedded]'`) or set another embedding model."
)


class StaticModel:
    """Embeds short texts at tens of thousands a second on one core. Fulfils `ports.LoadedModel`.

    The weights stay in the file (float16, memory-mapped): the process pays only for the rows it touches, and
    processes share them.

    Raises:
        EmbeddingUnavailable: the files are missing or not what is expected.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = self._folder = folder or _package_folder()
        self._tokenizer = _load_tokenizer(folder / _TOKENIZER)
        self._weights = _map_weights(folder / _WEIGHTS, self.space.dimensions)
        self._ones = np.ones(MAX_CHARACTERS * 4 + 8, np.float32)

    device: Device = "cpu"
    min_similarity = 0.25
    """By `core.relatedness` it is 0.24; nine in ten of 320,000 pairs of tweets are below 0.26."""

    @property
    def about(self) -> str:
        return f"float16, mapped from {self._folder}"

    def close(self) -> None:
        """Nothing to let go of: the system unmaps the file with the last vector."""

    @property
    def space(self) -> Space:
        return WORDLLAMA_256

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector for each text, never NaN.

        A text without tokens (empty, or white space only) gets the unknown token's vector: defined, and far from
        every real text. CPU-bound: call it in a thread.
        """
        rows = np.empty((len(texts), self.space.dimensions), np.float32)
        for start in range(0, len(texts), _CHUNK_TEXTS):
            chunk = [embeddable(text) for text in texts[start : start + _CHUNK_TEXTS]]
            self._embed_chunk(chunk, rows[start : start + len(chunk)])
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
        return Vectors(self.space, rows)

    def embed_query(self, text: str) -> Vector:
        """A question is a text like any other here."""
        return self.embed([text])[0]

    def _embed_chunk(self, texts: list[str], out: npt.NDArray[np.float32]) -> None:
        """Write each text's sum of token vectors into its row of `out`: the mean's direction, which is all we keep."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = [encoding.ids or [_UNKNOWN_TOKEN] for encoding in encodings]
        tokens = np.fromiter((token for row in ids for token in row), np.int32)
        gathered = self._weights.take(tokens, axis=0).astype(np.float32)
        start = 0
        for row, row_ids in enumerate(ids):
            end = start + len(row_ids)
            np.dot(self._ones[: end - start], gathered[start:end], out=out[row])
            start = end


def embeddable(text: str) -> str:
    """Cut to length, and without lone surrogates, which no tokenizer accepts."""
    text = text[:MAX_CHARACTERS]
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _package_folder() -> Path:
    found = importlib.util.find_spec("wordllama")
    if found is None or found.origin is None:
        raise EmbeddingUnavailable(f"The wordllama package, which carries the model, is not installed. {_INSTALL_HINT}")
    return Path(found.origin).parent


def _load_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for a missing or damaged file
        raise EmbeddingUnavailable(
            f"The tokenizer {path} cannot be read ({error}). Reinstall wordllama. {_INSTALL_HINT}"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class _TensorHeader(msgspec.Struct):
    dtype: str
    shape: tuple[int, int]
    data_offsets: tuple[int, int]


def _map_weights(path: Path, dimensions: int) -> npt.NDArray[np.float16]:
    """Map the one tensor of a safetensors file, without copying it. Shape (vocabulary, dimensions).

    The format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes
    (https://github.com/huggingface/safetensors#format).
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header_end = 8 + int.from_bytes(mapped[:8], "little")
        header = msgspec.json.decode(mapped[8:header_end], type=dict[str, msgspec.Raw])
        tensor = msgspec.json.decode(header["embedding.weight"], type=_TensorHeader)
        if tensor.dtype != "F16" or tensor.shape[1] != dimensions:
            raise ValueError(f"expected float16 rows of {dimensions}, found {tensor.dtype} {tensor.shape}")
        rows, columns = tensor.shape
        weights = np.frombuffer(mapped, np.float16, rows * columns, header_end + tensor.data_offsets[0])
    except (OSError, ValueError, KeyError, msgspec.DecodeError) as error:
        raise EmbeddingUnavailable(
            f"The model weights {path} cannot be read ({error}). Reinstall wordllama. {_INSTALL_HINT}"
        ) from error
    return weights.reshape(rows, columns)
