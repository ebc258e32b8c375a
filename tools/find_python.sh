#!/bin/sh
# Prints a Python that can run everything: 3.11 or 3.12, with a shared libpython for Triton's Python backend.
# $PYTHON, when set, is the only candidate. Otherwise one line on stderr says what is missing.
check='
import ctypes, os, sys, sysconfig
if not (3, 11) <= sys.version_info[:2] <= (3, 12):
    sys.exit("is Python %d.%d" % sys.version_info[:2])
name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
folder = sysconfig.get_config_var("LIBDIR") or ""
places = [os.path.join(folder, sysconfig.get_config_var("MULTIARCH") or ""), folder, os.path.join(sys.base_prefix, "lib")]
if not any(os.path.exists(os.path.join(place, name)) for place in places):
    try:
        ctypes.CDLL(name)
    except OSError:
        sys.exit("has no shared " + name)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no venv module (on Debian: apt-get install python3-venv)")
print(sys.executable)
'
reasons=""
for candidate in ${PYTHON:-python3.12 python3.11 python3}; do
  command -v "$candidate" >/dev/null 2>&1 || continue
  if found=$("$candidate" -c "$check" 2>&1); then
    echo "$found"
    exit 0
  fi
  reasons="$reasons $candidate $(printf '%s' "$found" | tail -n 1);"
done
echo "Python 3.11 or 3.12 with a shared libpython and venv is needed:${reasons:- none is on PATH;} name one with PYTHON=…" >&2
exit 1
