//! ipvsd.toml.

use super::*;

#[test]
fn the_daemon_as_a_whole() {
    let root = TempRoot::new();
    for (text, at, message) in [
        ("health_grace = \"2d\"", "1:16", "'health_grace' must be from 0s to 1d"),
        ("resync_interval = 0", "1:19", "'resync_interval' must be from 100ms to 1d"),
        ("exclusive = \"yes\"", "1:13", "'exclusive' must be true or false"),
        ("log_level = \"warn\"", "1:13", "'log_level' cannot be \"warn\""),
        ("timeouts = 5", "1:12", "'timeouts' must be a table: [timeouts]"),
        ("sysctl = true", "1:10", "'sysctl' must be a table: [sysctl]"),
        ("sync = \"eth1\"", "1:8", "'sync' must be a table: [sync]"),
        ("lvs_flush = true", "1:1", "unknown key 'lvs_flush'"),
        ("[timeouts]\ntcp_fin = \"1500ms\"", "2:11", "'tcp_fin' must be whole seconds"),
        ("[timeouts]\nudp = \"32d\"", "2:7", "'udp' must be from 1s to 31d"),
        ("[sysctl]\nconntrack = 1", "2:13", "'conntrack' must be true or false"),
        ("[sysctl]\nsecure_tcp = 4", "2:14", "'secure_tcp' must be from 0 to 3"),
        ("[sysctl]\nsync_ports = 0", "2:14", "'sync_ports' must be from 1 to 64"),
        ("[sysctl]\nsync_ports = 3", "2:14", "'sync_ports' must be a power of two"),
        ("[sysctl]\nest_nice = 1", "2:1", "unknown key 'est_nice'"),
        ("[sysctl]\nsync_threshold = 3", "2:18", "'sync_threshold' must be an array"),
        (
            "[sysctl]\nsync_threshold = [3]",
            "2:18",
            "'sync_threshold' must be two numbers from 0 to 2147483647",
        ),
        ("[sysctl]\nsync_threshold = [3, -1]", "2:18", "'sync_threshold' must be two numbers"),
        ("[sysctl]\nsync_threshold = [3, 2147483648]", "2:18", "'sync_threshold' must be two numbers"),
        ("[sysctl]\nsync_threshold = [3, \"50\"]", "2:18", "'sync_threshold' must be two numbers"),
        (
            "[sysctl]\nsync_threshold = [50, 50]",
            "2:18",
            "the first number of 'sync_threshold' must be less than the second, or the second 0",
        ),
        ("[sysctl]\nsync_refresh_period = \"25h\"", "2:23", "'sync_refresh_period' must be from 0s to 1d"),
        ("[sysctl]\nsync_refresh_period = 0.5", "2:23", "'sync_refresh_period' must be whole seconds"),
        ("[sysctl]\nsync_retries = 4", "2:16", "'sync_retries' must be from 0 to 3"),
        ("[sync]\nid = 7", "1:1", "'interface' is missing"),
        ("[sync]\ninterface = \"\"", "2:13", "'interface' is not an interface's name"),
        ("[sync]\ninterface = \"eth1\"\nid = -1", "3:6", "'id' must be from 0 to 255"),
        (
            "[sync]\ninterface = \"0123456789abcdef\"",
            "2:13",
            "'interface' is not an interface's name, of at most 15",
        ),
        ("[sync]\ninterface = \"eth1:0\"", "2:13", "'interface' is not an interface's name, of at most 15"),
        (
            "[sync]\ninterface = \"eth1\"\nmax_length = 1023",
            "3:14",
            "'max_length' must be from 1024 to 65507",
        ),
        (
            "[sync]\ninterface = \"eth1\"\nmax_length = 65508",
            "3:14",
            "'max_length' must be from 1024 to 65507",
        ),
        (
            "[sync]\ninterface = \"eth1\"\ngroup = \"ff02::81\"\nmax_length = 65488",
            "4:14",
            "with a group of IPv6 'max_length' must be from 1024 to 65487",
        ),
        ("[sync]\ninterface = \"eth1\"\ngroup = \"10.0.0.1\"", "3:9", "'group' is not a multicast address"),
        (
            "[sync]\ninterface = \"eth1\"\ngroup = \"ff01::81\"",
            "3:9",
            "'group' is a group whose packets leave no",
        ),
        (
            "[sync]\ninterface = \"eth1\"\nport = 65533\n[sysctl]\nsync_ports = 4",
            "3:8",
            "with sync_ports = 4 the last port would be 65536, and there are 65535",
        ),
        ("[sync]\ninterface = \"eth1\"\nport = 65536", "3:8", "'port' must be from 1 to 65535"),
        ("[sync]\ninterface = \"eth1\"\nttl = 0", "3:7", "'ttl' must be from 1 to 255"),
        ("[sysctl]\nconntrak = true", "2:1", "unknown key 'conntrak'"),
        ("[timeouts]\ntcpfin = 5", "2:1", "unknown key 'tcpfin'"),
        ("[sync]\ninterface = \"eth1\"\ngroup = \"x\"", "3:9", "'group' is not a multicast address"),
        ("[sync]\ninterface = \"eth1\"\nport = 0", "3:8", "'port' must be from 1 to 65535"),
        ("[sync]\ninterface = \"eth1\"\nttl = 256", "3:7", "'ttl' must be from 1 to 255"),
        ("[sync]\ninterface = \"eth1\"\nrole = \"MASTER\"", "3:8", "'role' cannot be \"MASTER\""),
        ("[sync]\ninterface = \"eth1\"\nvirtual_router = \"x\"", "3:18", "there is no virtual router 'x'"),
        (
            "[sync]\ninterface = \"eth1\"\n[sysctl]\nbackup_only = true",
            "4:15",
            "with role = \"both\" this director is always backup",
        ),
        ("[sync]\ninterface = \"eth1\"\nsyncid = 1", "3:1", "unknown key 'syncid'"),
    ] {
        root.write("etc/trivet/ipvsd.toml", &format!("{text}\n"));
        let report = load(root.path()).1.to_string();
        let wanted = format!("ipvsd.toml:{at}: error: {message}");
        assert!(report.contains(&wanted), "{wanted:?} is not said, but:\n{report}");
        assert!(report.ends_with("1 error\n"), "more than one mistake:\n{report}");
    }
}
