//! The words of others: what keepalived's reader of virtual servers, and ldirectord's, know is in the manual, and what is
//! written into a drop-in all the same is answered.

use std::collections::BTreeSet;

use super::{NONSENSE, OTHERS, PLACES, asked, manual, read, tree};

/// Of keepalived 2.4, for a virtual server, a real server and what all checkers have; SSL's keys are checkd's.
const KEEPALIVED: &[&str] = &[
    "virtual_server",
    "virtual_server_group",
    "delay_loop",
    "lb_algo",
    "lvs_sched",
    "hashed",
    "flag-1",
    "flag-2",
    "flag-3",
    "sh-port",
    "sh-fallback",
    "mh-port",
    "mh-fallback",
    "ops",
    "lb_kind",
    "lvs_method",
    "persistence_engine",
    "persistence_timeout",
    "persistence_granularity",
    "protocol",
    "ip_family",
    "ha_suspend",
    "smtp_alert",
    "snmp_name",
    "virtualhost",
    "alpha",
    "omega",
    "quorum",
    "quorum_up",
    "quorum_down",
    "hysteresis",
    "sorry_server",
    "sorry_server_inhibit",
    "sorry_server_lvs_method",
    "real_server",
    "weight",
    "uthreshold",
    "lthreshold",
    "inhibit_on_failure",
    "notify_up",
    "notify_down",
    "connect_timeout",
    "retry",
    "delay_before_retry",
    "warmup",
    "connect_ip",
    "connect_port",
    "bindto",
    "bind_if",
    "bind_port",
    "log_all_failures",
    "fast_recovery",
    "nb_get_retry",
    "TCP_CHECK",
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "UDP_CHECK",
    "PING_CHECK",
    "MISC_CHECK",
    "FILE_CHECK",
    "BFD_CHECK",
    // Of global_defs, what is about IPVS or its checkers.
    "lvs_sync_daemon",
    "lvs_timeouts",
    "lvs_flush",
    "lvs_flush_on_stop",
    "lvs_flush_onstop",
    "lvs_notify_fifo",
    "lvs_notify_fifo_script",
    "rs_init_notifies",
    "smtp_alert_checker",
    "no_checker_emails",
    "enable_snmp_checker",
    "net_namespace_ipvs",
    "nftables_ipvs",
    "nftables_ipvs_priority",
    "nftables_ipvs_start_fwmark",
    "checker_priority",
    "checker_rt_priority",
    "checker_rlimit_rttime",
    "checker_no_swap",
    "checker_cpu_affinity",
    "checker_log_all_failures",
];
const LDIRECTORD: &[&str] = &[
    "checktimeout",
    "negotiatetimeout",
    "checkinterval",
    "checkcount",
    "failurecount",
    "autoreload",
    "callback",
    "fallback",
    "fallbackcommand",
    "logfile",
    "emailalert",
    "emailalertfrom",
    "emailalertfreq",
    "emailalertstatus",
    "smtp",
    "execute",
    "supervised",
    "fork",
    "quiescent",
    "readdquiescent",
    "cleanstop",
    "maintenancedir",
    "virtual",
    "real",
    "checktype",
    "service",
    "checkcommand",
    "checkport",
    "request",
    "receive",
    "httpmethod",
    "virtualhost",
    "login",
    "passwd",
    "database",
    "secret",
    "load",
    "scheduler",
    "persistent",
    "netmask",
    "protocol",
    "monitorfile",
    "ops",
];

/// Whether the reader has an answer of its own to a word that is none of its keys.
fn is_answered(word: &str) -> bool {
    PLACES.iter().any(|place| {
        let (report, _) = read(place, &format!("{word} = 1\n"));
        let unknown = report.split(&format!("unknown key '{word}'")).nth(1);
        let hint = unknown.and_then(|rest| rest.split("hint: ").nth(1));
        hint.is_some_and(|hint| !hint.starts_with("the keys here are") && !hint.starts_with("did you mean"))
    })
}

#[test]
fn each_word_of_keepalived_and_ldirectord_in_the_manual_is_ours_too_or_is_answered() {
    let page = manual();
    let ours: BTreeSet<_> = asked(&PLACES[0]).into_iter().chain(asked(&PLACES[2])).collect();
    let mut answered = 0;
    for key in page.keys.iter().filter(|key| OTHERS.contains(&&*key.section)) {
        assert!(!key.text.is_empty(), "{}: how is it done here?", key.name);
        if !ours.contains(&key.name) {
            assert!(is_answered(&key.name), "ipvsd has no answer to '{}'", key.name);
            answered += 1;
        }
    }
    assert!(answered > 100, "only {answered} words");
    assert!(!is_answered(NONSENSE));
}

#[test]
fn the_manual_has_each_word_of_theirs() {
    let page = manual();
    for (section, words) in OTHERS.into_iter().zip([KEEPALIVED, LDIRECTORD]) {
        let described: BTreeSet<&str> =
            page.keys.iter().filter(|key| key.section == section).map(|key| key.name.as_str()).collect();
        let missing: Vec<_> = words.iter().filter(|word| !described.contains(**word)).collect();
        assert!(missing.is_empty(), "{section} does not tell of {missing:?}");
    }
}

/// What is answered and neither described as theirs: habits of those who write such files.
const HABITS: [&str; 4] = ["ip", "port", "fwmark", "servers"];

#[test]
fn each_word_that_is_answered_is_in_the_manual() {
    let page = manual();
    let described: BTreeSet<String> = page
        .keys
        .iter()
        .filter(|key| OTHERS.contains(&&*key.section))
        .map(|key| key.name.to_ascii_lowercase())
        .collect();
    let code = std::fs::read_to_string(tree("ipvsd/src/config/others.rs")).unwrap();
    let (_, table) = code.split_once("KEYS_OF_OTHERS").unwrap();
    // `("word", …` or, where the line is long, `(` and `"word",` below it.
    let words =
        table.split('(').skip(1).filter_map(|row| row.trim_start().strip_prefix('"')?.split('"').next());
    let words: Vec<&str> = words.collect();
    assert!(words.len() > 90, "only {} words", words.len());
    for word in words {
        assert!(described.contains(word) || HABITS.contains(&word), "the manual does not tell of '{word}'");
    }
}
