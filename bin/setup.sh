# Makes .venv from the locked requirements. Sourced by bin/outward and bin/test, never run by itself.
#
# setup ROOT LOCK: afterwards ROOT/.venv holds exactly what LOCK names, with every file checked by its hash, and
# Outward itself, linked to this checkout. Costs one checksum when that is so already. Progress goes to stderr.

# Prints the path of the Python that runs it, behind a `+` if it was built with optimisations and can make an environment.
probe='
import importlib.util, sys, sysconfig
if sys.version_info < (3, 12):
    sys.exit(1)
flags = " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "CFLAGS", "PY_CFLAGS"))
# Debian builds with them by other means than the option, and is told by where it looks for wheels, as Fedora does.
fast = any(sign in flags for sign in ("--enable-optimizations", "-fprofile-use", "/usr/share/python-wheels"))
print("+" if fast and importlib.util.find_spec("ensurepip") else "-", sys.executable, sep="")
'
say() { printf 'outward: %s\n' "$*" >&2; }

# Print what `probe` says of a Python from 3.12 on: of the first that was built with optimisations, else of the first.
# Looks at every name that one may hide behind. pyenv builds without them, which costs 12 to 28 % of the time.
find_python() {
  first=
  if [ -n "${OUTWARD_PYTHON:-}" ]; then # named, so that no other one is tried, and its own error is shown
    "$OUTWARD_PYTHON" -c "$probe" && return
    say "OUTWARD_PYTHON=$OUTWARD_PYTHON does not run, or is older than 3.12"
    return 2
  fi
  for candidate in python3.13 python3.12 python3.14 python3 python \
    "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}"/versions/3.1[2-9]*/bin/python3 \
    "$(command -v uv >/dev/null 2>&1 && uv python find '>=3.12' 2>/dev/null)"; do
    # A pyenv shim may exist and still refuse to run, so that only a Python that answers counts.
    answer=$("$candidate" -c "$probe" 2>/dev/null) || continue
    case $answer in +*) printf '%s\n' "$answer" && return ;; esac
    first=${first:-$answer}
  done
  [ -n "$first" ] && printf '%s\n' "$first"
}

# The stamp names what the environment was made from.
stamp() { cat "$1/requirements/build.txt" "$1/$2" "$1/pyproject.toml" | cksum | tr -d ' \n'; }

# pip as the machine has it set up (a company's index counts), but for settings that would put files elsewhere or
# contradict the lock.
install() {
  env -u PIP_USER -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PYTHONPATH -u PYTHONHOME PIP_CONSTRAINT=/dev/null \
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$root/.venv/bin/python" -m pip install -qq --no-compile "$@" >&2
}

# Whether nothing is left to do for ROOT and LOCK.
ready() {
  [ -x "$1/.venv/bin/outward" ] && grep -q '^uv = ' "$1/.venv/pyvenv.cfg" 2>/dev/null && return # uv keeps it
  have=$(cat "$1/.venv/outward.stamp" 2>/dev/null || true)
  [ "$have" = "$(stamp "$1" "$2") $2" ] && return
  # What runs needs nothing of the tests: an environment made for them will do.
  [ "$2" = requirements/outward.txt ] && [ "$have" = "$(stamp "$1" requirements/dev.txt) requirements/dev.txt" ]
}

# Wait until no other shell sets this checkout up. The lock lives as long as descriptor 9 is open.
alone() {
  exec 9<>"$1/bin/setup.sh"
  "$python" -c 'import fcntl; fcntl.flock(0, fcntl.LOCK_EX | fcntl.LOCK_NB)' <&9 2>/dev/null && return
  say 'waiting for another shell that sets up .venv'
  "$python" -c 'import fcntl; fcntl.flock(0, fcntl.LOCK_EX)' <&9
}

make() {
  root=$1 lock=$2
  case $lock in requirements/outward.txt) takes='about a minute' ;; *) takes='a few minutes' ;; esac
  say "setting up .venv with $("$python" -V), $built (once, $takes)"
  # For the tests, packages are added to an environment that runs, so that it goes on running meanwhile.
  if [ "$lock" = requirements/outward.txt ] || ! ready "$root" requirements/outward.txt; then
    "$python" -m venv --clear "$root/.venv" >&2 || { say 'python -m venv failed; on Debian: apt install python3-venv'; return 1; }
  fi
  install --require-hashes -r "$root/requirements/build.txt" -r "$root/$lock" || { say 'installing the locked packages failed'; return 1; }
  install --no-deps --no-build-isolation --no-index --editable "$root" || { say 'installing Outward failed'; return 1; }
  # pip would compile one file after the other; what cannot be compiled is somebody's example for an older Python.
  "$root/.venv/bin/python" -m compileall -qq -j 0 "$root/.venv/lib" >/dev/null 2>&1 || true
  printf '%s' "$(stamp "$root" "$lock") $lock" >"$root/.venv/outward.stamp"
}

# Write byte code, once: of Outward, and of what it imports where the installer wrote none. Where PYTHONDONTWRITEBYTECODE is
# set Python writes none by itself, and then every start would compile everything, which takes longer than the start.
byte_code() {
  [ -d "$1/addons/outward/__pycache__" ] || [ ! -w "$1/addons/outward" ] && return
  "$1/.venv/bin/python" -m compileall -qq "$1/addons" >&2
  env -u PYTHONDONTWRITEBYTECODE "$1/.venv/bin/python" -c 'import outward.cli.serve, outward.proxy.assembly' >&2
}

setup() {
  if ready "$1" "$2"; then
    byte_code "$1"
    return
  fi
  python=$(cd "$1" && find_python) || {
    [ $? -eq 2 ] || say 'needs Python 3.12 or newer, and found none. Install one, or name it: OUTWARD_PYTHON=/path/to/python3'
    return 1
  }
  case $python in +*) built='built with optimisations' ;; *) built='built without optimisations: slower by a fifth' ;; esac
  python=${python#?}
  alone "$1"
  ready "$1" "$2" || make "$1" "$2"
  byte_code "$1"
  exec 9<&-
}
