"""A model that fastembed runs: found or fetched, checked, loaded, and proven by use. Of the encoder process."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from groundswell.adapters.encoder.cuda import PROVIDER as CUDA_PROVIDER
from groundswell.adapters.encoder.precision import halve, precision_of
from groundswell.adapters.encoder.wire import Load

BATCH_TEXTS = {"cpu": 16, "cuda": 256}
"""Texts run through the network at once. Memory grows with it: MiniLM takes 2.2 GB for 256 long texts."""
HALF_AGREES = 0.99
"""Cosine that a text's half-precision vector must at least have with its full-precision one."""

_NOTHING = np.float32(1e-12)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_OPTIONAL_FILES = ("config.json", "special_tokens_map.json")
_USUAL_MODEL_FILES = ("model_optimized.onnx", "model.onnx", "onnx/model.onnx")
_DAMAGED = frozenset({"InvalidProtobuf", "InvalidGraph", "NoSuchFile", "NoModel"})
"""What onnxruntime calls the errors of a file that is none of its own."""
_SMOKE_TEXTS = ["bitcoin climbs after the rate cut", "", "my cat sleeps on the sofa 🎉"]


class ModelFailed(Exception):
    """Why a model cannot be used, in a sentence that names what is at fault."""


class Model:
    """A loaded model.

    Args:
        runner: fastembed's `TextEmbedding`.
    """

    def __init__(self, runner: Any, dimensions: int, precision: str, source: str, batch: int) -> None:
        self._runner = runner
        self._batch = batch
        self.dimensions = dimensions
        self.precision = precision
        self.source = source

    @staticmethod
    def load(wanted: Load) -> Model:
        """Raises: ModelFailed."""
        try:
            import fastembed
        except ImportError as error:
            raise ModelFailed(
                f"fastembed is not installed ({error}); install groundswell[fastembed], or fastembed-gpu for CUDA"
            ) from error
        try:
            return _load(fastembed, wanted)
        except (ModelFailed, MemoryError):
            raise
        except Exception as error:  # onnxruntime, tokenizers and huggingface_hub raise whatever they like
            raise ModelFailed(f"{type(error).__name__}: {_first_lines(error)}") from error

    def embed(self, texts: Sequence[str], *, question: bool = False) -> npt.NDArray[np.float32]:
        """Shape (len(texts), dimensions), unit length in every row. Raises: ModelFailed."""
        ask = self._runner.query_embed if question else self._runner.embed
        try:
            found = list(ask([*texts], **({} if question else {"batch_size": self._batch})))
        except Exception as error:
            raise ModelFailed(f"embedding failed: {type(error).__name__}: {_first_lines(error)}") from error
        rows = np.asarray(found, np.float32).reshape(len(texts), -1)
        if rows.shape[1] != self.dimensions and len(texts):
            raise ModelFailed(f"it makes vectors of {rows.shape[1]} numbers and was to make {self.dimensions}")
        if not np.isfinite(rows).all():
            raise ModelFailed("it makes vectors that are not numbers")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        # A text without a token pools to nothing: it gets one defined direction.
        rows = np.where(lengths > _NOTHING, rows, np.float32(1))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _load(fastembed: Any, wanted: Load) -> Model:
    known = _known(fastembed, wanted.model)
    folder = _folder(Path(wanted.models_dir), wanted.model)
    if folder is None and known is None:
        raise ModelFailed(
            f"fastembed does not know {wanted.model}, and there is no folder {wanted.model} in {wanted.models_dir}"
        )
    if folder is None:
        if not wanted.fetch:
            raise ModelFailed(f"there is no folder {wanted.model} in {wanted.models_dir}, and fetching is switched off")
        folder = _fetch(fastembed, wanted)
    if known is None:
        known = _register(fastembed, wanted.model, folder)
    file = folder / known["model_file"]
    _check(folder, file)
    runner = _runner(fastembed, wanted, folder, file)
    model = Model(runner, known["dim"], precision_of(file), str(folder), BATCH_TEXTS[wanted.device])
    proof = model.embed(_SMOKE_TEXTS)
    if wanted.device == "cuda" and model.precision == "float32":
        half = _halved(fastembed, wanted, file, model)
        agreement = float((half.embed(_SMOKE_TEXTS) * proof).sum(axis=1).min())
        if agreement >= HALF_AGREES:
            return half
        model.precision = f"float32 (at half precision its vectors agree by {agreement:.3f} only)"
    return model


def _halved(fastembed: Any, wanted: Load, file: Path, whole: Model) -> Model:
    """The same model with half the precision: made once, and kept beside the others."""
    folder = Path(whole.source)
    half_folder = Path(wanted.models_dir) / "half" / wanted.model
    half_file = half_folder / file.relative_to(folder)
    if not half_file.exists() or half_file.stat().st_mtime < file.stat().st_mtime:
        half_file.parent.mkdir(parents=True, exist_ok=True)
        for name in (*_TOKENIZER_FILES, *_OPTIONAL_FILES):
            if (folder / name).exists():
                shutil.copyfile(folder / name, half_folder / name)
        halve(file, half_file)
    runner = _runner(fastembed, wanted, half_folder, half_file)
    return Model(runner, whole.dimensions, "float16", whole.source, BATCH_TEXTS["cuda"])


def _runner(fastembed: Any, wanted: Load, folder: Path, file: Path) -> Any:
    providers = [CUDA_PROVIDER] if wanted.device == "cuda" else ["CPUExecutionProvider"]
    try:
        runner = fastembed.TextEmbedding(
            wanted.model, specific_model_path=str(folder), threads=wanted.threads, providers=providers
        )
    except Exception as error:
        if type(error).__name__ in _DAMAGED:
            raise ModelFailed(f"the file {file} is damaged ({_first_lines(error)}): put it there anew") from error
        raise
    session = runner.model.model
    if providers[0] not in session.get_providers():
        raise ModelFailed(f"onnxruntime moved it from CUDA to {', '.join(session.get_providers())} in silence")
    return runner


def _known(fastembed: Any, name: str) -> dict[str, Any] | None:
    models: list[dict[str, Any]] = fastembed.TextEmbedding.list_supported_models()
    return next((model for model in models if model["model"].lower() == name.lower()), None)


def _folder(models_dir: Path, name: str) -> Path | None:
    candidates = (models_dir / name, models_dir / name.replace("/", "--"))
    return next((path for path in candidates if path.is_dir()), None)


def _fetch(fastembed: Any, wanted: Load) -> Path:
    """Have fastembed fetch it. What was fetched once is not asked for again."""
    cache = Path(wanted.models_dir) / "fetched"
    try:
        hub: Any = importlib.import_module("huggingface_hub.constants")
        hub.HF_HUB_DISABLE_TELEMETRY = True
        cache.mkdir(parents=True, exist_ok=True)
        runner = fastembed.TextEmbedding(wanted.model, cache_dir=str(cache), lazy_load=True)
    except Exception as error:
        raise ModelFailed(
            f"it is not in {wanted.models_dir} and could not be fetched ({type(error).__name__}: {_first_lines(error)})"
        ) from error
    return runner.model._model_dir  # there is no public way to learn it


# ------------------------------------------------------------------ models that fastembed does not know
class _Pooling(msgspec.Struct):
    """`1_Pooling/config.json`, as sentence-transformers writes it."""

    word_embedding_dimension: int
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_lasttoken: bool = False


def _register(fastembed: Any, name: str, folder: Path) -> dict[str, Any]:
    from fastembed.common.model_description import ModelSource, PoolingType

    path = folder / "1_Pooling" / "config.json"
    try:
        pooling = msgspec.json.decode(path.read_bytes(), type=_Pooling)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelFailed(
            f"fastembed does not know {name}, so {path} has to say how its vectors are pooled, "
            f"as sentence-transformers writes it; it cannot be read ({error})"
        ) from error
    kinds = {
        PoolingType.CLS: pooling.pooling_mode_cls_token,
        PoolingType.MEAN: pooling.pooling_mode_mean_tokens,
        PoolingType.LAST_TOKEN: pooling.pooling_mode_lasttoken,
    }
    chosen = [kind for kind, said in kinds.items() if said]
    if len(chosen) != 1:
        raise ModelFailed(f"{path} names no way of pooling that can be used here: cls, mean or last token")
    present = [file for file in _USUAL_MODEL_FILES if (folder / file).exists()]
    if not present:
        raise ModelFailed(f"{folder} holds no model: looked for {', '.join(_USUAL_MODEL_FILES)}")
    fastembed.TextEmbedding.add_custom_model(
        model=name,
        pooling=chosen[0],
        normalization=True,
        sources=ModelSource(hf=name),
        dim=pooling.word_embedding_dimension,
        model_file=present[0],
    )
    found = _known(fastembed, name)
    assert found is not None
    return found


def _check(folder: Path, model_file: Path) -> None:
    """Every file that is needed is there and is what it says. Raises: ModelFailed, which names the file."""
    for name in (*_TOKENIZER_FILES, *_OPTIONAL_FILES):
        path = folder / name
        if not path.exists() and name in _OPTIONAL_FILES:
            continue
        try:
            msgspec.json.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise ModelFailed(f"the file {path} is missing or damaged ({error}): put it there anew") from error
    if not model_file.is_file():
        raise ModelFailed(f"the file {model_file} is missing: put it there")


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
