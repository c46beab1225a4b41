#!/usr/bin/env bash
# Holds the corpus of tests/slt against a PostgreSQL of its own: tests/slt-postgres.sh [--fill] [FILE …]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
check_rust
check_postgres

dir=$(mktemp -d "${TMPDIR:-/tmp}/gridhouse-slt.XXXXXX")
chmod 755 "$dir"
if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; fi
server=("$pg_bin/pg_ctl" -D "$dir/data" -s)
finish() {
  as_postgres "${server[@]}" -m immediate stop || true
  rm -rf "$dir"
}
trap finish EXIT

as_postgres "$pg_bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --lc-collate=C --lc-ctype=C.UTF-8 --no-sync >/dev/null
# Reached through its socket alone, so that no port can be taken.
as_postgres "${server[@]}" -w -l "$dir/log" -o "-c listen_addresses='' -c fsync=off -k '$dir'" start
export PGHOST=$dir PGUSER=postgres PGDATABASE=postgres
cargo run --quiet -p gridhouse-slt --example postgres -- "$@"
