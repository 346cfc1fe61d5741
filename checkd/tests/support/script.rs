//! A server that follows a script: it hears, and it says. It can go wrong at each thing that it says, in every way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

/// One step of a server that does as it should.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Until the peer has said this.
    Hear(&'static [u8]),
    Say(&'static [u8]),
}

/// What goes wrong instead of something that is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Not a word, but the connection stays.
    Silent,
    /// The right words, a byte each 100 ms, and never the last one.
    Drip,
    /// The first half of it, and the connection is reset.
    Reset,
    /// The first half of it, and nothing more will come; the peer may go on.
    HalfClose,
    /// Bytes without end and without a line's end.
    Garbage,
}

pub const MISDEEDS: [Misdeed; 5] =
    [Misdeed::Silent, Misdeed::Drip, Misdeed::Reset, Misdeed::HalfClose, Misdeed::Garbage];

const DRIP: Duration = Duration::from_millis(100);

/// Follows the script, and goes wrong at the saying with this number, from 0. Ends with the peer.
pub fn serve(mut stream: TcpStream, script: &[Turn], wrong: Option<(usize, Misdeed)>) {
    let mut sayings = 0;
    for turn in script {
        match *turn {
            Turn::Hear(words) => {
                if hear(&mut stream, words).is_err() {
                    return;
                }
            }
            Turn::Say(words) => {
                if let Some((_, misdeed)) = wrong.filter(|(number, _)| *number == sayings) {
                    let _ = go_wrong(&mut stream, words, misdeed);
                    return;
                }
                sayings += 1;
                if stream.write_all(words).is_err() {
                    return;
                }
            }
        }
    }
    wait_for_end(&mut stream);
}

/// How many things a server with this script says.
pub fn sayings(script: &[Turn]) -> usize {
    script.iter().filter(|turn| matches!(turn, Turn::Say(_))).count()
}

fn hear(stream: &mut TcpStream, words: &[u8]) -> io::Result<()> {
    let mut heard = Vec::new();
    while !heard.ends_with(words) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        heard.extend(byte);
    }
    Ok(())
}

fn go_wrong(stream: &mut TcpStream, words: &[u8], misdeed: Misdeed) -> io::Result<()> {
    let half = &words[..words.len() / 2];
    match misdeed {
        Misdeed::Silent => {}
        Misdeed::Drip => drip(stream, words)?,
        Misdeed::Reset => {
            stream.write_all(half)?;
            return SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        }
        Misdeed::HalfClose => {
            stream.write_all(half)?;
            stream.shutdown(Shutdown::Write)?;
        }
        Misdeed::Garbage => loop {
            stream.write_all(&[0xa5; 4096])?;
        },
    }
    wait_for_end(stream);
    Ok(())
}

fn drip(stream: &mut TcpStream, words: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(DRIP))?;
    for byte in &words[..words.len() - 1] {
        stream.write_all(&[*byte])?;
        // A pause that ends early when the peer goes.
        if matches!(stream.read(&mut [0; 16]), Ok(0)) {
            break;
        }
    }
    stream.set_read_timeout(None)
}

fn wait_for_end(stream: &mut TcpStream) {
    while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
}
