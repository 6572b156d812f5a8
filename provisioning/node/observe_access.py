"""Who we are on a node once logged in."""

from __future__ import annotations

import os
import pwd
from typing import Any, Dict


def observe(question: Dict[str, Any]) -> Dict[str, Any]:
    """Answer ``{}``: user, home, login shell, and from where the connection came."""
    del question
    user = pwd.getpwuid(os.getuid())
    return {
        "user": user.pw_name,
        "home": user.pw_dir,
        "shell": user.pw_shell,
        "connection": os.environ.get("SSH_CONNECTION", "").split(),
    }
