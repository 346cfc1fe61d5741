//! The key of `type = "ping"`.

use daemon::reader::Reader;

use crate::probe::ping::Settings;

pub(super) const KEYS: &[&str] = &["size"];

/// Takes all keys of its kind out of `reader`; a mistake leaves its key's default.
pub(super) fn read(reader: &mut Reader<'_>) -> Settings {
    if let Some(port) = reader.value("port") {
        reader.report().error(&port.at, "a ping has no port").hint("leave 'port' out");
    }
    let size = reader.integer::<u16>("size", Settings::SIZES);
    size.map_or_else(Settings::default, |size| Settings { size: size.value })
}
