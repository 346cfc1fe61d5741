//! Servers with TLS on loopback ports: openssl's s_server, which is real and has every option; nginx; and one that ends
//! as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use daemon::testing::TempRoot;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream};

use super::authority::Issued;

pub struct SServer {
    child: Child,
    pub address: String,
}

impl SServer {
    /// `options`: more of s_server's.
    pub fn start(leaf: &Issued, options: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert"])
            .arg(&leaf.path)
            .arg("-cert_chain")
            .arg(&leaf.path)
            .arg("-key")
            .arg(&leaf.path)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl can be started: install openssl");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // "ACCEPT 127.0.0.1:40735"
        let address = loop {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "s_server ended with {:?}", child.wait());
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                break address.to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self { child, address }
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many bytes a server of TLS 1.3 says before it waits for the client's Finished.
pub fn first_flight(address: &str, name: &str) -> usize {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    client.write_tls(&mut stream).unwrap();
    let mut bytes = Vec::new();
    // Unless s_server was interrupted between its records, they arrive as one; nothing follows them.
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.len() > 600, "{} bytes are no ServerHello with a certificate", bytes.len());
    bytes.len()
}

/// A web server with TLS that answers once, and closes: with close_notify or without.
pub fn respond(mut stream: TcpStream, config: &Arc<ServerConfig>, answer: &str, says_so: bool) {
    let mut server = ServerConnection::new(Arc::clone(config)).unwrap();
    let mut tls = Stream::new(&mut server, &mut stream);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 1024];
        let Ok(count @ 1..) = tls.read(&mut buffer) else { return };
        request.extend_from_slice(&buffer[..count]);
    }
    let _ = tls.write_all(answer.as_bytes());
    if says_so {
        server.send_close_notify();
        let _ = server.write_tls(&mut stream);
    }
    // A FIN, not a reset.
    let _ = stream.shutdown(Shutdown::Write);
    super::servers::wait_for_end(stream);
}

impl Issued {
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.unwrap(), key);
        Arc::new(config.unwrap())
    }
}

/// nginx with TLS on a loopback port.
pub struct Nginx {
    child: Child,
    pub address: String,
    log: PathBuf,
}

const NGINX: &str = "daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/error.log notice;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c;
  uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
  server {
    listen ADDRESS ssl; ssl_protocols VERSIONS; ssl_certificate PEM; ssl_certificate_key PEM;
    location / { return 200 ok; }
  }
}
";

impl Nginx {
    pub fn start(root: &TempRoot, leaf: &Issued, versions: &str) -> Self {
        // Free a moment ago: nobody else on this machine asks for this one.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let folder = root.path().join(format!("nginx-{versions}"));
        std::fs::create_dir_all(&folder).unwrap();
        let config = NGINX
            .replace("FOLDER", &folder.display().to_string())
            .replace("ADDRESS", &address)
            .replace("VERSIONS", versions)
            .replace("PEM", &leaf.path.display().to_string());
        std::fs::write(folder.join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx")
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx can be started: install nginx-light");
        super::until("nginx listens", || TcpStream::connect(&address).ok());
        Self { child, address, log: folder.join("error.log") }
    }

    /// What it wrote to its log about its clients.
    pub fn complaints(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains("client")).map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
