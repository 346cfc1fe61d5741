//! What a report does not show of a line: a report ends in terminals, journals and bug trackers. By what the file means,
//! wherever a value stands in it; and by the looks of the line, for what is no TOML (yet).

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// What the key of a secret has in it, headers and dialogs of checks among them.
const SECRETS: [&str; 13] = [
    "pass",
    "pasw",
    "secret",
    "pwd",
    "authorization",
    "cookie",
    "token",
    "api-key",
    "api_key",
    "apikey",
    "send",
    "farewell",
    "payload",
];
/// Whatever is in them may be one.
const ALL_SECRET: [&str; 1] = ["headers"];
/// A program and its arguments: ours, and keepalived's.
const COMMANDS: [&str; 2] = ["command", "misc_path"];

/// What stands for a secret.
const DOTS: char = '…';

/// Names of files and credentials are no secrets.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let named = SECRETS.iter().any(|word| key.contains(word)) || ALL_SECRET.contains(&key.as_str());
    named && !key.ends_with("_file") && !key.ends_with("_credential")
}

/// Where in a file values stand that may be secret.
#[derive(Debug)]
pub(super) struct Secrets {
    spans: Vec<Range<usize>>,
    /// It could be read; else there may be more of them.
    is_toml: bool,
}

impl Secrets {
    pub(super) fn of(text: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut spans = Vec::new();
        in_table(table.get_ref(), false, &mut spans);
        spans.sort_by_key(|span| span.start);
        Self { spans, is_toml: errors.is_empty() }
    }

    /// The line in these bytes of `text` as it may be shown, and where `marked`, which begins in it, is then: the first
    /// character and how many. Control characters are blanks.
    pub(super) fn shown(
        &self,
        text: &str,
        line: Range<usize>,
        marked: Range<usize>,
    ) -> (String, usize, usize) {
        let mut shown = Vec::new();
        let (mut first, mut last) = (None, None);
        let mut hidden_to = line.start;
        for (offset, c) in text[line.clone()].char_indices() {
            let at = line.start + offset;
            let span = self.spans.iter().find(|span| span.contains(&at));
            if at >= marked.start {
                first.get_or_insert(if at < hidden_to { shown.len() - 1 } else { shown.len() });
            }
            if at >= hidden_to {
                shown.push(if span.is_some() {
                    DOTS
                } else if c.is_control() {
                    ' '
                } else {
                    c
                });
                hidden_to = span.map_or(hidden_to, |span| span.end);
            }
            if at < marked.end {
                last = Some(shown.len());
            }
        }
        let first = first.unwrap_or(shown.len());
        let length = last.unwrap_or(0).saturating_sub(first);
        let shown = self.without_lookalikes(&shown.into_iter().collect::<String>());
        let length = length.min(shown.chars().count().saturating_sub(first));
        (shown, first, length.max(1))
    }

    /// The line up to the value of a key that looks like a secret's. Of a file that is no TOML, a line that has no key
    /// is perhaps the middle of such a value.
    fn without_lookalikes(&self, line: &str) -> String {
        let lower = line.to_ascii_lowercase();
        for (equals, _) in lower.match_indices('=') {
            let key = lower[..equals].trim_end().trim_end_matches(['"', '\'']);
            let key = key.rsplit([' ', ',', '{', '.', '"', '\'', '\t']).next().unwrap_or_default();
            // What can be read is hidden already, and shows its program.
            let is_command = !self.is_toml && COMMANDS.contains(&key);
            if (is_secret(key) && key != "headers") || is_command {
                return format!("{}= {DOTS}", &line[..equals]);
            }
        }
        let is_middle = lower.contains(['"', '\'']) && !lower.contains('=');
        if !self.is_toml && is_middle { DOTS.to_string() } else { line.to_owned() }
    }
}

fn in_table(table: &DeTable<'_>, inherited: bool, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let key = key.get_ref();
        let is_command = COMMANDS.contains(&key.as_ref());
        if is_command && let DeValue::Array(arguments) = value.get_ref() {
            spans.extend(arguments.iter().skip(1).map(|argument| argument.span()));
        } else {
            let secret = inherited || is_command || is_secret(key);
            in_value(value.get_ref(), value.span(), secret, spans);
        }
    }
}

fn in_value(value: &DeValue<'_>, span: Range<usize>, secret: bool, spans: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(table) => in_table(table, secret, spans),
        DeValue::Array(values) => {
            for value in values {
                in_value(value.get_ref(), value.span(), secret, spans);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {
            if secret {
                spans.push(span);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that has this in it, as it is shown.
    fn shown(text: &str, part: &str) -> String {
        let at = text.find(part).unwrap();
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
        Secrets::of(text).shown(text, start..end, at..at + part.len()).0
    }

    #[test]
    fn the_value_of_a_password_is_never_shown() {
        for (line, line_shown) in [
            ("password = 'hunter2'", "password = …"),
            ("auth_pass=hunter2", "auth_pass= …"),
            ("a = { type = \"pass\", password = \"hunter2\" }", "a = { type = \"pass\", password = …"),
            ("\"password\" = 'hunter2'", "\"password\" = …"),
            ("Authorization = 'Basic aHVudGVyMg=='", "Authorization = …"),
            ("headers = { X-Api-Key = 'hunter2' }", "headers = { X-Api-Key = …"),
            ("headers = { X-Whoami = 'hunter2', Accept = 'x' }", "headers = { X-Whoami = …, Accept = … }"),
            ("password_file = '/etc/x'", "password_file = '/etc/x'"),
            ("authentication = { type = 'x' }", "authentication = { type = 'x' }"),
            ("type = 'pass'", "type = 'pass'"),
            ("password = 12345", "password = …"),
            ("send = \"AUTH hunter2\"", "send = …"),
            ("payload = 'hunter2'", "payload = …"),
            ("path = '/x?token=hunter2'", "path = '/x?token= …"),
            ("command = ['/bin/x', '-p', 'hunter2'] # here", "command = ['/bin/x', …, …] # here"),
            ("command = '/bin/x -p hunter2'", "command = …"),
            ("command = ['/bin/x', '-p', 'hunter2", "command = …"),
            ("misc_path = \"/bin/x -p hunter2\"", "misc_path = …"),
            ("expect = '^220'", "expect = '^220'"),
        ] {
            assert_eq!(shown(line, line), line_shown);
        }
    }

    #[test]
    fn a_secret_is_not_shown_on_a_line_of_its_own_either() {
        let array = "command = [\n  '/bin/x',\n  '--user', 'hunter2'\n]\n";
        assert_eq!(shown(array, "/bin/x"), "  '/bin/x',");
        assert_eq!(shown(array, "hunter2"), "  …, …");
        let text = "[[step]]\nsend = \"\"\"\nUSER x\nPASS hunter2\n\"\"\"\nexpect = '^2'\n";
        assert_eq!(shown(text, "hunter2"), "…");
        assert_eq!(shown(text, "^2"), "expect = '^2'");
        assert_eq!(shown("[headers]\nX-Whoami = 'hunter2'\n", "hunter2"), "X-Whoami = …");
        assert_eq!(shown("headers.X-Whoami = 'hunter2'\n", "hunter2"), "headers.X-Whoami = …");
        // A comma is missing, a bracket, a quote.
        for broken in [
            "command = [\n  '/bin/x'\n  'hunter2'\n]\n",
            "command = [\n  '/bin/x',\n  'hunter2'\ninterval = 3\n",
            "command = [\n  '/bin/x',\n  'hunter2\n]\n",
        ] {
            assert!(!shown(broken, "hunter2").contains("hunter2"), "{broken}");
        }
        assert_eq!(shown("command = ['/bin/x', 'hunter2']\ninterval = 3x\n", "3x"), "interval = 3x");
    }

    #[test]
    fn the_mark_is_where_the_value_is_shown() {
        let text = "command = ['/bin/x', 'hunter2', 'a\tb'] # é";
        let mark = |part: &str| {
            let at = text.find(part).unwrap();
            let (shown, first, length) = Secrets::of(text).shown(text, 0..text.len(), at..at + part.len());
            shown.chars().skip(first).take(length).collect::<String>()
        };
        assert_eq!(mark("'/bin/x'"), "'/bin/x'");
        assert_eq!(mark("'hunter2'"), "…");
        assert_eq!(mark("unter"), "…");
        assert_eq!(mark("'a\tb'"), "…");
        assert_eq!(mark("['/bin/x', 'hunter2', 'a\tb']"), "['/bin/x', …, …]");
        assert_eq!(mark("é"), "é");
    }
}
