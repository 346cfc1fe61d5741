//! What a MySQL server says (MySQL internals, "Connection Phase").

/// Protocol 10 of "8.0.36", with CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION and CLIENT_PLUGIN_AUTH.
pub const GREETING: &[u8] = b"J\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00abcdefgh\x00\x01\x82\xff\x02\x00\x08\x00\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00mysql_native_password\x00";
/// How the login of a user without password ends.
pub const LOGIN: &[u8] = b"mysql_native_password\0";
pub const ACCESS_DENIED: &[u8] = b"\x1e\x00\x00\x02\xff\x15\x04#28000Access denied for 't'";
pub const TOO_MANY: &[u8] = b"\x17\x00\x00\x00\xff\x10\x04Too many connections";
