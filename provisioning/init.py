"""`init`: a commented cluster file to begin with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from provisioning.errors import UsageError
from provisioning.noderange import expand, fold

__all__ = ["render"]

_TEMPLATE = """\
# What timeeval-provision and timeeval-run know about the machines. Paths on the nodes are absolute and the same on all
# of them; paths on this machine may be relative to this file.

[cluster]
name = {name}
hosts = {hosts}
# exclude = ["node07.lab"]            # hosts of the ranges above that are out of order
driver = "local"                      # this machine; or its name, if it is one of the hosts
scheduler = {scheduler}
results = {results}
state = {state}                       # receipts, locks, run folders
# user = "bench"                      # these four: what ~/.ssh/config does not say already
# port = 22
# key = "~/.ssh/id_ed25519"
# ssh_config = "ssh_config"
slots = 1                             # experiments at a time on each host
known_hosts = "known_hosts"           # host keys of this cluster: timeeval-provision trust

# [groups]                            # for --limit @fast
# fast = ["node[01-04].lab"]

# [host."node03.lab"]                 # what is different on one host
# address = "10.0.0.3"
# slots = 4

# [[datasets]]                        # one for each folder with datasets
# source = "data/nab"                 # on this machine; holds the index
# path = "{root}/data/nab"
# index = "datasets.csv"
# mode = "640"                        # of its files; "644" by default, so that containers under another user can read
# group = "bench"

[environment]
prefix = "{root}/envs/timeeval"
python = {python}
requirements = []                     # locks with hashes; requirements or pyproject.toml, locked on first use
projects = []                         # local projects that experiments import
modules = []                          # modules and packages of yours that belong to no project
# from_driver = true                  # instead of requirements: what the environment of this command has

# [[images]]                          # one for each algorithm image
# name = "my/algorithm:1"
# context = "algorithms/mine"         # folder with its Dockerfile; without it the image must exist on this machine

# [push]                              # how images reach the hosts
# via = "registry"                    # "load" by default; "build", "registry", "own-registry"
# registry = "registry.lab:5000"
# by_context = true                   # allow images that each host built itself: equal by context, not by content

[ports]
scheduler = 0                         # 0: any free one
workers = "0"                         # or a range, for firewalls: "30000-30100"

[limits]
parallel = 32                         # hosts at a time
uploads = 8                           # of them sending data
connect_timeout = 10                  # seconds
command_timeout = 600                 # seconds of silence
layer_store = 16                      # GiB of image layers that every machine keeps to make small updates of
"""


def render(hosts: Sequence[str], *, name: str = "lab", root: str = "/srv/timeeval", python: str = "3.11") -> str:
    """Write a cluster file for some hosts, with comments.

    Parameters
    ----------
    hosts : sequence of str
        Names or ranges.
    name : str
        Of the cluster.
    root : str
        Folder on the nodes that everything is put below.
    python : str
        Minor version of the nodes' environment.

    Returns
    -------
    str
        TOML that `provisioning.inventory.load` reads.

    Raises
    ------
    UsageError
        When no host is named, or one twice.
    """
    names = [host for pattern in hosts for host in expand(pattern)]
    if not names:
        raise UsageError("no host is named", remedy="timeeval-provision init node[01-16].lab")
    twice = sorted({host for host in names if names.count(host) > 1})
    if twice:
        raise UsageError(f"'{fold(twice)}' is named twice")
    quoted = json.dumps  # TOML's basic strings are JSON's
    return _TEMPLATE.format(
        name=quoted(name),
        hosts=quoted(list(hosts)),
        scheduler=quoted(names[0]),
        results=quoted(f"{root}/results"),
        state=quoted(f"{root}/state"),
        root=root,
        python=quoted(python),
    )
