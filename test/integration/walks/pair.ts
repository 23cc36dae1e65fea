// A primary and a standby as somebody makes them with Debian's tools, on hosts of a test's own: what the walk "Adopt a running pair" begins with.
import type { Host } from './hosts.ts';

const COMMAND_MS = 120_000;

/** The package may have made one. */
const EMPTY = 'rm -rf /etc/postgresql/15/main /var/lib/postgresql/15/main';

const CONFIGURE = `cat >> /etc/postgresql/15/main/postgresql.conf <<END
listen_addresses = '*'
shared_buffers = 32MB
work_mem = 7MB
END
cat >> /etc/postgresql/15/main/pg_hba.conf <<END
host all all 10.0.0.0/16 scram-sha-256
host replication standby 10.0.0.0/16 scram-sha-256
END`;

const PRIMARY = `set -e
${EMPTY}
pg_createcluster 15 main
${CONFIGURE}
pg_ctlcluster 15 main start
runuser -u postgres -- psql -c "create role standby login replication password 'secret'" -c "create role app login password 'secret'" -c "create database shop owner app"
PGPASSWORD=secret psql -h 10.0.0.11 -U app shop -c "create table orders (id text primary key)"`;

const STANDBY = `set -e
${EMPTY}
pg_createcluster 15 main
${CONFIGURE}
rm -r /var/lib/postgresql/15/main
runuser -u postgres -- pg_basebackup -D /var/lib/postgresql/15/main -d 'host=10.0.0.11 user=standby password=secret' -R -C -S standby -c fast -X stream
pg_ctlcluster 15 main start`;

/** Both run, the first one as primary, with a role and a table for the client. */
export async function makePair(primary: Host, standby: Host): Promise<void> {
  for (const [host, text] of [
    [primary, PRIMARY],
    [standby, STANDBY],
  ] as const) {
    const { code, output } = await host.run(text, COMMAND_MS);
    if (code !== 0) throw new Error(`${host.name}: ${output}`);
  }
}
