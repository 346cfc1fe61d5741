//! MESSAGE_ID of journal entries, each with its text in units/trivet.catalog. An ID never changes its meaning, and none
//! is used again.

/// Fields: VIRTUAL_ROUTER, STATE, STATE_FROM, REASON.
pub(crate) const TRANSITION: &str = "5b2f0c1e7f6a4e0f9c3d8a41d7e69b12";
/// Fields: VIRTUAL_ROUTER, PEER, DISCARD (a name of `Counters`).
pub(crate) const DISCARDED: &str = "c66d5939bdb64c758e4f1aab0e5cb1f8";
/// Two Actives at once. Fields: VIRTUAL_ROUTER, PEER.
pub(crate) const CONFLICT: &str = "1dbae1bbe38e4a2b93984c3bbb7707b2";
/// A peer is configured otherwise, and believed all the same. Fields: VIRTUAL_ROUTER, PEER.
pub(crate) const REMARK: &str = "c2ff68fb50e94ca3b0054b628f87604a";
/// Somebody took an address away. Fields: VIRTUAL_ROUTER, ADDRESS.
pub(crate) const ADDRESS_LOST: &str = "84e11fe2669243f48fb98de0719d456f";
/// The kernel does not do with an address what is asked of it. Fields: VIRTUAL_ROUTER, ADDRESS.
pub(crate) const ADDRESS_REFUSED: &str = "c4acf6ba8f9e4386b7464c3cf7bea15e";
pub(crate) const RELOADED: &str = "1c9658b0bc8040b588cb9e0a266f8d28";
pub(crate) const NOT_RELOADED: &str = "a2490eebfabd461f9d79048971a2691e";
/// systemd does not start or stop a target of ours. Fields: VIRTUAL_ROUTER, TARGET.
pub(crate) const TARGET_REFUSED: &str = "0d32cf82395648db8a6dee8eb9d55abc";
/// Something that is tracked went up or down. Fields: TRACKED, STATE, STATE_FROM, REASON.
pub(crate) const TRACKED: &str = "16ef48609375405d853334b421bbf6ec";
/// An operator took a router out of service, or put it back. Fields: VIRTUAL_ROUTER, MAINTENANCE (on, off), BY, REASON.
pub(crate) const MAINTENANCE: &str = "6589f4cbd6ad45dfade5feadc01331bf";
/// A router takes part without having heard of what it tracks. Fields: VIRTUAL_ROUTER.
pub(crate) const LAST_CHOICE: &str = "723ca19f667546388d343c9866439373";
