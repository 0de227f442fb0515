#!/bin/sh
# Install the Debian packages of packages.txt that are missing: as root or with sudo; else print the one command.
# Those for tests and lint only with --tests. The versions in packages.txt bind the container image, not this machine.
set -eu
list=$(dirname "$0")/packages.txt
skip=" tests:"
[ "${1:-}" = --tests ] && skip="^#"
missing=""
for package in $(sed "/$skip/d; s/#.*//; s/[= ].*//" "$list"); do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
# the venv module is a package of its own on Debian, but not for a Python from elsewhere
python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
if [ ! -e .venv/.complete ] && ! { [ -n "$python" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; }; then
    missing="$missing python3 python3-venv"
fi
[ -n "$missing" ] || exit 0
install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
    run=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    run="sudo"
else
    printf 'error: missing Debian packages:%s\nrun this once, then again what you ran:\n  sudo %s\n' "$missing" "$install" >&2
    exit 3
fi
echo "installing Debian packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$run apt-get -o DPkg::Lock::Timeout=600 update -qq
# shellcheck disable=SC2086  the list is words
$run apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends $missing >/dev/null
