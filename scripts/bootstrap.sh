#!/bin/sh
# Make the virtual environment: sh scripts/bootstrap.sh .venv
# Uses uv when it is there (seconds), pip otherwise (about a minute).
set -eu
venv=$1
python=""
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "No Python 3.11 to 3.14 found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi
if [ ! -x "$venv/bin/python" ]; then
    echo "Setting up $venv with $("$python" --version) (about a minute the first time)"
    "$python" -m venv "$venv" || { echo "venv failed. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
fi
if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python "$venv/bin/python" --constraint constraints.txt --editable . --group dev
else
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "pip>=25.1"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --group dev
fi
