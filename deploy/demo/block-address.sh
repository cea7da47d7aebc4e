#!/bin/sh
# Block an address at the demo's edge: block-address.sh block|unblock|check ADDRESS APP, with RUN_FOLDER in the environment.
set -eu

file=$RUN_FOLDER/blocked
case "$1" in
  block) grep -qxF -- "$2" "$file" || echo "$2" >>"$file" ;;
  unblock) grep -vxF -- "$2" "$file" >"$file.new" || true; mv "$file.new" "$file" ;;
  check) grep -qxF -- "$2" "$file" ;;
  *) echo "what is '$1'?" >&2; exit 2 ;;
esac
