#!/usr/bin/env bash
# Looks up the images' packages in PyPI's list of vulnerabilities. Exit 0: none but those below; 1: some, or a package
# that the service doesn't know; 75: the service can't be asked from here, and nothing was audited.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# One --ignore-vuln ADVISORY a line, with the reason beside it.
ignored=(
)
if ! .venv/bin/python -c 'import urllib.request as u; u.urlopen("https://pypi.org/pypi/pip/25.0/json", timeout=20)' 2>/dev/null; then
  echo "NOT AUDITED: the list of vulnerabilities at PyPI can't be asked from this machine" >&2
  exit 75
fi
found=0
for file in docker/requirements/*.txt; do
  .venv/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement "$file" "${ignored[@]}" || found=1
done
exit $found
