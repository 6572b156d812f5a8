"""The images of the sandbox: a Debian base from a registry or from debootstrap, and what is built on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from provisioning.sandbox.engine import Engine, tail
from provisioning.sandbox.errors import SandboxError
from provisioning.sandbox.recipe import Recipe, digest_of

__all__ = ["bootstrap_tag", "build", "ensure_base", "mirror_of", "registry_tag"]

SUITE = "bookworm"
REGISTRY_IMAGE = f"debian:{SUITE}-slim"
PULL_SECONDS = 90
# Documentation and package lists are a third of a minimal system, and no node ever reads them.
LEFT_OUT = (
    "./var/cache/apt/archives/*.deb",
    "./var/cache/apt/*.bin",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/info/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
)
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def registry_tag() -> str:
    """Give the name of the base image that was pulled."""
    return f"timeeval-sandbox/base:registry-{digest_of(REGISTRY_IMAGE.encode())}"


def bootstrap_tag() -> str:
    """Give the name of the base image that was made on this machine."""
    return f"timeeval-sandbox/base:bootstrap-{digest_of(SUITE.encode(), *(item.encode() for item in LEFT_OUT))}"


def mirror_of(sources: Iterable[Path]) -> str | None:
    """Find the first Debian package mirror in apt's source files.

    Parameters
    ----------
    sources : iterable of Path
        Files in either of apt's two formats (``*.sources``, ``*.list``); missing ones are passed over.

    Returns
    -------
    str or None
        The mirror's address, as this machine uses it.
    """
    for path in sources:
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            found = re.match(r"(?:URIs:|deb\s(?:\s*\[[^\]]*\])?)\s*(\S+)", line.strip())
            if found and "debian" in found[1] and "security" not in found[1]:
                return found[1]
    return None


def ensure_base(engine: Engine, say: Callable[[str], None]) -> str:
    """Make sure that a minimal Debian image exists, and give its name.

    One that is already here is taken, wherever it came from; else the registry is asked, else debootstrap makes one.

    Parameters
    ----------
    engine : Engine
        The local engine.
    say : callable
        Told in a line what is being done, when it takes time.

    Returns
    -------
    str
        Name of the image.

    Raises
    ------
    SandboxError
        Neither way works here; the message tells why for both.
    """
    for tag in (registry_tag(), bootstrap_tag()):
        if engine.image_id(tag):
            return tag
    refusal = _pull(engine, say)
    if refusal is None:
        return registry_tag()
    return _bootstrap(engine, say, refusal)


def _pull(engine: Engine, say: Callable[[str], None]) -> str | None:
    """Take the base from a registry; what was said instead, where none answers."""
    say(f"pulling {REGISTRY_IMAGE}")
    try:
        done = engine.attempt("pull", "--quiet", REGISTRY_IMAGE, timeout=PULL_SECONDS)
    except SandboxError as error:
        return error.message
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"
    engine.run("tag", REGISTRY_IMAGE, registry_tag())
    return None


def _bootstrap(engine: Engine, say: Callable[[str], None], refusal: str) -> str:
    """Make the base with debootstrap, which wants root and a package mirror."""
    remedy = f"let this engine have the image (`docker pull {REGISTRY_IMAGE}`), or run as root on Debian"
    why = f"no base image could be pulled ({refusal})"
    if os.geteuid() != 0:
        raise SandboxError(f"{why}, and making one with debootstrap wants root", remedy=remedy)
    if shutil.which("debootstrap") is None:
        raise SandboxError(f"{why}, and debootstrap is not installed", remedy="`apt-get install debootstrap`")
    apt = Path("/etc/apt")
    mirror = mirror_of([*sorted(apt.glob("sources.list.d/*.sources")), apt / "sources.list"])
    if mirror is None:
        raise SandboxError(f"{why}, and apt's sources name no Debian mirror", remedy=remedy)
    say("no registry answers; making a base image with debootstrap")
    tag = bootstrap_tag()
    # Not /tmp: it may be mounted nodev, and debootstrap makes device nodes.
    with tempfile.TemporaryDirectory(prefix="timeeval-base-", dir="/var/tmp") as folder:
        root = Path(folder) / "root"
        _step(["debootstrap", "--variant=minbase", SUITE, str(root), mirror], root / "debootstrap" / "debootstrap.log")
        archive = Path(folder) / "root.tar"
        excludes = [f"--exclude={item}" for item in LEFT_OUT]
        _step(["tar", "-C", str(root), *excludes, "-cf", str(archive), "."], None)
        engine.run("import", "--change", 'CMD ["bash"]', str(archive), tag, timeout=300)
    return tag


def _step(argv: list[str], log: Path | None) -> None:
    """Run one program of the bootstrap; its own log says more than its output."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=900, check=False)
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"{argv[0]} did not end within {error.timeout:.0f} s") from error
    if done.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace") if log is not None and log.exists() else done.stderr
        raise SandboxError(f"{argv[0]} failed with exit status {done.returncode}:\n{tail(said)}")


def build(engine: Engine, recipe: Recipe, base: str, say: Callable[[str], None]) -> tuple[str, bool]:
    """Make sure that the image of a recipe exists, under its fixed name too where it has one.

    Parameters
    ----------
    engine : Engine
        The local engine.
    recipe : Recipe
        What to build.
    base : str
        Name of the base image.
    say : callable
        Told in a line when something is built.

    Returns
    -------
    tag : str
        The image's content-addressed name.
    changed : bool
        Whether anything had to be done.
    """
    tag = recipe.tag(base)
    have = engine.image_id(tag)
    changed = have is None
    if have is None:
        say(f"building {tag}")
        engine.build(tag, recipe.context, [f"BASE={base}", *(name for name in PROXIES if name in os.environ)])
        have = engine.image_id(tag)
    if recipe.alias is not None and engine.image_id(recipe.alias) != have:
        engine.run("tag", tag, recipe.alias)
        changed = True
    return tag, changed
