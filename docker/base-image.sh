#!/usr/bin/env bash
# Makes the base image of docker/Dockerfile where no registry can be reached: Debian's debootstrap, `docker import`, under a tag of
# our own that carries the hash of what made it, so that it is made once and kept. Prints the tag; progress goes to stderr.
#
#   export PG_SENTINEL_BASE="$(docker/base-image.sh)"
#
# Needs root, debootstrap (apt-get install debootstrap) and a Docker engine. Where there is a registry it is not needed: the default
# base, debian:trixie-slim, is pulled.
set -euo pipefail

SUITE=trixie
MIRROR="${PG_SENTINEL_DEBIAN_MIRROR:-http://deb.debian.org/debian}"
# What this machine trusts: a proxy between it and npm may have an authority of its own, which a build needs to know, too.
CERTIFICATES="${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"

say() { printf '%s\n' "$*" >&2; }

recipe() {
  cat "${BASH_SOURCE[0]}"
  printf '%s\n' "$MIRROR" "$(dpkg --print-architecture)"
  cat "$CERTIFICATES" 2>/dev/null || true
}
tag="pg-sentinel-base:$SUITE-$(recipe | sha256sum | cut -c1-12)"

if docker image inspect "$tag" >/dev/null 2>&1; then
  say "$tag is there"
  printf '%s\n' "$tag"
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
  say "cannot make $tag: it takes root and debootstrap (apt-get install debootstrap)"
  exit 1
fi

root="$(mktemp -d "${TMPDIR:-/tmp}/pg-sentinel-base.XXXXXX")"
# debootstrap mounts /proc and /sys in there while it works; it may leave them behind when it fails.
finish() {
  umount "$root/proc" "$root/sys" 2>/dev/null || true
  rm -rf --one-file-system "$root"
}
trap finish EXIT
chmod 755 "$root"

say "making $tag from $MIRROR: takes a minute or two"
debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$root" "$MIRROR" >&2
[ -e "$CERTIFICATES" ] && cp "$CERTIFICATES" "$root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/archives/*.deb "$root"/usr/share/{doc,man,locale}/*
tar -C "$root" --numeric-owner -c . | docker import --change 'CMD ["bash"]' - "$tag" >&2
printf '%s\n' "$tag"
