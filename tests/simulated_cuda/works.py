"""It works."""

from tests.simulated_cuda import install

install(lambda model: None)
