import psutil
import pytest

from timeeval.durations import Duration
from timeeval.resource_constraints import DEFAULT_TIMEOUT, GB, MB, ResourceConstraints

TOTAL = psutil.virtual_memory().total
CPUS = psutil.cpu_count()


def test_units():
    assert (MB, GB) == (1048576, 1073741824)


def test_defaults_are_the_whole_host():
    assert ResourceConstraints.default_constraints() == ResourceConstraints()
    assert ResourceConstraints().get_compute_resource_limits() == (TOTAL - GB, float(CPUS))
    assert ResourceConstraints().get_train_timeout() is DEFAULT_TIMEOUT


def test_tasks_share_the_host():
    memory, cpu = ResourceConstraints(tasks_per_host=2).get_compute_resource_limits()
    assert memory == (TOTAL - GB) // 2
    assert cpu == CPUS / 2


@pytest.mark.parametrize(
    ("fields", "overwrites", "expected"),
    [
        ((1325, 1.256), (None, None), (1325, 1.256)),
        ((12, 12), (1325, 1.256), (1325, 1.256)),
        ((12, 12), (0, 0), (12, 12)),
        ((0, 0.0), (None, None), (TOTAL - GB, float(CPUS))),
    ],
)
def test_precedence(fields, overwrites, expected):
    limits = ResourceConstraints(task_memory_limit=fields[0], task_cpu_limit=fields[1])
    assert limits.get_compute_resource_limits(*overwrites) == expected
    assert limits.get_compute_resource_limits(memory_overwrite=overwrites[0], cpu_overwrite=overwrites[1]) == expected


def test_timeouts():
    train, execute, other = Duration("1 minute"), Duration("2 minutes"), Duration("3 minutes")
    limits = ResourceConstraints(train_timeout=train, execute_timeout=execute)
    assert limits.get_train_timeout() is train
    assert limits.get_execute_timeout() is execute
    assert limits.get_train_timeout(other) is limits.get_execute_timeout(other) is other


def test_equality():
    assert ResourceConstraints(train_timeout=Duration("8 hours")) == ResourceConstraints()
    assert ResourceConstraints(tasks_per_host=2) != ResourceConstraints()
