"""`RemoteConfiguration` under the path that scripts know."""

from timeeval._gone import gone
from timeeval.remote_configuration import RemoteConfiguration

__all__ = ["RemoteConfiguration"]

__getattr__ = gone(
    __name__,
    {
        "Remote": "hosts are prepared and proven before a run, not by a script. Use `timeeval-run SCRIPT --cluster "
        "cluster.toml`, or TimeEval(…, distributed=True) beside a cluster.toml",
    },
)
