#!/bin/sh
# What TimeEval expects of an algorithm image: one JSON argument in, scores in /results out, as the caller's user.
set -eu

if [ -z "${ALGORITHM_MAIN-}" ]; then
    echo "this image names no ALGORITHM_MAIN" >&2
    exit 1
fi

case "${1-}" in
manifest) exec cat /app/manifest.json ;;
execute-algorithm) shift && set -- python3 "$ALGORITHM_MAIN" "$@" ;;
esac

if [ -n "${LOCAL_UID-}" ] && [ -n "${LOCAL_GID-}" ]; then
    # Libraries ask who they are; an id without an entry has no answer.
    getent group "$LOCAL_GID" >/dev/null || echo "user:x:$LOCAL_GID:" >>/etc/group
    getent passwd "$LOCAL_UID" >/dev/null || echo "user:x:$LOCAL_UID:$LOCAL_GID::/app:/bin/sh" >>/etc/passwd
    chown "$LOCAL_UID:$LOCAL_GID" /app
    exec setpriv --reuid="$LOCAL_UID" --regid="$LOCAL_GID" --clear-groups -- env HOME=/app "$@"
fi
exec "$@"
