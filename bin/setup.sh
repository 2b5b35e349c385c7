# Makes .venv from the locked requirements. Sourced by bin/outward and bin/test, never run by itself.
#
# setup ROOT LOCK: afterwards ROOT/.venv holds exactly what LOCK names, with every file checked by its hash, and
# Outward itself, linked to this checkout. Costs one checksum when that is so already. Progress goes to stderr.

say() { printf 'outward: %s\n' "$*" >&2; }

# Print the path of a Python from 3.12 on; look at every name that one may hide behind.
find_python() {
  for candidate in "${OUTWARD_PYTHON:-}" python3.13 python3.12 python3.14 python3 python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    [ -n "$candidate" ] || continue
    # A pyenv shim may exist and still refuse to run, so that only a Python that answers counts.
    "$candidate" -c 'import sys; print(sys.executable) if sys.version_info >= (3, 12) else sys.exit(1)' 2>/dev/null && return
  done
  if command -v uv >/dev/null 2>&1; then uv python find '>=3.12' 2>/dev/null && return; fi
  return 1
}

# The stamp names what the environment was made from.
stamp() { cat "$1/requirements-build.txt" "$1/$2" "$1/pyproject.toml" | cksum | tr -d ' \n'; }

# pip as the machine has it set up (a company's index counts), but for settings that would put files elsewhere or
# contradict the lock.
install() {
  env -u PIP_USER -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PYTHONPATH -u PYTHONHOME PIP_CONSTRAINT=/dev/null \
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$root/.venv/bin/python" -m pip install -qq "$@" >&2
}

setup() {
  root=$1 lock=$2
  [ -x "$root/.venv/bin/outward" ] && grep -q '^uv = ' "$root/.venv/pyvenv.cfg" 2>/dev/null && return # uv keeps it
  want="$(stamp "$root" "$lock") $lock"
  have=$(cat "$root/.venv/outward.stamp" 2>/dev/null || true)
  [ "$have" = "$want" ] && return
  # What runs needs nothing of the tests: an environment made for them will do.
  [ "$lock" = requirements.txt ] && [ "$have" = "$(stamp "$root" requirements-dev.txt) requirements-dev.txt" ] && return

  python=$(cd "$root" && find_python) || {
    say 'needs Python 3.12 or newer, and found none. Install one, or name it: OUTWARD_PYTHON=/path/to/python3'
    return 1
  }
  say "setting up .venv with $("$python" -V) (once, about a minute)"
  "$python" -m venv --clear "$root/.venv" >&2 || { say 'python -m venv failed; on Debian: apt install python3-venv'; return 1; }
  install --require-hashes -r "$root/requirements-build.txt" -r "$root/$lock" || { say 'installing the locked packages failed'; return 1; }
  install --no-deps --no-build-isolation --no-index --editable "$root" || { say 'installing Outward failed'; return 1; }
  printf '%s' "$want" >"$root/.venv/outward.stamp"
}
