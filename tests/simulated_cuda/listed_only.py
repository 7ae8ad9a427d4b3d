"""The GPU build is installed and the driver is not."""

from typing import Any

from tests.simulated_cuda import install


def refuse(model: Any) -> None:
    raise RuntimeError("libcudnn.so.9: cannot open shared object file: No such file or directory")


install(refuse)
