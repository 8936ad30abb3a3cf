# Sourced by the scripts beside it, from the top of the repository: installs what is missing, and nothing that is there.

# The newest nextest and cargo-deny known to build with the toolchain of Cargo.toml's rust-version.
NEXTEST_VERSION=0.9.143
CARGO_DENY_VERSION=0.20.2
STARKNET_PY_VERSION=0.30.0
starknet_py="${KEEL_CACHE:-$HOME/.cache/keel}/python-starknet-py-$STARKNET_PY_VERSION"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'failed: %s\n' "$*" >&2; exit 1; }

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
# Installed cargo tools live here, also in a shell that did not read its profile.
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] || ldconfig -p 2>/dev/null | grep -q 'libclang' \
    || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}

# RocksDB is C++ and its bindings are made with libclang; the rest is Rust and npm.
install_system_packages() {
  local missing=()
  command -v c++ >/dev/null || missing+=(g++)
  command -v clang >/dev/null || missing+=(clang)
  has_libclang || missing+=(libclang-dev)
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || die "install ${missing[*]}: not root, and there is no sudo"
  apt_install "${missing[@]}"
}

# A mirror that hangs must not take the run with it.
APT_SECONDS_MAX=600

apt_install() { # package...
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" timeout "$APT_SECONDS_MAX" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive timeout "$APT_SECONDS_MAX" apt-get install -y -qq --no-install-recommends "$@" </dev/null
}

# The browser that opens the status page in tests; nothing else needs it. Fails where it cannot be had.
install_chromium() {
  chromium --version >/dev/null 2>&1 && return
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || return 1
  say "installing chromium"
  # On Ubuntu the package is a stub of that name which may not run.
  apt_install chromium && chromium --version >/dev/null 2>&1
}

# What some drills bend a process with: its disk, its clock. Fails where they cannot be had.
install_drill_tools() {
  local missing=()
  command -v strace >/dev/null || missing+=(strace)
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(faketime)
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || return 1
  say "installing ${missing[*]}"
  apt_install "${missing[@]}"
}

require_toolchains() {
  command -v cargo >/dev/null || die "Rust is missing: https://rustup.rs"
  command -v npm >/dev/null || die "Node.js 20 or newer is missing"
  local node_major
  node_major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
  [ "$node_major" -ge 20 ] || die "Node.js 20 or newer is needed, this is $(node --version)"
}

# The packages of each folder's lock file, unless they are there. Not `npm ci`: it insists on lock entries for platforms for which the
# anvil package has no build, and such entries cannot be made.
install_node_packages() {
  local folder
  for folder in "$@"; do
    [ "$folder/node_modules/.keel-lock" -nt "$folder/package-lock.json" ] && continue
    say "npm packages of $folder"
    (cd "$folder" && npm install --no-save --no-audit --no-fund --loglevel=error </dev/null)
    touch "$folder/node_modules/.keel-lock"
  done
}

install_nextest() {
  cargo nextest --version >/dev/null 2>&1 && return
  say "installing cargo-nextest $NEXTEST_VERSION"
  # An unoptimised build of it takes a fraction of the time and runs tests as fast.
  CARGO_TARGET_DIR="$CARGO_TARGET_DIR/tools" cargo install cargo-nextest --version "$NEXTEST_VERSION" --locked --debug </dev/null
}

# starknet.py in a Python environment of its own version, kept between runs: "$starknet_py/bin/python".
install_starknet_py() {
  "$starknet_py/bin/python" -c 'import starknet_py' 2>/dev/null && return
  say "installing starknet.py $STARKNET_PY_VERSION into $starknet_py"
  python3 -m venv --clear "$starknet_py" && "$starknet_py/bin/pip" install -q "starknet-py==$STARKNET_PY_VERSION" </dev/null
}
