"""`@npm`: the registries that npm is set up to use, scoped ones included, as npm reads them (npmrc(5), npm config).

From the environment, the user's file, the global file and the one that npm was built with, in that order; a project's
own `.npmrc` does not count. The default registry is read from npm's own table of settings.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from outward.config.machine.hosts import entries, pairs, text_of
from outward.config.machine.surroundings import Surroundings
from outward.config.sets import Hosts

_TABLE = "node_modules/@npmcli/config/lib/definitions/definitions.js"
_BESIDE = "lib/node_modules/npm"
_DEFAULT = re.compile(r"""(?:new Definition|define)\(\s*['"]registry['"],\s*\{\s*default:\s*[`'"](https?://[^`'"]+)""")


def npm_hosts(around: Surroundings) -> Hosts:
    """Return the hosts of npm's registries, its default included."""
    package, settings = next(_packages(around), None), npm_settings(around)
    default = _DEFAULT.search(text_of(package / _TABLE)) if package else None
    urls = [settings["registry"]] if "registry" in settings else [default[1]] if default else []
    problem = "" if urls else "npm is not installed here, or its default registry cannot be told"
    return entries([*urls, *(value for key, value in settings.items() if key.endswith(":registry"))], problem)


def npm_settings(around: Surroundings) -> dict[str, str]:
    """Return npm's settings, the strongest source's of each."""
    settings: dict[str, str] = {}
    for layer in _layers(around, next(_packages(around), None)):
        settings = {**layer, **settings}
    return settings


def _layers(around: Surroundings, package: Path | None) -> Iterator[Mapping[str, str]]:
    """Yield the settings of each source, the strongest first."""
    env = around.env
    said = {key[len("npm_config_") :]: value for key, value in env.items() if key.lower().startswith("npm_config_")}
    told = {key if key.startswith("@") else key.lower().replace("_", "-"): value for key, value in said.items()}
    yield told
    user = around.named(_spelling(env, "npm_config_userconfig")) or (around.home and around.home / ".npmrc")
    if user:
        yield pairs(text_of(user), env)
    given = around.named(_spelling(env, "npm_config_globalconfig"))
    prefix = around.named(_spelling(env, "npm_config_prefix")) or around.named("PREFIX")
    for program in around.programs("node", "nodejs"):
        prefix = prefix or program.resolve().parent.parent
    place = given or (prefix and prefix / "etc/npmrc")
    if place:
        yield pairs(text_of(place), env)
    if package:
        yield pairs(text_of(package / "npmrc"), env)


def _spelling(env: Mapping[str, str], name: str) -> str:
    """Return the variable as it is spelt here: npm takes any case."""
    return next((key for key in env if key.lower() == name), name)


def _packages(around: Surroundings) -> Iterator[Path]:
    """Yield the folders of npm's own package, by the programs on the path."""
    for program in around.programs("npm", "node", "nodejs"):
        real = program.resolve().parent.parent  # of `…/npm/bin/npm-cli.js`, or of `…/bin/node`
        for package in (real, real / _BESIDE, program.parent.parent / _BESIDE):
            if (package / _TABLE).is_file() and not around.tree.holds(package):
                yield package
