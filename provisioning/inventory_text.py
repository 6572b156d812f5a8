"""What a person may write in `cluster.toml`: its keys, their types, and where in the file each of them stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from provisioning.errors import InventoryError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["REGISTRY", "ClusterText", "Places", "parse"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+\\-]*\$?")
_IMAGE = re.compile(r"[a-z0-9]+(?:[._/:-]+[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?")
REGISTRY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)?")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def _matching(pattern: re.Pattern[str], allowed: str) -> AfterValidator:
    def check(value: str) -> str:
        if pattern.fullmatch(value) is None:
            raise ValueError(f"'{value}' is not {allowed}")
        return value

    return AfterValidator(check)


def _node_path(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"{value!r} holds a control character")
    if value.startswith("~"):
        raise ValueError(f"'{value}' begins with ~, which is another folder on each node: write an absolute path")
    if not value.startswith("/"):
        raise ValueError(f"'{value}' is relative: a path on the nodes must be absolute, the same on all of them")
    parts = value.strip("/").split("/")
    if parts == [""]:
        raise ValueError("'/' cannot be managed: name a folder below it")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"'{value}' holds '//', '.' or '..': write the plain path")
    return "/" + "/".join(parts)


def _ports(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError('write "0" for any free ports or a range such as "30000-30100"')
    match = _PORTS.fullmatch(value)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if match and first == last == 0:
        return None
    if not 1 <= first <= last <= 65535:
        raise ValueError(f'\'{value}\' is neither "0" (any free ports) nor a range such as "30000-30100"')
    return first, last


def _file_name(value: str) -> str:
    if value in {"", ".", ".."} or "/" in value:
        raise ValueError(f"'{value}' is not the name of a file in the dataset folder")
    return value


def _file_mode(value: object) -> int:
    if not isinstance(value, str) or re.fullmatch(r"0?[64][0-6][0-6]", value) is None:
        raise ValueError('write the mode of files as text, such as "644" or "640"; folders can be entered by who reads')
    return int(value, 8)


Name = Annotated[str, _matching(_NAME, "a name of letters, digits, '.', '_' and '-'")]
Address = Annotated[str, _matching(_ADDRESS, "a host name or an IP address")]
User = Annotated[str, _matching(_USER, "a user name")]
NodePath = Annotated[str, AfterValidator(_node_path)]
DriverPath = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Python = Annotated[str, _matching(re.compile(r"3\.[0-9]{1,2}"), 'a minor version such as "3.11"')]
ImageName = Annotated[str, _matching(_IMAGE, "an image name such as timeeval-demo/kmeans:1 (by tag, not by digest)")]
Registry = Annotated[str, _matching(REGISTRY, "a registry such as registry.lab:5000")]
WorkerPorts = Annotated[tuple[int, int] | None, BeforeValidator(_ports)]


FileMode = Annotated[int, BeforeValidator(_file_mode), Field(validate_default=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ClusterTable(_Table):
    """`[cluster]`."""

    name: Name
    hosts: Annotated[list[str], Field(min_length=1)]
    exclude: list[str] = []
    driver: str = "local"
    scheduler: str | None = None
    results: NodePath
    state: NodePath | None = None
    user: User | None = None
    port: Port | None = None
    key: DriverPath | None = None
    slots: Positive = 1
    ssh_config: DriverPath | None = None
    known_hosts: DriverPath = "known_hosts"


class HostTable(_Table):
    """`[host.NAME]`."""

    address: Address | None = None
    user: User | None = None
    port: Port | None = None
    key: DriverPath | None = None
    slots: Positive | None = None


class DatasetTable(_Table):
    """`[[datasets]]`."""

    source: DriverPath
    path: NodePath
    index: Annotated[str, AfterValidator(_file_name)] = "datasets.csv"
    group: User | None = None
    mode: FileMode = 0o644


class EnvironmentTable(_Table):
    """`[environment]`, or one of several `[[environment]]`."""

    name: Name = "default"
    prefix: NodePath
    python: Python
    python_from: DriverPath | None = None
    requirements: list[DriverPath] = []
    extras: list[Name] = []
    groups: list[Name] = []
    projects: list[DriverPath] = []
    modules: list[DriverPath] = []
    from_driver: bool = False
    manage: bool = True


# one table or several: `[environment]` reads as `[[environment]]` written once
Environments = Annotated[
    list[EnvironmentTable], BeforeValidator(lambda value: [value] if isinstance(value, dict) else value)
]


class ImageTable(_Table):
    """`[[images]]`."""

    name: ImageName
    context: DriverPath | None = None


class PushTable(_Table):
    """`[push]`."""

    via: Literal["load", "build", "registry", "own-registry"] = "load"
    registry: Registry | None = None
    by_context: bool = False


class PortsTable(_Table):
    """`[ports]`."""

    scheduler: Annotated[int, Field(ge=0, le=65535)] = 0
    workers: WorkerPorts = Field(default=None, validate_default=False)


class LimitsTable(_Table):
    """`[limits]`."""

    parallel: Positive = 32
    uploads: Positive = 8
    connect_timeout: Positive = 10
    command_timeout: Positive = 600
    layer_store: Positive = 16


class ClusterText(_Table):
    """The whole file."""

    cluster: ClusterTable
    groups: dict[Name, list[str]] = {}
    host: dict[str, HostTable] = {}
    datasets: list[DatasetTable] = []
    environment: Environments = []
    images: list[ImageTable] = []
    push: PushTable = PushTable()
    ports: PortsTable = PortsTable()
    limits: LimitsTable = LimitsTable()


Key = tuple[str | int, ...]

_TABLE = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?")
_ASSIGN = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"([^"]*)"|'([^']*)'""")


class Places:
    """Where the keys of a TOML text stand, which `tomllib` does not tell.

    Parameters
    ----------
    file : Path
        Named in errors.
    text : str
        Text that `tomllib` accepts.
    """

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self._lines: dict[Key, int] = {}
        table: Key = ()
        counts: dict[Key, int] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            # Keys are looked for line by line: a value of several lines may hold what looks like a key, and then only
            # a key that the file does not have gets a line, for which nobody asks.
            if (header := _TABLE.fullmatch(line)) is not None:
                table = _keys(header[2])
                if header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                self._lines.setdefault(table, number)
            elif (assignment := _ASSIGN.match(line)) is not None:
                self._lines.setdefault((*table, *_keys(assignment[1])), number)

    def line(self, key: Key) -> int | None:
        """Line of a key, or of the nearest thing around it."""
        key = self._plain(key)
        for length in range(len(key), 0, -1):
            if key[:length] in self._lines:
                return self._lines[key[:length]]
        return None

    def error(self, message: str, *key: str | int, remedy: str | None = None) -> InventoryError:
        """Make an error that names file, line and key."""
        dotted = _dotted(self._plain(key)) or None
        return InventoryError(message, file=self.file, line=self.line(key), key=dotted, remedy=remedy)

    def _plain(self, key: Key) -> Key:
        """Leave out the number of a table that is written as the only one of its kind."""
        single = len(key) > 1 and key[1] == 0 and key[:2] not in self._lines and key[:1] in self._lines
        return (*key[:1], *key[2:]) if single else key


def _keys(text: str) -> Key:
    return tuple(match[1] or match[2] or match[0].strip("\"'") for match in _KEY.finditer(text))


def _dotted(key: Key) -> str:
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            text += f".{quoted}" if text else quoted
    return text


def parse(file: Path) -> tuple[ClusterText, Places]:
    """Read a cluster file.

    Parameters
    ----------
    file : Path

    Returns
    -------
    tuple of ClusterText and Places

    Raises
    ------
    InventoryError
        The first thing that is wrong, with file, line, key and what is allowed.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        remedy = "name another with --cluster, or write one with `timeeval-provision init HOST…`"
        raise InventoryError(f"cannot be read: {reason}", file=file, remedy=remedy) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = re.search(r" \(at line ([0-9]+), column [0-9]+\)", message)
        line = int(found[1]) if found else None
        raise InventoryError(f"is not TOML: {message}", file=file, line=line) from error
    places = Places(file, text)
    try:
        return ClusterText.model_validate(content), places
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0], places) from error


def _explain(problem: ErrorDetails, places: Places) -> InventoryError:
    key: Key = tuple(part for part in problem["loc"] if part != "[key]")
    if problem["type"] == "extra_forbidden":
        return places.error(f"is not a key here; allowed: {', '.join(_allowed(key[:-1]))}", *key)
    if problem["type"] == "missing":
        return places.error(f"'{key[-1]}' is missing", *key)
    message = str(problem["msg"]).removeprefix("Value error, ")
    return places.error(message[:1].lower() + message[1:] if message[:1] not in {"'", '"'} else message, *key)


def _allowed(key: Key) -> list[str]:
    if not key:
        return sorted(ClusterText.model_fields)
    tables: dict[str | int, type[BaseModel]] = {
        "cluster": ClusterTable,
        "host": HostTable,
        "datasets": DatasetTable,
        "environment": EnvironmentTable,
        "images": ImageTable,
        "push": PushTable,
        "ports": PortsTable,
        "limits": LimitsTable,
    }
    return sorted(tables[key[0]].model_fields)
