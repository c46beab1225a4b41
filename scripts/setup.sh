# shellcheck shell=bash
# What `run` and `test` share: where the build goes, and that the tools are there. Sourced, never run.
#
# Installs Debian packages when it is root; otherwise it says what to type and ends with status 2.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/gridhouse/target}
case $(stat -f -c %T "$HOME" 2>/dev/null) in tmpfs | ramfs) export CARGO_INCREMENTAL=0 ;; esac

say() { printf '%s\n' "$*"; }
complain() { printf '%s\n' "$*" >&2; }

# The directory with PostgreSQL's server programs: Debian's newest version, else what is on the PATH.
find_postgres() {
  local found
  found=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n 1)
  if [ -z "$found" ]; then found=$(command -v postgres || true); fi
  if [ -n "$found" ] && [ -x "$(dirname "$found")/initdb" ]; then
    # shellcheck disable=SC2034  # for those who source this
    pg_bin=$(dirname "$found")
    return 0
  fi
  return 1
}

# need PACKAGE WHAT-FOR: installs a Debian package, or says how.
need() {
  local package=$1 what=$2
  if [ "$(id -u)" != 0 ]; then
    complain "$what is missing. Type: sudo apt-get update && sudo apt-get install -y $package"
    exit 2
  fi
  say "Installing $package ($what) ..."
  local log
  log=$(mktemp)
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y "$package" >"$log" 2>&1 &&
    ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "$package"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    complain "$what could not be installed. Try: apt-get update && apt-get install -y $package"
    exit 2
  fi
  rm -f "$log"
}

# want PACKAGE WHAT-FOR: installs a Debian package where that works; what goes without it says so itself.
want() {
  local package=$1 what=$2
  if [ "$(id -u)" != 0 ]; then return; fi
  say "Installing $package ($what) ..."
  DEBIAN_FRONTEND=noninteractive apt-get install -y "$package" >/dev/null 2>&1 ||
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "$package"; } >/dev/null 2>&1 ||
    complain "$package could not be installed, and $what is left out"
}

# Cargo tells a source that has changed by its time, and names the crates of every checkout alike. Where another checkout has
# built into the same directory since, its newer results would pass for those of this one.
claim_build() {
  if [ "$(cat "$CARGO_TARGET_DIR/.checkout" 2>/dev/null)" != "$root" ]; then
    mkdir -p "$CARGO_TARGET_DIR"
    find "$root/bench" "$root/crates" "$root/sim" "$root/tests" "$root/xtask" -name '*.rs' -exec touch {} +
    printf '%s\n' "$root" >"$CARGO_TARGET_DIR/.checkout"
  fi
}

# The Rust toolchain and a linker, before anything is built.
check_rust() {
  claim_build
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then PATH=$HOME/.cargo/bin:$PATH; fi
  if ! command -v cargo >/dev/null; then
    complain "Rust is missing. Type: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    exit 2
  fi
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
  have=$(rustc --version | awk '{print $2}')
  if [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ]; then
    complain "Rust $wanted or newer is needed, this is $have. Type: rustup update stable"
    exit 2
  fi
  command -v cc >/dev/null || need build-essential "a C compiler (Rust links with it)"
}

# PostgreSQL's server and client.
check_postgres() {
  find_postgres || { need postgresql "PostgreSQL" && find_postgres; } || {
    complain "PostgreSQL's initdb and postgres are not found under /usr/lib/postgresql nor on the PATH"
    exit 2
  }
  command -v psql >/dev/null || need postgresql-client "psql"
  # PostgreSQL refuses to run as root: then it runs as this user.
  if [ "$(id -u)" = 0 ] && ! id postgres >/dev/null 2>&1; then
    useradd --system --no-create-home --shell /usr/sbin/nologin postgres
  fi
}

# python_with DIRECTORY REQUIREMENTS WHAT: an environment of Python with these packages, made again where the list of them changed.
python_with() {
  local directory=$1 wanted=$2 what=$3
  if cmp -s "$wanted" "$directory/requirements.txt"; then return; fi
  command -v python3 >/dev/null || need python3 "Python"
  python3 -c 'import ensurepip' 2>/dev/null || need python3-venv "Python's environments"
  say "Installing $what into $directory ..."
  rm -rf "$directory"
  mkdir -p "$(dirname "$directory")"
  python3 -m venv "$directory"
  "$directory/bin/pip" --quiet --disable-pip-version-check install -r "$wanted"
  cp "$wanted" "$directory/requirements.txt"
}

# as_postgres COMMAND ...: runs a command as the user that PostgreSQL runs as.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    (cd / && runuser -u postgres -- env -u XDG_RUNTIME_DIR LC_ALL=C "$@")
  else
    (cd / && LC_ALL=C "$@")
  fi
}
