#!/bin/sh
# Unpacks an aarch64 Python with the wheels of a list into a folder, for user-mode QEMU; the system stays as it is.
#   set_up.sh FOLDER PIP LIST        PIP: the pip of a Python on this machine; LIST: a file of names, versions and hashes
# FOLDER/root is the finished system; FOLDER/root/versions.txt names every file it was made of, with its SHA-256.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
pip=$2
list=$here/$3

if [ -f "$folder/root/versions.txt" ]; then
    exit 0
fi
rm -rf "$folder/apt" "$folder/debs" "$folder/wheels" "$folder/root" "$folder/new"
mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial" "$folder/debs" "$folder/wheels" "$folder/new/site"
: >"$folder/apt/status"

apt() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root \
        -o Dir::State="$folder/apt" -o Dir::State::lists="$folder/apt/lists" \
        -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt/cache" "$@"
}
apt update
# shellcheck disable=SC2046
(cd "$folder/debs" && apt download $(sed -e 's/#.*//' "$here/packages.txt"))
"$pip" download --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_34_aarch64 \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
    --dest "$folder/wheels" --requirement "$list"

for package in "$folder"/debs/*.deb; do
    dpkg -x "$package" "$folder/new"
done
for wheel in "$folder"/wheels/*.whl; do
    python3 -m zipfile -e "$wheel" "$folder/new/site"
done
rm -f "$folder/new/site/tvm/lib/libtvm_compiler.so" # 240 MB that nothing here loads
(cd "$folder" && sha256sum debs/*.deb wheels/*.whl) >"$folder/new/versions.txt"
mv "$folder/new" "$folder/root"
