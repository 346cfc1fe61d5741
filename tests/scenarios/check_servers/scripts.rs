//! How each server is started in its copy of the tree (`trivet_tests::servers`): shell scripts that end with it in the
//! foreground.

/// A certificate for the server's address, signed by itself.
pub(crate) const CERTIFICATE: &str = "
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=mx1.example.com \\
    -addext subjectAltName=IP:10.0.0.5 -keyout /lab/new.pem -out /lab/cert.pem
chmod 644 /lab/new.pem
mv /lab/new.pem /lab/key.pem
";

pub(crate) const POSTFIX: &str = "
cat >/etc/postfix/main.cf <<'END'
compatibility_level = 3.9
myhostname = mx1.example.com
mydestination =
inet_interfaces = all
inet_protocols = ipv4
maillog_file = /dev/stdout
alias_maps =
alias_database =
smtpd_tls_security_level = may
smtpd_tls_cert_file = /lab/cert.pem
smtpd_tls_key_file = /lab/key.pem
END
sed -E -i 's/^([a-z]+ +(inet|unix|pass|unix-dgram) +[n-] +[yn-] +)y/\\1n/' /etc/postfix/master.cf
exec postfix start-fg
";

/// The same behind postscreen, with every default of it: who connects for the first time is greeted after six seconds.
pub(crate) fn postscreen() -> String {
    let service = "sed -E -i -e 's/^smtp +inet .*/smtp inet n - n - 1 postscreen/' \\
    -e 's/^#(smtpd +pass|dnsblog|tlsproxy) /\\1 /' /etc/postfix/master.cf
sed -E -i";
    POSTFIX.replacen("sed -E -i", service, 1)
}

pub(crate) const DOVECOT: &str = "
cat >/etc/dovecot/dovecot.conf <<'END'
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols = imap pop3
listen = *
log_path = /dev/stderr
ssl = yes
ssl_server_cert_file = /lab/cert.pem
ssl_server_key_file = /lab/key.pem
passdb static {
  password = secret
}
END
exec dovecot -F
";

pub(crate) const VSFTPD: &str = "
mkdir -p /run/vsftpd/empty
printf 'listen=YES\\nbackground=NO\\nanonymous_enable=YES\\nssl_enable=YES\\n' >/etc/vsftpd.conf
printf 'rsa_cert_file=/lab/cert.pem\\nrsa_private_key_file=/lab/key.pem\\n' >>/etc/vsftpd.conf
exec vsftpd
";

pub(crate) const REDIS: &str = "exec redis-server --bind 0.0.0.0 --protected-mode no --save ''";

/// Its master is nowhere, and without it it does not answer.
pub(crate) const REDIS_ORPHAN: &str = "exec redis-server --port 6381 --bind 0.0.0.0 --protected-mode no --save '' \\
    --replicaof 127.0.0.1 1 --replica-serve-stale-data no";

pub(crate) const REDIS_LOCKED: &str =
    "exec redis-server --port 6382 --bind 0.0.0.0 --save '' --requirepass hunter2";

/// Has 3000 keys to load, and takes a minute for it.
pub(crate) const REDIS_LOADING: &str = "
redis-server --port 0 --unixsocket /run/redis --dir /run --save '' --rdbcompression no --daemonize yes
until redis-cli -s /run/redis PING >/dev/null 2>&1; do sleep 0.02; done
redis-cli -s /run/redis EVAL \"for i=1,3000 do redis.call('SET', 'key' .. i, string.rep('x', 100)) end\" 0
redis-cli -s /run/redis SAVE
redis-cli -s /run/redis SHUTDOWN NOSAVE || true
exec redis-server --port 6383 --bind 0.0.0.0 --protected-mode no --dir /run --save '' \\
    --key-load-delay 20000 --loading-process-events-interval-bytes 1024
";

pub(crate) const MARIADB: &str = "
install -d -o mysql /run/mysqld
printf \"CREATE USER app@'%%' IDENTIFIED BY 'secret';\\nCREATE USER checker@'10.0.0.%%';\\n\" >/run/first.sql
exec mariadbd --no-defaults --user=mysql --datadir=/var/lib/mysql --socket=/run/mysqld/socket --pid-file=/run/mysqld/pid \\
    --max-connections=10 --max-connect-errors=5 --connect-timeout=3 --innodb-buffer-pool-size=32M --innodb-log-file-size=8M \\
    --init-file=/run/first.sql --ssl-cert=/lab/cert.pem --ssl-key=/lab/key.pem
";

pub(crate) const POSTGRESQL: &str = "
echo 'host all all 0.0.0.0/0 scram-sha-256' >/etc/postgresql/17/main/pg_hba.conf
install -o postgres -m 600 /lab/key.pem /run/key.pem
exec runuser -u postgres -- /usr/lib/postgresql/17/bin/postgres -D /var/lib/postgresql/17/main \\
    -c config_file=/etc/postgresql/17/main/postgresql.conf -c external_pid_file=/tmp/postgresql.pid \\
    -c unix_socket_directories= -c listen_addresses=0.0.0.0 -c ssl_cert_file=/lab/cert.pem -c ssl_key_file=/run/key.pem -c fsync=off
";

/// Waits for an archive that never comes, as a standby may.
pub(crate) const POSTGRESQL_STARTING: &str = "
echo 'host all all 0.0.0.0/0 scram-sha-256' >/etc/postgresql/17/main/pg_hba.conf
runuser -u postgres -- touch /var/lib/postgresql/17/main/standby.signal
exec runuser -u postgres -- /usr/lib/postgresql/17/bin/postgres -D /var/lib/postgresql/17/main \\
    -c config_file=/etc/postgresql/17/main/postgresql.conf -c external_pid_file=/tmp/postgresql.pid \\
    -c unix_socket_directories= -c listen_addresses=0.0.0.0 -c ssl=off -c port=5433 -c 'restore_command=sleep 600'
";

pub(crate) const SLAPD: &str = "
mkdir /run/data
cat >/run/slapd.conf <<'END'
modulepath /usr/lib/ldap
moduleload back_mdb
include /etc/ldap/schema/core.schema
TLSCertificateFile /lab/cert.pem
TLSCertificateKeyFile /lab/key.pem
database mdb
maxsize 10485760
suffix \"dc=example,dc=com\"
rootdn \"cn=admin,dc=example,dc=com\"
rootpw secret
directory /run/data
END
printf 'dn: dc=example,dc=com\\nobjectClass: dcObject\\nobjectClass: organization\\no: Example\\ndc: example\\n' |
    slapadd -f /run/slapd.conf
exec slapd -d 0 -f /run/slapd.conf -h 'ldap://0.0.0.0:389/ ldaps://0.0.0.0:636/'
";
