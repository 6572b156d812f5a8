"""What shells say of an environment that is activated in them."""

import shlex

_ENDS = {"tcsh": ".csh", "fish": ".fish"}
_TELLS = {
    "tcsh": 'if ($?VIRTUAL_ENV) then\n echo "$VIRTUAL_ENV"\nelse\n echo no\nendif',
    "fish": "if set -q VIRTUAL_ENV; echo $VIRTUAL_ENV; else; echo no; end",
}


def script(shell: str, prefix: str) -> str:
    """Return what a shell has to read: it says python3 and VIRTUAL_ENV while all is active, and afterwards."""
    source = "source" if shell in _ENDS else "."
    file = shlex.quote(f"{prefix}/bin/activate{_ENDS.get(shell, '')}")
    tell = "which python3\n" + _TELLS.get(shell, 'echo "${VIRTUAL_ENV-no}"')
    return "\n".join([f"{source} {file}", tell, "deactivate", tell, ""])
