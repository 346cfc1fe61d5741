//! The frames of the captures in tests/captured (see `record` there).

use std::path::Path;

/// Header of a file, and of a frame, bytes (the classic format of libpcap, little-endian).
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

/// Ethernet frames, in order.
pub(crate) fn frames(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_le_bytes(), "{} is no little-endian pcap", file.display());
    let mut rest = &bytes[FILE_HEADER..];
    let mut frames = Vec::new();
    while let Some(header) = rest.first_chunk::<FRAME_HEADER>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let end = FRAME_HEADER + usize::try_from(length).unwrap();
        frames.push(rest[FRAME_HEADER..end].to_vec());
        rest = &rest[end..];
    }
    frames
}

/// Every capture, by name.
pub(crate) fn all() -> Vec<(String, Vec<Vec<u8>>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captured");
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let captures = entries.filter(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut all: Vec<_> = captures.map(|path| (name(&path), frames(&path))).collect();
    all.sort();
    assert!(!all.is_empty(), "there are no captures");
    all
}
