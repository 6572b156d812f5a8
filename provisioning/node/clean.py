"""Take away what we put on this node, and only that: what carries our marks, is listed in our notes, has our names.

Everything else that lies where we work is left and named, with the reason.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Tuple

from provisioning.node import docker, landing, shelf, store, tree, venvs
from provisioning.node.room import nearest
from provisioning.node.switching import remove
from provisioning.node.tools import RefusedError

if TYPE_CHECKING:
    from provisioning.node.bootstrap import Channel

Item = Dict[str, Any]


def main(args: Dict[str, Any], channel: Channel) -> Dict[str, Any]:
    """Answer ``{"remove", "node", "all", "state", "results", "variants", "prefixes", "datasets", "images"}``.

    Returns ``{"ours": [{"key", "title", "files", "bytes"}], "left": [{"title", "why", "wrong"}]}``; with ``remove``
    (keys, or None) those of ours are gone afterwards, and ``failed`` says of which why not.
    """
    survey = _Survey(args)
    survey.look()
    failed: Dict[str, str] = {}
    agreed = args["remove"]
    if agreed is not None:
        wanted = [item for item in survey.ours if item["key"] in set(agreed)]
        for done, item in enumerate(wanted):
            channel.event({"title": "remove " + item["title"], "done": done, "total": len(wanted)})
            try:
                survey.take(item)
            except (OSError, RefusedError) as error:
                failed[item["title"]] = str(error)
        survey.tidy()
    shown = [{name: item[name] for name in ("key", "title", "files", "bytes")} for item in survey.ours]
    return {"ours": shown, "left": survey.left, "failed": failed}


class _Survey:
    """What is there."""

    def __init__(self, args: Dict[str, Any]) -> None:
        self.args = args
        self.ours: List[Item] = []
        self.left: List[Dict[str, Any]] = []

    def look(self) -> None:
        for prefix in self.args["prefixes"]:
            self._environment(Path(prefix))
        for folder in self.args["datasets"]:
            self._datasets(folder)
        self._images(self.args["images"])
        self._state(Path(self.args["state"]), self.args["node"])
        self._results(Path(self.args["results"]))

    def _found(self, key: str, title: str, paths: List[Path], **more: Any) -> None:  # noqa: ANN401 - JSON values
        sizes = [size for path in paths for size in _sizes(path)]
        item = {"key": key, "title": title, "paths": paths, "files": len(sizes), "bytes": sum(sizes)}
        self.ours.append(dict(item, **more))

    def _keep(self, title: str, why: str, wrong: bool = True) -> None:
        self.left.append({"title": title, "why": why, "wrong": wrong})

    def _environment(self, prefix: Path) -> None:
        beside = [prefix, prefix.parent / (prefix.name + ".previous")]
        known = len(self.left)
        for path in beside:
            if not os.path.lexists(path) or (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
                continue
            if path.is_symlink() or not venvs.read_marker(path):
                self._keep("environment %s" % path, "it was not made by create-envs")
            elif users := _users(path):
                self._keep("environment %s" % path, "process %d runs from it" % users[0])
            else:
                lock = prefix.parent / (".%s.timeeval-lock" % prefix.name)
                self._found("environment %s" % path, "environment %s" % path, [path, lock])
        if len(self.left) == known:  # what stays may need the interpreter that came along for it
            for home in sorted(prefix.parent.glob(prefix.name + ".python-*")):
                digest = home.name.rpartition("-")[2]
                if len(digest) == 16 and not set(digest) - set("0123456789abcdef") and not home.is_symlink():
                    self._found("interpreter %s" % home, "interpreter %s" % home, [home])
        staging = prefix.parent / (".%s.staging" % prefix.name)
        if staging.is_dir() and not staging.is_symlink():
            self._found("staging %s" % staging, "the rest of an attempt, %s" % staging, [staging])
        lock = prefix.parent / (".%s.timeeval-lock" % prefix.name)
        if lock.is_file():
            self._found("lock %s" % lock, "lock file %s" % lock, [lock])

    def _datasets(self, folder: str) -> None:
        marker = landing.read_marker(folder)
        if marker is None:
            if Path(folder).is_dir() and any(Path(folder).iterdir()):
                self._keep("datasets %s" % folder, "they were not put there by sync-datasets", wrong=self.args["all"])
            return
        if not self.args["all"]:
            self._keep("datasets %s" % folder, "--all takes them away too", wrong=False)
            return
        found, changed = tree.rows(folder, sorted(marker["files"]), marker["files"])
        files, others = [], sorted(path for path, why in changed.items() if why != "missing")
        for path, row in found.items():
            if row[4] == marker["files"][path][4]:
                files.append(path)
            else:
                others.append(path)
        if others:
            some = ", ".join(others[:3]) + (" and %d more" % (len(others) - 3) if len(others) > 3 else "")
            self._keep("%d files in %s" % (len(others), folder), "somebody changed them: %s" % some)
        control = landing.control(folder)
        self._found("datasets %s" % folder, "datasets %s" % folder, [control, Path(folder, ".timeeval-lock")])
        self.ours[-1].update(inside=folder, listed=files)
        self.ours[-1]["files"] += len(files)
        self.ours[-1]["bytes"] += sum(found[path][0] for path in files)

    def _images(self, images: Dict[str, List[str]]) -> None:
        """``images`` are names with the ids that receipts prove; a label of ours says the same of those built here."""
        if not images:
            return
        try:
            there = docker.inspect(list(images))
        except RefusedError as error:
            self._keep("images", str(error), wrong=self.args["all"])
            return
        for name, seen in there.items():
            if seen is None:
                continue
            if seen["id"] not in images[name] and seen["context"] is None:
                self._keep("image %s" % name, "it is not one that push-images brought", wrong=self.args["all"])
            elif self.args["all"]:
                self._found("image %s %s" % (name, seen["id"]), "image %s" % name, [], image=name)
                self.ours[-1]["bytes"] = seen["size"]
            else:
                self._keep("image %s" % name, "--all takes it away too", wrong=False)

    def _state(self, state: Path, node: str) -> None:
        runs = sorted(path.name for path in (state / "runs").glob("*@%s" % node))
        if runs:
            self._keep("run %s" % runs[0], "it is going on, or its next start clears it away", wrong=False)
        for folder in sorted((state / "driven").glob("*")):
            why = "a run is driven from here: timeeval-results fetch brings its results, then remove the folder"
            self._keep("run %s" % folder, why, wrong=False)
        own = [state / "proofs" / ("datasets-%s.json" % node), *sorted((state / "adopted").glob("*.json"))]
        for variant in self.args["variants"]:
            names = [node + end for end in (".json", ".history.jsonl", ".history.jsonl.lock")]
            own += [state / "receipts" / variant / name for name in names]
        if any(path.is_file() for path in own):
            self._found(
                "notes %s" % state, "receipts and proofs in %s" % state, [path for path in own if path.is_file()]
            )
        programs = [path for path in (state / "programs").glob("*") if path.is_file()]
        if programs:
            self._found("programs %s" % state, "programs of ours in %s" % state, programs)
        for kind in ("wheels", "images"):
            folder = state / "store" / kind
            files = [folder / path for path, _ in shelf.stored(folder)]
            known = (store.WISHES, ".timeeval-lock", landing.CONTROL)
            notes = [folder / name for name in known if (folder / name).exists()]
            notes += sorted(folder.glob("refused-*.json"))
            if files or notes:
                self._found("store %s" % folder, "stored %s %s" % (kind, folder), files + notes, inside=str(folder))

    def _results(self, results: Path) -> None:
        tries = [path for path in results.glob(".verify-*") if path.is_dir() and not path.is_symlink()]
        if tries:
            self._found("tries %s" % results, "the rest of a verification in %s" % results, tries)
        if results.is_dir() and any(path not in tries for path in results.iterdir()):
            self._keep("results %s" % results, "results are yours: collect them, then remove the folder", wrong=False)

    def take(self, item: Item) -> None:
        if "image" in item:
            docker.docker("image", "rm", item["image"])
            return
        if item["key"].startswith("environment") and _users(item["paths"][0]):
            raise RefusedError("a process has been started from it meanwhile", "end it first")
        for path in item.get("listed", ()):
            with contextlib.suppress(FileNotFoundError):
                _unlink(item["inside"], path)
        for path in item["paths"]:
            with contextlib.suppress(FileNotFoundError):  # another node that shares the place was faster
                remove(path)
        if "inside" in item:
            _prune(Path(item["inside"]))

    def tidy(self) -> None:
        """Remove folders of ours that have become empty, and tokens that a killed run left."""
        state, results = Path(self.args["state"]), Path(self.args["results"])
        below = [state / "receipts" / variant for variant in self.args["variants"] if variant]
        below += [
            state / name
            for name in ("receipts", "proofs", "programs", "adopted", "runs", "store/wheels", "store/images", "store")
        ]
        for folder in [*below, state, results]:
            with contextlib.suppress(OSError):  # not empty, or not there
                folder.rmdir()
        places = [str(state), str(results), *self.args["prefixes"], *self.args["datasets"]]
        for folder in {Path(nearest(path)) for path in places}:
            for token in folder.glob(".timeeval-token-*-%s" % self.args["node"]):
                with contextlib.suppress(OSError):
                    token.unlink()


def _sizes(path: Path) -> Iterator[int]:
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(OSError):
            yield path.lstat().st_size
        return
    for base, _, names in os.walk(str(path)):
        for name in names:
            with contextlib.suppress(OSError):
                yield Path(base, name).lstat().st_size


def _unlink(root: str, path: str) -> None:
    """Remove a file below a folder; a link on its way leads to what is not ours."""
    *above, name = tree.safe_path(path).split("/")
    folder = tree.open_folder(root, above)
    try:
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _prune(folder: Path) -> None:
    """Remove folders that are empty, from the lowest up."""
    for base, _, _ in os.walk(str(folder), topdown=False):
        with contextlib.suppress(OSError):
            Path(base).rmdir()


def _users(prefix: Path) -> List[int]:
    """Return the processes whose program lies in an environment."""
    found: List[Tuple[int, bytes]] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                found.append((int(folder.name), (folder / "cmdline").read_bytes().split(b"\0")[0]))
    own = os.fsencode(str(prefix)) + b"/"
    return sorted(pid for pid, program in found if program.startswith(own))
