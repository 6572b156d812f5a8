"""How fast hosts compute: measured once for a machine and its start, kept there and here, read by runs.

Times of two hosts can only be compared when it is known how the hosts compare. The work is the same everywhere
(`provisioning.node.workload`): Fourier transform, matrix product, sorting, a loop of Python, copying memory; alone and
with all slots at work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from statistics import median
from typing import TYPE_CHECKING, Any

from provisioning.errors import ProvisionError
from provisioning.node import tree
from provisioning.node.calibrate import SCHEMA
from provisioning.parallel import for_each
from provisioning.resources.base import Finding

if TYPE_CHECKING:
    from provisioning.inventory import Cluster, Node
    from provisioning.launch import Session
    from provisioning.plan import Job
    from provisioning.report import NodeReport, Report

NAME = "calibration"
CALIBRATE = "provisioning.node.calibrate"
PART_SECONDS = 1.0
"""Five parts, alone and together: about ten seconds."""
NOTABLE = 0.10
"""Hosts that differ by more than this share are named."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How fast one host computes.

    Attributes
    ----------
    machine_id, boot_id, kernel, cpu : str
        Which machine it was, since which start, with which kernel and processor.
    slots, workload : int
        Processes of the second measurement, and version of the work.
    time : float
        When it was measured, Unix seconds of that host.
    numpy : str
        Version of NumPy.
    single, together : mapping of str to float
        Part -> units per second and process, alone and with all slots at work.
    """

    machine_id: str
    boot_id: str
    kernel: str
    cpu: str
    slots: int
    workload: int
    time: float
    numpy: str
    single: Mapping[str, float]
    together: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, document: object) -> Calibration:
        """Read one, possibly from a node that is broken or hostile.

        Raises
        ------
        ValueError
            When it is none.
        """
        if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
            raise ValueError(f"it is no document {SCHEMA}")
        fields = {name: value for name, value in document.items() if name != "schema"}
        try:
            found = cls(**{**fields, "single": _rates(fields["single"]), "together": _rates(fields["together"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is malformed: {error!r}") from error
        if not found.single or found.single.keys() != found.together.keys():
            raise ValueError("its parts are not the same alone and together")
        return found


def _rates(rates: Mapping[str, Any]) -> dict[str, float]:
    found = {str(name): float(rate) for name, rate in rates.items()}
    if not all(math.isfinite(rate) and rate > 0 for rate in found.values()):
        raise ValueError("a rate is not a positive number")
    return found


def place_here(cluster: Cluster, name: str) -> Path:
    """Return where the driver keeps the calibration of a node."""
    return cluster.file.parent / ".timeeval" / cluster.name / "calibration" / f"{name}.json"


def place_on_node(cluster: Cluster, name: str) -> PurePosixPath:
    """Return where a node keeps its own; with its name in it, for the folder may be shared."""
    return cluster.state / "calibration" / f"{name}.json"


def load(cluster: Cluster, name: str) -> Calibration | None:
    """Return what the driver knows of a node; None when that is nothing that can be read."""
    try:
        return Calibration.from_json(json.loads(place_here(cluster, name).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def speeds(known: Mapping[str, Calibration]) -> dict[str, float]:
    """Return how fast hosts are relative to the usual one of them, with all slots at work.

    Parameters
    ----------
    known : mapping of str to Calibration
        By host. Those of another workload than most cannot be compared and are left out.

    Returns
    -------
    dict
        Host -> geometric mean over the parts of its rate divided by the median rate.
    """
    kinds = [(one.workload, tuple(sorted(one.together))) for one in known.values()]
    usual = max(kinds, key=kinds.count, default=None)
    alike = {name: one for name, one in known.items() if (one.workload, tuple(sorted(one.together))) == usual}
    if not alike:
        return {}
    names = next(iter(alike.values())).together
    middle = {name: median(one.together[name] for one in alike.values()) for name in names}
    return {
        host: math.exp(sum(math.log(one.together[name] / middle[name]) for name in names) / len(names))
        for host, one in alike.items()
    }


def notable(relative: Mapping[str, float]) -> dict[str, float]:
    """Return the hosts whose speed is another than the usual one by more than `NOTABLE`."""
    return {host: speed for host, speed in relative.items() if not 1 / (1 + NOTABLE) <= speed <= 1 + NOTABLE}


def calibrated(job: Job, sessions: Mapping[str, Session], report: Report, *, anew: bool) -> Report:
    """Measure the nodes that stand, as far as their speed is not known, all at the same time.

    Parameters
    ----------
    job : Job
    sessions : mapping of str to Session
    report : Report
        After verification.
    anew : bool
        Measure also those whose speed is known.

    Returns
    -------
    Report
        With a warning for every node that differs from most, or could not be measured.
    """
    cluster = job.cluster
    if cluster.environment is None:
        return report
    prefix = str(cluster.environment.prefix)
    standing = {line.node for line in report.nodes if line.error is None and line.node in sessions}

    def measure(node: Node) -> Calibration:
        args = {"prefix": prefix, "slots": node.slots, "path": str(place_on_node(cluster, node.name)), "anew": anew}
        answer = sessions[node.name].call(CALIBRATE, {**args, "seconds": PART_SECONDS}, on_event=job.teller(node))
        try:
            found = Calibration.from_json(answer["document"])
        except (KeyError, ValueError) as error:
            raise ProvisionError(f"its calibration cannot be read: {error}", host=node.name) from error
        file = place_here(cluster, node.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        tree.write_json(str(file), found.to_json())
        return found

    nodes = [node for node in job.nodes if node.name in standing and node.slots]
    found = for_each(nodes, measure, parallel=max(len(nodes), 1))
    relative = speeds({name: one for name, one in found.items() if isinstance(one, Calibration)})
    odd = notable(relative)

    def told(line: NodeReport) -> NodeReport:
        outcome = found.get(line.node)
        if isinstance(outcome, ProvisionError):
            remedy = outcome.remedy or "timeeval-provision verify --calibrate"
            return _with(line, f"its speed could not be measured: {outcome.message}", remedy)
        if line.node in odd:
            message = f"computes at {odd[line.node]:.2f} of the usual speed of these hosts"
            return _with(line, message, "do not compare times across hosts, or leave it out (--exclude)")
        return line

    return replace(report, nodes=tuple(told(line) for line in report.nodes))


def _with(line: NodeReport, message: str, remedy: str) -> NodeReport:
    finding = Finding(line.node, NAME, message, remedy, "warning")
    return replace(line, findings=(*line.findings, finding))
