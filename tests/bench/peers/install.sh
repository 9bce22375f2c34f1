#!/bin/sh
# Installs what the benchmark runs beside the clients of the tests (Debian, as root).
set -eu
sh "$(dirname "$0")/../../install-clients.sh"
command -v qemu-system-x86_64 >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "Not installed: qemu-system-x86 (the benchmark needs it)"
	exit 1
fi
echo "Installing qemu-system-x86 ..."
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends qemu-system-x86 >/dev/null
