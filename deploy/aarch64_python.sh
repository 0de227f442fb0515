#!/bin/sh
# An aarch64 Python with numpy and tflite-runtime for qemu-user: `sh deploy/aarch64_python.sh DIR` (about 60 MB).
#
# Debian's arm64 packages are unpacked, not installed: apt works on lists and a cache of its own below DIR, the system
# stays as it is. The wheels come from pip's own settings. DIR/complete is written last.
set -eu

target=${1:?"usage: $0 DIR"}
python=${PYTHON:-python3}
packages="libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libbz2-1.0 liblzma5 libffi8 libssl3 libuuid1 libcrypt1
python3.11-minimal libpython3.11-minimal libpython3.11-stdlib"
wheels="numpy==1.26.4 tflite-runtime==2.14.0"

rm -f "$target/complete"
mkdir -p "$target/apt/lists/partial" "$target/apt/cache/archives/partial" "$target/debs" "$target/wheels" "$target/root"
target=$(cd "$target" && pwd)
: > "$target/apt/status"

apt_arm64() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o Dir::State="$target/apt" -o Dir::State::status="$target/apt/status" -o Dir::State::lists="$target/apt/lists" \
        -o Dir::Cache="$target/apt/cache" -o APT::Sandbox::User=root "$@"
}

apt_arm64 update
# shellcheck disable=SC2086
(cd "$target/debs" && apt_arm64 download $packages)
for package in "$target"/debs/*.deb; do
    dpkg-deb -x "$package" "$target/root"
done
# the loader and libraries under the path that the programs name
[ -e "$target/root/lib" ] || ln -s usr/lib "$target/root/lib"

# shellcheck disable=SC2086
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 311 --implementation cp --abi cp311 \
    --platform manylinux_2_34_aarch64 --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 \
    --dest "$target/wheels" $wheels
for wheel in "$target"/wheels/*.whl; do
    "$python" -m zipfile -e "$wheel" "$target/root/site"
done
rm -rf "$target/apt" "$target/debs" "$target/wheels"
echo "$wheels" > "$target/complete"
