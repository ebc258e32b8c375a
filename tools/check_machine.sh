#!/bin/sh
# Says whether this machine can run the product, before .venv is filled. Exit 1 with a line for each thing that is missing.
# The wheel of the embedded tritonserver (nvidia-pytriton) is for Linux x86-64 with glibc 2.35; pip refuses it elsewhere
# with a message that names neither.
set -eu
cd "$(dirname "$0")/.."
disk_mb=8000
memory_mb=4000
missing=0
lacks() { echo "$*" >&2; missing=1; }

system="$(uname -s) $(uname -m)"
[ "$system" = "Linux x86_64" ] || lacks "This machine is $system: Linux on x86-64 is needed."

glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}') || glibc=""
case $glibc in
  "") lacks "No glibc was found: glibc 2.35 or newer is needed (Debian 12, Ubuntu 22.04, RHEL 10); musl doesn't do." ;;
  *) echo "$glibc" | awk -F. '{exit !($1 > 2 || ($1 == 2 && $2 >= 35))}' \
       || lacks "glibc is $glibc: 2.35 or newer is needed (Debian 12, Ubuntu 22.04, RHEL 10)." ;;
esac

if [ ! -e .venv/.installed ]; then
  free_mb=$(df -Pk . | awk 'NR == 2 {print int($4 * 1.024 / 1000)}')
  [ "$free_mb" -ge "$disk_mb" ] || lacks "The disk of $PWD has $free_mb MB free: $disk_mb MB are needed for .venv and a first avatar."
fi

memory_kb=$(awk '/^MemTotal:/ {print $2}' "${MEMINFO:-/proc/meminfo}" 2>/dev/null || echo 0)
[ "$((memory_kb / 1000))" -ge "$memory_mb" ] || \
  echo "This machine has $((memory_kb / 1000)) MB of memory: the demo alone takes 2200 MB while it speaks, $memory_mb MB are advised." >&2
exit $missing
