import pytest

from timeeval.adapters.docker.outcome import ContainerExit, failure_of
from timeeval.errors import DockerAdapterInternalError, DockerAlgorithmFailedError, DockerMemoryError


def failure(**fields):
    return failure_of(ContainerExit(**fields), "lof:1", 1024, "node1")


def test_success():
    assert failure(code=0) is None
    assert failure(code=0, oom_killed=True) is None


@pytest.mark.parametrize("code", [137, 1, 143])
def test_memory_is_the_engines_word(code):
    error = failure(code=code, oom_killed=True)
    assert isinstance(error, DockerMemoryError)
    assert "exceeded memory limit of 1024 bytes" in str(error)
    assert str(error).startswith("node1: ")


def test_a_kill_from_outside_is_the_hosts_fault():
    error = failure(code=137)
    assert isinstance(error, DockerAdapterInternalError)
    assert "SIGKILL" in str(error)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (1, "the algorithm reported an error"),
        (3, "the algorithm reported an error"),
        (125, "engine itself failed"),
        (126, "not executable"),
        (127, "was not found"),
        (132, "CPU instructions that this host does not have"),
        (134, "ended by SIGABRT"),
        (139, "ended by SIGSEGV"),
        (143, "ended by SIGTERM"),
        (160, "ended by signal 32"),
        (255, "the algorithm reported an error"),
    ],
)
def test_exit_codes_are_explained(code, meaning):
    error = failure(code=code, error="details")
    assert isinstance(error, DockerAlgorithmFailedError)
    assert meaning in str(error)
    assert f"exit code {code}" in str(error)
    assert "(details)" in str(error)
    assert "lease consider log files" in str(error)
