"""Adapters between TimeEval and algorithms."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timeeval.adapters.distributed import DistributedAdapter
    from timeeval.adapters.docker import DockerAdapter
    from timeeval.adapters.function import FunctionAdapter
    from timeeval.adapters.jar import JarAdapter
    from timeeval.adapters.multivar import MultivarAdapter
else:
    from timeeval._lazy import lazy_attributes

    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            "DistributedAdapter": "timeeval.adapters.distributed",
            "DockerAdapter": "timeeval.adapters.docker",
            "FunctionAdapter": "timeeval.adapters.function",
            "JarAdapter": "timeeval.adapters.jar",
            "MultivarAdapter": "timeeval.adapters.multivar",
        },
        submodules=("base", "distributed", "docker", "function", "jar", "multivar"),
    )

__all__ = ["DistributedAdapter", "DockerAdapter", "FunctionAdapter", "JarAdapter", "MultivarAdapter"]
