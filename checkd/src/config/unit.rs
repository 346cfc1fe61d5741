//! The key of `type = "unit"`.

use daemon::reader::Reader;
use daemon::systemd::unit_name;

use crate::probe::unit::Settings;

/// The keys of this kind alone.
pub(super) const KEYS: &[&str] = &["unit"];
/// What other programs call them.
pub(super) const OTHER_KEYS: &[(&str, &str)] =
    &[("process", "systemd knows whether it runs: type = \"unit\", unit = \"nginx.service\"")];

/// Keys that every kind over the network has.
pub(super) const NOT_FOR_UNITS: super::connect::Refused = super::connect::Refused {
    keys: &["source", "interface", "mark", "address", "port"],
    what: "a unit",
    hint: "systemd of this machine is asked, nothing is sent anywhere",
};

/// `None`: there is no unit.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Settings> {
    let unit = reader.parse("unit", unit_name);
    let unit = reader.require("unit", unit, "unit = \"nginx.service\"")?;
    Some(Settings { unit: unit.value.into() })
}

#[cfg(test)]
mod tests {
    use daemon::diagnostic::Report;
    use daemon::testing::TempRoot;

    use crate::config::load;
    use crate::probe::Kind;

    fn read(text: &str) -> (String, Option<(String, u32)>) {
        let root = TempRoot::new();
        root.write("etc/trivet/check.d/nginx.toml", &format!("type = \"unit\"\n{text}\n"));
        let mut report = Report::new();
        let configuration = load(root.path(), &mut report);
        let unit = configuration.checks.get("nginx").map(|check| {
            let Kind::Unit(settings) = &check.kind else { panic!("not unit") };
            (settings.unit.to_string(), check.thresholds.fall.get())
        });
        (report.to_string(), unit)
    }

    #[test]
    fn a_unit_is_named_as_systemctl_has_it_and_its_word_is_believed_at_once() {
        assert_eq!(read("unit = \"nginx\""), (String::new(), Some(("nginx.service".into(), 1))));
        assert_eq!(read("unit = \"a@b.socket\"\nfall = 3"), (String::new(), Some(("a@b.socket".into(), 3))));
    }

    #[test]
    fn what_is_no_unit_and_what_a_unit_has_no_use_for_is_told() {
        for (text, expected) in [
            ("", "'unit' is missing"),
            ("unit = \"a b\"", "'unit' is not the name of a systemd unit"),
            ("unit = \"getty@.service\"", "a template, not a unit"),
            ("unit = \"nginx\"\nsource = \"10.0.0.1\"", "'source' is not for a unit"),
            ("unit = \"nginx\"\nport = 80", "'port' is not for a unit"),
            ("unit = \"nginx\"\ncommand = []", "this key belongs to type = \"exec\""),
            ("process = \"nginx\"", "systemd knows whether it runs"),
        ] {
            let (report, _) = read(text);
            assert!(report.contains(expected), "{text}: {report}");
        }
    }
}
