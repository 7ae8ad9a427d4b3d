"""Half precision: on a GPU half the memory and, with tensor cores, a multiple of the speed. Of the encoder process."""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

UNKNOWN = "as its file has it (install onnx to tell, and to halve it on a GPU)"


def precision_of(file: Path) -> str:
    """What most of a model's weights are stored as; `UNKNOWN` where the onnx package, which can read it, is missing."""
    if importlib.util.find_spec("onnx") is None:
        return UNKNOWN
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load(str(file), load_external_data=False)
    weights: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        size = 1
        for length in tensor.dims:
            size *= length
        weights[onnx.TensorProto.DataType.Name(tensor.data_type)] += size
    names = {"FLOAT": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "INT8": "int8", "UINT8": "int8"}
    most = max(weights, key=lambda name: weights[name], default="FLOAT")
    return names.get(most, most.lower())


def halve(file: Path, half: Path) -> None:
    """Write the model at half precision, with inputs and outputs as they were. Needs the onnx package."""
    onnx: Any = importlib.import_module("onnx")
    float16: Any = importlib.import_module("onnxruntime.transformers.float16")
    converted = float16.convert_float_to_float16(onnx.load(str(file)), keep_io_types=True)
    temporary = half.with_suffix(".new")
    onnx.save(converted, str(temporary))
    temporary.replace(half)
