#!/bin/sh
set -eu
PGDATA=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
  POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE"); export POSTGRES_PASSWORD; unset POSTGRES_PASSWORD_FILE
  mkdir -p "$PGDATA"; chown -R postgres "$PGDATA"
  exec setpriv --reuid postgres --regid postgres --init-groups "$0"
fi
umask 077
printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
/usr/lib/postgresql/*/bin/initdb -D "$PGDATA" -U postgres --pwfile /tmp/password --auth scram-sha-256 --encoding UTF8 --locale C.UTF-8 >/dev/null
rm /tmp/password; unset POSTGRES_PASSWORD
echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
exec /usr/lib/postgresql/*/bin/postgres -D "$PGDATA" -c listen_addresses='*' -c fsync=off
