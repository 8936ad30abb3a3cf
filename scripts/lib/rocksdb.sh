# Sourced after setup.sh. RocksDB takes longer to compile than everything else together: what one build made is kept, and a
# build in an empty target folder starts from it. Never required; delete the folder and the next build compiles again.

rocksdb_version() {
  sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock
}

rocksdb_cache="${KEEL_CACHE:-$HOME/.cache/keel}/rocksdb-$(rocksdb_version)-$(uname -m)"

# The library a build in this target folder compiled itself, if any.
rocksdb_built() {
  find "$CARGO_TARGET_DIR/debug/build" -maxdepth 3 -path '*/librocksdb-sys-*/out/librocksdb.a' 2>/dev/null | head -n 1
}

# Before the first cargo command. A target folder that compiled its own keeps it: changing the variables would build again.
use_cached_rocksdb() {
  [ -n "${ROCKSDB_LIB_DIR:-}" ] && return
  [ -z "$(rocksdb_built)" ] && [ -f "$rocksdb_cache/librocksdb.a" ] || return 0
  echo "RocksDB: prebuilt, from $rocksdb_cache"
  export ROCKSDB_LIB_DIR="$rocksdb_cache" ROCKSDB_INCLUDE_DIR="$rocksdb_cache/include" ROCKSDB_STATIC=1
}

# After a build. Another process may do the same: the finished folder appears at once or not at all.
keep_rocksdb() {
  local built sources partial
  built=$(rocksdb_built)
  [ -n "$built" ] && [ ! -e "$rocksdb_cache" ] || return 0
  sources=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -type d -name "librocksdb-sys-$(rocksdb_version)" | head -n 1)
  [ -n "$sources" ] || return 0
  mkdir -p "$(dirname "$rocksdb_cache")"
  partial=$(mktemp -d "$rocksdb_cache.XXXXXX")
  cp "$built" "$partial/" && cp -r "$sources/rocksdb/include" "$partial/include" && mv -T "$partial" "$rocksdb_cache" || rm -rf "$partial"
}
