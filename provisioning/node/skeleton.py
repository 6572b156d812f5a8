"""A virtual environment with nothing in it (PEP 405), as it is at its final place. Runs on the node (Python >= 3.8).

Neither the module venv nor uv is needed for it, and it is the same whatever made the interpreter.
"""

from __future__ import annotations

import shlex
from pathlib import Path

_POSIX = """\
# Source this file from bash, zsh or sh: . bin/activate
deactivate () {
    if [ -n "${_OLD_VIRTUAL_PATH+set}" ]; then PATH="$_OLD_VIRTUAL_PATH"; export PATH; unset _OLD_VIRTUAL_PATH; fi
    if [ -n "${_OLD_VIRTUAL_PS1+set}" ]; then PS1="$_OLD_VIRTUAL_PS1"; unset _OLD_VIRTUAL_PS1; fi
    hash -r 2>/dev/null || true
    unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT
    if [ "${1-}" != nondestructive ]; then unset -f deactivate; fi
}
deactivate nondestructive
unset PYTHONHOME
VIRTUAL_ENV=%(prefix)s
VIRTUAL_ENV_PROMPT=%(name)s
export VIRTUAL_ENV VIRTUAL_ENV_PROMPT
_OLD_VIRTUAL_PATH="$PATH"
PATH="$VIRTUAL_ENV/bin:$PATH"
export PATH
if [ -z "${VIRTUAL_ENV_DISABLE_PROMPT-}" ] && [ -n "${PS1+set}" ]; then
    _OLD_VIRTUAL_PS1="$PS1"
    PS1="($VIRTUAL_ENV_PROMPT) $PS1"
fi
hash -r 2>/dev/null || true
"""
_CSH = """\
# Source this file from csh or tcsh: source bin/activate.csh
alias deactivate 'setenv PATH "$_OLD_VIRTUAL_PATH:q"; unset _OLD_VIRTUAL_PATH; unsetenv VIRTUAL_ENV; unalias deactivate'
set _OLD_VIRTUAL_PATH="$PATH:q"
setenv VIRTUAL_ENV %(prefix)s
setenv PATH "$VIRTUAL_ENV:q/bin:$PATH:q"
unsetenv PYTHONHOME
rehash
"""
_FISH = """\
# Source this file from fish: source bin/activate.fish
function deactivate
    set -gx PATH $_OLD_VIRTUAL_PATH
    set -e _OLD_VIRTUAL_PATH
    set -e VIRTUAL_ENV
    functions -e deactivate
end
set -g _OLD_VIRTUAL_PATH $PATH
set -gx VIRTUAL_ENV %(prefix)s
set -gx PATH $VIRTUAL_ENV/bin $PATH
set -e PYTHONHOME
"""


def make(fresh: Path, base: dict[str, str], final: Path) -> None:
    """Make an environment without packages.

    Parameters
    ----------
    fresh : Path
        Where it is made; nothing is there yet.
    base : dict
        ``path`` and ``version`` of the interpreter it stands on.
    final : Path
        Where it will be: its prefix.
    """
    minor = ".".join(base["version"].split(".")[:2])
    programs = fresh / "bin"
    for folder in (programs, fresh / "include", fresh / "lib" / ("python" + minor) / "site-packages"):
        folder.mkdir(mode=0o755, parents=True)
    (fresh / "lib64").symlink_to("lib")
    (programs / "python").symlink_to(base["path"])
    for name in ("python3", "python" + minor):
        (programs / name).symlink_to("python")
    home = base["path"].rpartition("/")[0]
    settings = {"home": home, "include-system-site-packages": "false", "version": base["version"]}
    settings.update({"executable": base["path"], "prompt": final.name})
    text = "".join("%s = %s\n" % setting for setting in settings.items())
    (fresh / "pyvenv.cfg").write_text(text, encoding="utf-8")
    words = {"prefix": shlex.quote(str(final)), "name": shlex.quote(final.name)}
    for name, script in (("activate", _POSIX), ("activate.csh", _CSH), ("activate.fish", _FISH)):
        (programs / name).write_text(script % words, encoding="utf-8")
