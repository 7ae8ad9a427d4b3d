"""Whether CUDA can really be used: a tiny model is run on it. Belongs to the encoder process.

ONNX Runtime lists the provider as soon as the GPU build is installed, and falls back to the processor in silence when
a driver or a library is missing. Only a session that may not fall back tells.
"""

from __future__ import annotations

import base64
import ctypes
import importlib
from typing import Any

import numpy as np

from groundswell.core.embedding_chain import Cuda

PROVIDER = "CUDAExecutionProvider"
ADD_MODEL = base64.b64decode(b"CAg6NQoOCgF4CgF4EgF5IgNBZGQSAWdaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAN")
"""An ONNX model of one node: y = x + x, over one float."""


def probe() -> Cuda:
    """Never raises: whatever goes wrong is the finding."""
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        return Cuda(usable=False, why=f"onnxruntime is not installed ({error})")
    if PROVIDER not in onnxruntime.get_available_providers():
        return Cuda(usable=False, why=f"onnxruntime {onnxruntime.__version__} is built without it")
    try:
        _run_on_gpu(onnxruntime)
    except Exception as error:  # noqa: BLE001 -- ONNX Runtime raises nothing narrower
        return Cuda(usable=False, why=f"onnxruntime lists it, but a model does not run on it: {_first_line(error)}")
    name, memory = _describe_gpu()
    return Cuda(usable=True, why="a model ran on it", device=name, memory_bytes=memory)


def _run_on_gpu(onnxruntime: Any) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = onnxruntime.InferenceSession(ADD_MODEL, sess_options=options, providers=[PROVIDER])
    if PROVIDER not in session.get_providers():
        raise RuntimeError(f"the session went to {', '.join(session.get_providers())} instead")
    (answer,) = session.run(None, {"x": np.array([21], np.float32)})
    if answer.tolist() != [42.0]:
        raise RuntimeError(f"21 + 21 came out as {answer.tolist()}")


def _describe_gpu() -> tuple[str | None, int | None]:
    """Name and memory of the first GPU, from the driver itself. Nothing depends on it."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, None
    device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(100)
    steps = (
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGet(ctypes.byref(device), 0),
        lambda: driver.cuDeviceGetName(name, len(name), device),
        lambda: driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
    )
    if any(step() != 0 for step in steps):
        return None, None
    return name.value.decode(errors="replace"), memory.value


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
