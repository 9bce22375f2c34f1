#!/bin/sh
# Installs the NBD clients of the tests where that is possible; the tests name what
# is missing.
set -eu
missing=
for pair in qemu-io:qemu-utils strace:strace nbdkit:nbdkit nbdcopy:libnbd-bin nbd-client:nbd-client fio:fio \
	promtool:prometheus curl:curl chromium:chromium chromedriver:chromium-driver docker:docker.io docker-compose:docker-compose debootstrap:debootstrap; do
	command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing="$missing ${pair##*:}"
done
/usr/bin/python3 -c 'import nbd' 2>/dev/null || missing="$missing python3-libnbd"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "Not installed:$missing (the tests that need them are skipped)"
	exit 0
fi
echo "Installing$missing ..."
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends $missing >/dev/null
