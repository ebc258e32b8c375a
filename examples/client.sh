#!/bin/sh
# Sends a speech and follows its task until it has been said: examples/client.sh speech.wav
#
# LATENTSYNC_URL is the server (default: http://127.0.0.1:11001), LATENTSYNC_KEY an API key where one is needed.
# Prints the task as JSON after each change; exits with 0 when the speech was played to its end.
set -eu
speech=${1:?"the file with the speech is missing: examples/client.sh speech.wav"}
url=${LATENTSYNC_URL:-http://127.0.0.1:11001}
ask() { curl --silent --show-error --fail-with-body ${LATENTSYNC_KEY:+-H "Authorization: Bearer $LATENTSYNC_KEY"} "$@"; }

answer=$(ask -F "audio_file=@$speech" -F channel=main "$url/v1/tasks") || { echo "$answer" >&2; exit 1; }
task_id=$(echo "$answer" | sed 's/.*"task_id": *"\([^"]*\)".*/\1/')

ask --no-buffer "$url/v1/tasks/$task_id/events" | while IFS= read -r line; do  # server-sent events
  case $line in "data: "*) printf '%s\n' "${line#data: }" ;; esac
done
ask "$url/v1/tasks/$task_id" | grep -q '"state": *"done"'
