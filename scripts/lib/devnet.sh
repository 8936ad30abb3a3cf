# Sourced after setup.sh. starknet-devnet is published as source only and takes half an hour of a quiet machine to compile: it is
# built behind everything else, kept, and taken up when it is done.

STARKNET_DEVNET_VERSION=0.10.1
starknet_devnet_folder="${KEEL_CACHE:-$HOME/.cache/keel}/starknet-devnet-$STARKNET_DEVNET_VERSION"
starknet_devnet="$starknet_devnet_folder/bin/starknet-devnet"
starknet_devnet_target="$CARGO_TARGET_DIR/starknet-devnet"
starknet_devnet_log="$CARGO_TARGET_DIR/starknet-devnet.log"
starknet_devnet_build=

has_starknet_devnet() { "$starknet_devnet" --version 2>/dev/null | grep -qF "$STARKNET_DEVNET_VERSION"; }

# The build itself, in a process group of its own. A finished folder appears at once or not at all; what an interrupted build made
# is what the next one goes on from. The group ends with the run that started it, however that ends.
build_starknet_devnet() { # pid of the run
  local partial="$starknet_devnet_folder.partial" cargo
  rm -rf "$partial"
  CARGO_TARGET_DIR="$starknet_devnet_target" CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=32 CARGO_PROFILE_RELEASE_DEBUG=false \
    cargo install starknet-devnet --version "$STARKNET_DEVNET_VERSION" --locked --root "$partial" &
  cargo=$!
  while kill -0 "$cargo" 2>/dev/null; do
    kill -0 "$1" 2>/dev/null || kill -KILL 0
    sleep 1
  done
  wait "$cargo" || return 1
  rm -rf "$starknet_devnet_folder"
  mv -T "$partial" "$starknet_devnet_folder" && rm -rf "$starknet_devnet_target"
}

start_starknet_devnet_build() {
  has_starknet_devnet && return
  say "building starknet-devnet $STARKNET_DEVNET_VERSION in the background, log in $starknet_devnet_log"
  mkdir -p "$starknet_devnet_target" "$(dirname "$starknet_devnet_folder")"
  export starknet_devnet_folder starknet_devnet_target STARKNET_DEVNET_VERSION
  export -f build_starknet_devnet
  setsid nice -n 19 bash -c 'build_starknet_devnet "$1"' build "$$" </dev/null >"$starknet_devnet_log" 2>&1 &
  starknet_devnet_build=$!
  trap stop_starknet_devnet_build EXIT
}

# Until it is there, its build has failed, or the run is this many seconds old. The log of a build that worked goes.
await_starknet_devnet() { # seconds
  while [ -n "$starknet_devnet_build" ] && kill -0 "$starknet_devnet_build" 2>/dev/null && [ "$SECONDS" -lt "$1" ]; do
    sleep 2
  done
  has_starknet_devnet && rm -f "$starknet_devnet_log"
}

stop_starknet_devnet_build() {
  [ -n "$starknet_devnet_build" ] && kill -KILL -- "-$starknet_devnet_build" 2>/dev/null
  starknet_devnet_build=
}
