#!/bin/sh
# Restart one of the demo's services: end it, and wait till its supervisor has started it anew.
# Usage: restart.sh NAME, with RUN_FOLDER in the environment (`exec.env` in the configuration).
set -eu

case "${1:-}" in
  '' | *[!a-z]*) echo "no service is called '${1:-}'" >&2; exit 2 ;;
esac
file=$RUN_FOLDER/$1.pid
[ -r "$file" ] || { echo "there is no service $1 here: $file can't be read" >&2; exit 2; }

old=$(cat "$file")
kill "$old" 2>/dev/null || echo "$1 (process $old) had ended already"
tries=0
while new=$(cat "$file"); [ "$new" = "$old" ]; do
  tries=$((tries + 1))
  [ "$tries" -le 100 ] || { echo "$1 (process $old) was not started anew within 10 s" >&2; exit 1; }
  sleep 0.1
done
echo "$1: process $old was ended, process $new runs"
