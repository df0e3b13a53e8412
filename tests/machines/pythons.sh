#!/usr/bin/env bash
# pythons.sh FOLDER: the wheel and the runtime's tests on the newest Python that is there with the newest of
# each dependency, and on Python 3.11 with the oldest that pyproject.toml allows.
#
# The newest is of python3.14, python3.13 and python3.12 the first that runs (or $NEWEST), else Python 3.14 of a
# root of Debian sid, of which nothing is installed on this machine. TESTS: what to run in place of tests/runtime.
# Exit code 3: a run was left out, and a line says why.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "$1"
folder=$(realpath "$1")
here=$PWD/.venv/bin/python
wheel=$(echo "$PWD"/build/dist/*.whl)
left_out=0

first() {  # the first of these commands that runs
  for name in "$@"; do "$name" -c "" 2>/dev/null && { command -v "$name"; return; }; done
  return 0
}

of_debian() {  # Python 3.14 of a root of Debian sid, under that root's own C library
  local root=$folder/root python=$folder/python3.14 libraries
  command -v mmdebstrap >/dev/null || return 0
  [ -x "$root/usr/bin/python3.14" ] || {
    rm -rf "$root"
    # A mirror may stand still for weeks.
    mmdebstrap --quiet --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
      --include=python3.14,libstdc++6 sid "$root" >&2 || return 0
  }
  libraries=$root/usr/lib/$(uname -m)-linux-gnu
  printf '#!/bin/sh\nexport PYTHON_OF_ROOT=%s\nexec %s --library-path %s %s "$@"\n' \
    "$python" "$(echo "$libraries"/ld-linux-*)" "$libraries" "$root/usr/bin/python3.14" >"$python"
  chmod +x "$python"
  # Processes that tests start need that library, too. (Debian has a link there, out of the root.)
  rm -f "$root/usr/lib/python3.14/sitecustomize.py"
  echo 'import os, sys; sys.executable = os.environ["PYTHON_OF_ROOT"]' >"$root/usr/lib/python3.14/sitecustomize.py"
  echo "$python"
}

try() {  # name python requirement...
  local name=$1 python=$2 site=$folder/$1
  shift 2
  [ -n "$python" ] || { echo "$name: not run, no such Python was found"; left_out=3; return; }
  rm -rf "$site"
  "$here" -m pip --python "$python" install --quiet --disable-pip-version-check --no-compile --only-binary=:all: \
    --target "$site" "$wheel[cpu,data,archive,sklearn]" pytest "$@" || return 1
  echo "== $name: $("$python" --version)"
  PYTHONPATH=$site "$python" -m pytest -q -p no:cacheprovider -m "not soak and not alone" ${TESTS:-tests/runtime}
}

# The oldest of each range, as name==version.
oldest=$("$here" - <<'PYTHON'
import re
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
ranges = project["dependencies"] + [r for name in ("cpu", "data", "archive", "sklearn") for r in extras[name]]
print(*(re.sub(r">=([\d.]+).*", r"==\1", each) for each in ranges))
PYTHON
)
newest=$(first ${NEWEST:-python3.14 python3.13 python3.12})
failed=0
try newest "${newest:-$(of_debian)}" || failed=1
# shellcheck disable=SC2086
try oldest "$(first python3.11 "$("$here" -c 'import sys; print(sys._base_executable)')")" $oldest || failed=1
[ $failed = 0 ] || exit 1
exit $left_out
