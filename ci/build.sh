#!/usr/bin/env bash
# Build a wheel with machine code for the python on PATH, its newest numba and this platform.
# Usage: ci/build.sh FOLDER
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# A copy, so that no build folder is left in the checkout.
mkdir "$folder/source"
cp -r fastbp kernels pyproject.toml README.md LICENSE "$folder/source"
rm -rf "$folder/source/kernels/code"
cd "$folder"
python -m venv venv
bin=$folder/venv/bin
"$bin/pip" wheel -q --no-deps -w pure "$folder/source"
# What compiles is what is installed from this very wheel.
"$bin/pip" install -q pure/fastbp-*.whl wheel
"$bin/wheel" unpack -d tree pure/fastbp-*.whl
"$bin/python" -m fastbp.shipping "$(echo tree/*/fastbp/kernels)/code"
sed -i 's/^Root-Is-Purelib: true/Root-Is-Purelib: false/' tree/*/*.dist-info/WHEEL
mkdir -p coded "$out"
"$bin/wheel" pack -d coded tree/*
# Code for a numba fits no other platform or Python than the llvmlite that this numba needs.
"$bin/python" - > tags <<'PYTHON'
from email import message_from_string
from importlib.metadata import distribution

tags = message_from_string(distribution("llvmlite").read_text("WHEEL")).get_all("Tag")
parts = zip(*(tag.split("-") for tag in tags), strict=True)
print(*(".".join(dict.fromkeys(part)) for part in parts))
PYTHON
read -r python abi platforms < tags
"$bin/wheel" tags --remove --python-tag "$python" --abi-tag "$abi" --platform-tag "$platforms" coded/fastbp-*.whl
mv coded/fastbp-*.whl "$out"
ls -l "$out"
