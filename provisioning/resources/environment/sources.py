"""Where the packages of an environment come from: requirements files, locks, pyproject files, projects, the driver."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import UsageError
from provisioning.node.records import canonical
from provisioning.resources.environment import loose, project

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from provisioning.inventory import Environment
    from provisioning.resources.environment.wheels import Wheel

PYPROJECT = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Sources:
    """What an environment is made from, the same for all targets.

    Attributes
    ----------
    requirements : tuple of Path
        Requirements files and locks.
    wishes : tuple of str
        Requirements (PEP 508) beside them.
    projects : tuple of Wheel
        Wheels that were built here.
    exact : bool
        Whether the wishes are the whole environment: nothing is added to them.
    """

    requirements: tuple[Path, ...] = ()
    wishes: tuple[str, ...] = ()
    projects: tuple[Wheel, ...] = ()
    exact: bool = False

    @property
    def title(self) -> str:
        """What a person calls them, for errors."""
        if self.exact:
            return "what the driver has"
        return ", ".join(file.name for file in self.requirements) or ("the wishes" if self.wishes else "the projects")


def of(environment: Environment) -> Sources:
    """Read the sources of an environment; projects are built.

    Raises
    ------
    ProvisionError
        When a file cannot be read, an extra or a group is unknown, or a project does not build; when the environment
        is for another minor version of Python than the driver's.
    """
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    if environment.python != minor:
        raise UsageError(
            f"the environment at {environment.prefix} is to have Python {environment.python}, the driver runs {minor}: "
            "what one of them pickles the other cannot read",
            remedy=f'set python = "{minor}" in the cluster file, or run this with Python {environment.python}',
        )
    projects = (
        *(project.build(folder) for folder in environment.projects),
        *(loose.build(place) for place in environment.modules),
    )
    if environment.from_driver:
        from provisioning.resources.environment.driver import installed

        pins, wheels = installed(environment, {wheel.name for wheel in projects})
        return Sources((), pins, (*projects, *wheels), exact=True)
    plain = tuple(file for file in environment.requirements if file.name != PYPROJECT)
    wishes = [
        wish
        for file in environment.requirements
        if file.name == PYPROJECT
        for wish in of_pyproject(file, environment.extras, environment.groups)
    ]
    return Sources(plain, tuple(wishes), projects)


def of_pyproject(file: Path, extras: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return the dependencies that a ``pyproject.toml`` names, with those of some extras and dependency groups.

    Raises
    ------
    UsageError
        When the file cannot be read, its dependencies are computed by its build, or an extra or group is not there.
    """
    try:
        text: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}", remedy="mend [environment] requirements") from error
    table = text.get("project", {})
    computed = {"dependencies", "optional-dependencies"} & set(table.get("dynamic", ()))
    if computed:
        raise UsageError(
            f"{file} leaves its {' and '.join(sorted(computed))} to its build (dynamic)",
            remedy="name its folder under [environment] projects: a wheel says what it needs",
        )
    optional, grouped = table.get("optional-dependencies", {}), text.get("dependency-groups", {})
    wishes = list(_own(file, table, optional, [*table.get("dependencies", ())], frozenset()))
    for extra in extras:
        wishes += _own(file, table, optional, _table(file, optional, extra, "extra"), frozenset({canonical(extra)}))
    for group in groups:
        wishes += _own(file, table, optional, list(_grouped(file, grouped, group, ())), frozenset())
    return list(dict.fromkeys(wishes))


def _table(file: Path, tables: Mapping[str, list[Any]], name: str, kind: str) -> list[Any]:
    for other, entries in tables.items():
        if canonical(other) == canonical(name):
            return entries
    there = ", ".join(tables) or "none"
    raise UsageError(f"{file} has no {kind} '{name}'", remedy=f"it has these: {there}")


def _grouped(file: Path, groups: Mapping[str, list[Any]], name: str, above: tuple[str, ...]) -> Iterator[str]:
    """Give the requirements of a dependency group (PEP 735), those of groups that it includes among them."""
    if name in above:
        raise UsageError(f"the dependency groups {' > '.join((*above, name))} of {file} include each other")
    for entry in _table(file, groups, name, "dependency group"):
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
            yield from _grouped(file, groups, entry["include-group"], (*above, name))
        else:
            raise UsageError(f"the dependency group {name} of {file} holds {entry!r}", remedy="see PEP 735")


def _own(
    file: Path,
    table: Mapping[str, Any],
    optional: Mapping[str, list[Any]],
    wishes: Sequence[Any],
    seen: frozenset[str],
) -> Iterator[str]:
    """Give requirements; one of the project itself (``mine[extra]``) stands for what its extras name."""
    for wish in wishes:
        requirement = _requirement(file, wish)
        if canonical(requirement.name) != canonical(str(table.get("name", "?"))):
            yield str(requirement)
            continue
        for extra in sorted({canonical(name) for name in requirement.extras} - seen):
            yield from _own(file, table, optional, _table(file, optional, extra, "extra"), seen | {extra})


def _requirement(file: Path, wish: object) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(str(wish))
    except InvalidRequirement as error:
        raise UsageError(f"{file} names the dependency {wish!r}, which is none: {error}") from error
