//! The servers of the examples: scripts over TCP and TLS, functions over UDP, and whoever runs commands.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use checkd::exec::frame::{End, How, REPORT_LIMIT, Report, Request, body, frame_length};

use crate::rows::COMMANDS;
use crate::support::World;
use crate::support::authority::Issued;
use crate::support::datagrams;
use crate::support::script::{self, Turn};
use crate::support::servers::Server;

#[derive(Debug)]
pub enum Peer {
    /// Over TCP.
    Script(&'static [Turn]),
    /// Over TCP: a page for each of these paths, path and body.
    Pages(&'static [(&'static str, &'static str)]),
    /// Over UDP: what is answered to a request. Empty: nothing.
    Datagrams(fn(&[u8]) -> Vec<u8>),
    /// An address, and keys that lead there.
    Address(&'static str, &'static str),
}

/// Where a peer is.
pub struct Place {
    pub address: String,
    pub port: Option<u16>,
    pub keys: &'static str,
}

impl Peer {
    pub fn start(&self, leaf: &Issued) -> Place {
        let address = match self {
            Self::Script(script) => {
                let (script, config) = (*script, script::config(leaf));
                Server::start(move |stream| script::serve(stream, script, &config, None)).address
            }
            Self::Pages(pages) => {
                let pages = *pages;
                Server::start(move |stream| serve_page(&stream, pages)).address
            }
            Self::Datagrams(answer) => {
                let answer = *answer;
                let serve = move |socket: &UdpSocket, _, request: &[u8], from| {
                    let reply = answer(request);
                    if !reply.is_empty() {
                        let _ = socket.send_to(&reply, from);
                    }
                };
                datagrams::Server::start(serve).address
            }
            Self::Address(address, keys) => {
                return Place { address: (*address).to_owned(), port: None, keys };
            }
        };
        let port = address.parse::<SocketAddr>().unwrap().port();
        Place { address, port: Some(port), keys: "" }
    }
}

fn serve_page(mut stream: &TcpStream, pages: &[(&str, &str)]) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default();
    if lines.all(|line| !line.is_empty()) {
        return;
    }
    let page = pages.iter().find(|(of, _)| *of == path);
    let answer = page.map_or("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), |(_, body)| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let _ = stream.write_all(answer.as_bytes());
}

/// Whoever runs commands: those of the rows, and no others, succeed, and only for the address 192.0.2.1.
pub fn serve_commands(world: &World) -> thread::JoinHandle<()> {
    world.root.write("run/trivet-checkd-exec/empty", "");
    let listener = UnixListener::bind(world.root.path().join("run/trivet-checkd-exec/socket")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer_command(stream);
        }
    })
}

fn answer_command(mut stream: UnixStream) {
    let mut bytes = Vec::new();
    let length = loop {
        let mut portion = [0; 4096];
        let count = stream.read(&mut portion).unwrap();
        bytes.extend(&portion[..count]);
        match frame_length(&bytes, REPORT_LIMIT) {
            Ok(Some(length)) if bytes.len() >= length => break length,
            Ok(_) if count > 0 => {}
            _ => return,
        }
    };
    let request = Request::decode(body(&bytes[..length])).unwrap();
    let words: Vec<&str> = request.command.iter().map(String::as_str).collect();
    let well = COMMANDS.iter().any(|command| command.iter().eq(words.iter()));
    let line = if well { "as it should be".to_owned() } else { format!("not one of the rows': {words:?}") };
    let end = End { how: How::Exited(u8::from(!well)), last_line: line.into_bytes(), survivors: 0 };
    for report in [Report::Started, Report::Ended(end)] {
        let _ = stream.write_all(&report.encode());
    }
}
