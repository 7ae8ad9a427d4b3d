"""A CUDA that is not there, at ONNX Runtime's own border: modules for the encoder process to preload.

Each lists the provider. What happens when a session is put on it is what tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


def install(on_session: Callable[[Any], None], *, reports: str = CUDA) -> None:
    """Put sessions for CUDA onto the processor, after `on_session(model)`; `reports` is what they say they use."""
    real = onnxruntime.InferenceSession

    class Session(real):  # type: ignore[misc, valid-type]
        def __init__(self, model: Any, sess_options: Any = None, providers: Any = None, **more: Any) -> None:
            self._on_cuda = CUDA in (providers or ())
            if self._on_cuda:
                on_session(model)
                # Options that forbid the processor have no place on it.
                super().__init__(model, providers=[CPU], **more)
            else:
                super().__init__(model, sess_options=sess_options, providers=providers, **more)

        def get_providers(self) -> list[str]:
            return [reports, CPU] if self._on_cuda else [CPU]

    onnxruntime.InferenceSession = Session
    onnxruntime.get_available_providers = lambda: [CUDA, CPU]
