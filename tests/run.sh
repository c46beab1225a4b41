#!/usr/bin/env bash
# `./run` as a user types it, with the program of the tests: everything starts, agrees, survives kill -9, and is removed again.
# shellcheck disable=SC2317  # called by a trap
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
check_rust
cargo build --quiet --locked -p gridhouse
export GRIDHOUSE_BIN=$CARGO_TARGET_DIR/debug/gridhouse
GRIDHOUSE_RUN_DIR=$(mktemp -d /tmp/gridhouse-run-XXXXXX)
export GRIDHOUSE_RUN_DIR
# PostgreSQL runs as another user where this is root.
chmod 755 "$GRIDHOUSE_RUN_DIR"
log=$(mktemp)
run_pid=''
clean_up() {
  if [ -n "$run_pid" ]; then kill -9 "$run_pid" 2>/dev/null || true; fi
  ./run --clean >/dev/null 2>&1 || true
  rm -rf "$GRIDHOUSE_RUN_DIR" "$log"
}
trap clean_up EXIT
fail() {
  cat "$log"
  echo "tests/run.sh: $*"
  exit 1
}
expect() { grep -q -- "$1" "$log" || fail "\`$1' is not in what it said"; }

status=0 && ./run --solution frist-chain >"$log" 2>&1 || status=$?
if [ "$status" != 2 ]; then fail "an unknown solution ended with $status"; fi
expect "first-chain"
status=0 && ./run --source postgres://u@h/one --sink 'postgres://u@h/{database}' >"$log" 2>&1 || status=$?
if [ "$status" != 2 ]; then fail "one source for all solutions ended with $status"; fi
expect "cannot share one source database"

# Killed while everything runs, it leaves servers and program behind; the next run takes them over.
./run --headless --size 100 --lang en >"$log" 2>&1 &
run_pid=$!
for _ in $(seq 1 600); do
  if grep -q ' 0 s  first-chain' "$log" || ! kill -0 "$run_pid" 2>/dev/null; then break; fi
  sleep 0.1
done
expect ' 0 s  first-chain'
kill -9 "$run_pid"
wait "$run_pid" 2>/dev/null || true
run_pid=''

./run --headless --size 100 --duration 2 --lang en >"$log" 2>&1 || fail "the second run ended with $?"
expect "is taken over"
expect "holds rows already"
solutions=$("$GRIDHOUSE_BIN" solution list --plain | wc -l)
if [ "$(grep -c '^everything agrees' "$log")" != "$solutions" ]; then fail "not every solution agrees"; fi

./run --clean >"$log" 2>&1 || fail "--clean ended with $?"
if [ -e "$GRIDHOUSE_RUN_DIR" ]; then fail "--clean left $GRIDHOUSE_RUN_DIR"; fi
