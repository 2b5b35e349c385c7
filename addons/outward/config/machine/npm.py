"""`@npm`: the registries that npm is set up to use, scoped ones included, as npm itself tells them."""

import json
import shutil
from collections.abc import Mapping

from outward.config.machine.tool import ToolError, ask, entries
from outward.config.sets import Hosts


def npm_hosts(env: Mapping[str, str]) -> Hosts:
    """Return the hosts of npm's registries, its default included."""
    npm = shutil.which("npm", path=env.get("PATH"))
    if npm is None:
        return Hosts(problem="npm is not installed here")
    try:
        settings = json.loads(ask([npm, "config", "list", "--long", "--json"], env))
    except (ToolError, ValueError):
        return Hosts(problem="npm could not be asked for its configuration")
    if not isinstance(settings, dict):
        return Hosts(problem="npm answered with something else than its configuration")
    urls = [value for key, value in settings.items() if key == "registry" or str(key).endswith(":registry")]
    return entries(url for url in urls if isinstance(url, str))
