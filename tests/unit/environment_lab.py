"""A cluster of this machine alone, for tests of environments."""

import dataclasses
import sys
from pathlib import Path, PurePosixPath

from wheelwright import hash_of, make_project, make_wheel

from provisioning.inventory import Cluster, Environment, Node
from provisioning.launch import open_session
from provisioning.node import observe_environment
from provisioning.resources.base import Task, Work
from provisioning.resources.environment import EnvironmentResource

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


class Lab:
    """A cluster of this machine alone, with a package index in a folder."""

    def __init__(self, root: Path):
        self.root = root
        self.node = Node("here", is_driver=True)
        self.prefix = root / "srv" / "envs" / "demo"
        self.lock = root / "demo.lock"
        self.project = make_project(root / "project", "mine", "1.0", ["dep>=1"])
        self.publish("1.0")
        self.resource = EnvironmentResource()
        self.fields = {}

    def publish(self, version: str, **more):
        wheel = make_wheel(self.root / "index", "dep", version, **more)
        self.lock.write_text(f"dep=={version} --hash=sha256:{hash_of(wheel)}\n")

    @property
    def cluster(self) -> Cluster:
        prefix, state = PurePosixPath(self.prefix), PurePosixPath(self.root / "srv" / "state")
        environment = Environment(
            prefix, MINOR, **{"requirements": (self.lock,), "projects": (self.project,), **self.fields}
        )
        return Cluster(
            name="lab",
            file=self.root / "cluster.toml",
            nodes=(self.node,),
            driver=self.node,
            scheduler=self.node,
            results=PurePosixPath(self.root / "results"),
            state=state,
            known_hosts=self.root / "known_hosts",
            environment=environment,
        )

    def look(self, *, deep=False, **changed):
        question = {**self.resource.question(self.cluster, self.node, None), "deep": deep}
        observed = observe_environment.observe(question) | changed
        desired = self.resource.desired(self.cluster, {"here": {"environment": observed}}, None)
        return observed, desired, self.resource.difference(self.cluster, self.node, observed, desired)

    def make(self, alter=lambda house: house, **changed):
        _, desired, difference = self.look(**changed)
        desired = dataclasses.replace(desired, houses={"here": alter(desired.houses["here"])})
        for parcel in self.resource.bring(Work(self.cluster, desired, {"here": difference})):
            for path in parcel.missing["here"]:
                target = Path(parcel.target) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(parcel.source / path)
        with open_session(self.cluster, self.node) as session:
            events = []
            self.resource.settle(Task(session, self.cluster, self.node, difference, desired), events.append)
        return events

    def packages(self):
        return self.prefix / "lib" / f"python{MINOR}" / "site-packages"
