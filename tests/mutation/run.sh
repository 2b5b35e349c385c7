#!/bin/sh
# Mutation testing of the core: breaks one thing at a time, and counts what no unit test notices.
#
#   tests/mutation/run.sh [MODULE...]      modules of outward/core; all of them by default
#
# Needs uv and the development environment (.venv). Works in a scratch folder, $SCRATCH or a new one, and leaves it
# behind: `cd SCRATCH && venv/bin/mutmut show MUTANT` shows a survivor. Survivors are listed at the end.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
scratch=${SCRATCH:-$(mktemp -d)}
mkdir -p "$scratch"
cd "$scratch"
[ $# -gt 0 ] || set -- names addresses paths policy identity model reasons confusable cover explain lint suggest toggles

# mutmut lives in an environment of its own, which sees the packages of the project's but not the project itself.
if [ ! -x venv/bin/mutmut ]; then
  uv venv --quiet --python "$root/.venv/bin/python" venv
  VIRTUAL_ENV="$scratch/venv" uv pip install --quiet 'mutmut==3.8.1'
  site=$(venv/bin/python -c 'import site; print(site.getsitepackages()[0])')
  "$root/.venv/bin/python" -c 'import site; print(site.getsitepackages()[0])' >"$site/project.pth"
fi

# mutmut wants the sources under src.
rm -rf src tests mutants
mkdir src
cp -R "$root/addons/outward" src/outward
cp -R "$root/tests" tests
find src tests -name __pycache__ -prune -exec rm -rf {} +
# A result that was cached before the code was broken would hide the break.
cat >tests/conftest.py <<'END'
import functools
import sys

import pytest


@pytest.fixture(autouse=True)
def forget():
    for name, module in list(sys.modules.items()):
        if name.startswith("outward.core"):
            for each in list(vars(module).values()):
                if isinstance(each, functools._lru_cache_wrapper):
                    each.cache_clear()
END
cp "$root/pyproject.toml" "$root/README.md" "$root/uv.lock" .

{
  printf '[mutmut]\nsource_paths=src\nonly_mutate=\n'
  for module; do printf '    src/outward/core/%s.py\n' "$module"; done
  printf 'also_copy=\n    tests\n    pyproject.toml\n'
  printf 'pytest_add_cli_args_test_selection=\n'
  for test in names addresses paths policy decision identity toggles confusable cover suggest; do printf '    tests/unit/test_%s.py\n' "$test"; done
  for test in explain smells inheritance refused; do printf '    tests/unit/config/test_%s.py\n' "$test"; done
} >setup.cfg

venv/bin/mutmut run --max-children "${CHILDREN:-2}" >run.log 2>&1 || { tail -n 40 run.log; exit 1; }
venv/bin/mutmut export-cicd-stats >/dev/null 2>&1 || true
tr '\r' '\n' <run.log | tail -n 3
venv/bin/mutmut results
printf 'scratch folder: %s\n' "$scratch"
