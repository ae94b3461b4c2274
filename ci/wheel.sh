#!/usr/bin/env bash
# Build the wheel, install it elsewhere, and use it from a temporary directory: kernels/ is mapped
# into the package, so an editable install hides what a wheel may lack. It has machine code for this
# Python and platform, so nothing may be compiled, even where no cache can be written.
set -euo pipefail
cd "$(dirname "$0")/.."
ci=$PWD/ci
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$ci/build.sh" "$folder/dist"
python -m venv "$folder/tools"
"$folder/tools/bin/pip" install -q twine
"$folder/tools/bin/twine" check --strict "$folder"/dist/*.whl
python -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "$folder"/dist/*.whl
mkdir "$folder/work"
cd "$folder/work"
# What is no directory cannot be written to, not even by root: numba tries its own variable, then
# the folder beside the sources, then the user's.
kernels=$(echo "$folder"/venv/lib/python*/site-packages/fastbp/kernels)
rm -rf "$kernels/__pycache__"
touch "$kernels/__pycache__"
without_cache() {
    NUMBA_CACHE_DIR=/dev/null/cache HOME=/dev/null/home XDG_CACHE_HOME=/dev/null/cache "$@"
}
python=$folder/venv/bin/python
echo "== nothing is compiled"
without_cache "$python" "$ci/first_fit.py"
without_cache "$python" "$ci/compiles_nothing.py" "$ci/first_fit.py"
without_cache "$python" "$ci/compiles_nothing.py" "$ci/smoke.py"
without_cache "$folder/venv/bin/fastbp" info
without_cache "$folder/venv/bin/fastbp" warmup
"$folder/venv/bin/pip" install -q "$(echo "$folder"/dist/*.whl)[sklearn]"
without_cache "$python" "$ci/compiles_nothing.py" "$ci/estimators.py"
# Every level that runs here does the same to the last bit.
read -ra levels <<< "$("$python" -c 'from fastbp.kernels.shipped import usable_levels as u; print(*u())')"
for level in "${levels[@]}"; do
    NUMBA_CPU_NAME=$level without_cache "$python" "$ci/compiles_nothing.py" "$ci/digests.py" > "$level.txt"
    diff "${levels[0]}.txt" "$level.txt"
done
echo "== without shipped code, and with a cache"
FASTBP_WITHOUT=shipped NUMBA_CACHE_DIR=$folder/cache "$python" "$ci/smoke.py"
