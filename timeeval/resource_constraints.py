"""How much of a host one algorithm may use, and for how long."""

import functools
from dataclasses import dataclass

from timeeval.durations import Duration, TimeSpan

MB = 1024**2
GB = 1024**3

DEFAULT_TASKS_PER_HOST = 1
DEFAULT_TIMEOUT = Duration("8 hours")


@dataclass
class ResourceConstraints:
    """Limits for the training and the execution of every algorithm.

    Parameters
    ----------
    tasks_per_host
        Experiments at a time on one host.
    task_memory_limit
        Bytes for one experiment. Without it, each task gets its share of the host's memory less 1 GB for the system.
    task_cpu_limit
        CPUs for one experiment, may be a fraction. Without it, each task gets its share of the host's logical CPUs.
    train_timeout
        Longest training.
    execute_timeout
        Longest execution.
    use_preliminary_model_on_train_timeout
        Go on with the model that is there when training is stopped for time.
    use_preliminary_scores_on_execute_timeout
        Take the scores that are there when an execution is stopped for time.
    """

    tasks_per_host: int = DEFAULT_TASKS_PER_HOST
    task_memory_limit: int | None = None
    task_cpu_limit: float | None = None
    train_timeout: TimeSpan = DEFAULT_TIMEOUT
    execute_timeout: TimeSpan = DEFAULT_TIMEOUT
    use_preliminary_model_on_train_timeout: bool = True
    use_preliminary_scores_on_execute_timeout: bool = True

    @staticmethod
    def default_constraints() -> "ResourceConstraints":
        """Return the limits that hold when none are given."""
        return ResourceConstraints()

    def get_compute_resource_limits(
        self, memory_overwrite: int | None = None, cpu_overwrite: float | None = None
    ) -> tuple[int, float]:
        """Memory and CPU limit of one task on the host that calls this.

        Parameters
        ----------
        memory_overwrite
            Bytes that win over everything else.
        cpu_overwrite
            CPUs that win over everything else.

        Returns
        -------
        tuple[int, float]
            Bytes and CPUs. 0 counts as "not given" for the overwrites and for the fields.
        """
        memory = memory_overwrite or self.task_memory_limit or self._memory_share()
        cpu = cpu_overwrite or self.task_cpu_limit or self._cpu_share()
        return memory, cpu

    def _memory_share(self) -> int:
        return (_installed_memory() - GB) // self.tasks_per_host

    def _cpu_share(self) -> float:
        import psutil

        return (psutil.cpu_count() or 1) / self.tasks_per_host

    def get_train_timeout(self, timeout_overwrite: TimeSpan | None = None) -> TimeSpan:
        """Longest training; ``timeout_overwrite`` wins if given."""
        return self.train_timeout if timeout_overwrite is None else timeout_overwrite

    def get_execute_timeout(self, timeout_overwrite: TimeSpan | None = None) -> TimeSpan:
        """Longest execution; ``timeout_overwrite`` wins if given."""
        return self.execute_timeout if timeout_overwrite is None else timeout_overwrite


@functools.cache
def _installed_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)
