"""The probe fits and a model does not."""

from typing import Any

from tests.simulated_cuda import install


def refuse_models(model: Any) -> None:
    if isinstance(model, str):
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")


install(refuse_models)
