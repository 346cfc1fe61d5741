//! What is wrong with a configuration, where it stands, and what to do about it.
//!
//! A [`Report`] collects every finding of one check, so that a user sees all of them at once, in the form
//! `file:line:col: error: message`, the source line, a caret and a hint. Nothing here decides what is an error:
//! `document.rs` and the daemons' `config.rs` do.

mod secrets;

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::secrets::Secrets;

/// More findings are counted, not told: nobody reads them, and a file of a megabyte may have a hundred thousand.
const MOST_TOLD: usize = 1_000;
/// A longer line, in bytes, is not shown.
const LONGEST_LINE: usize = 4_096;

/// One configuration file as it was read: the text that locations point into.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// A byte range in one source. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub source: Arc<Source>,
    pub span: Range<usize>,
}

impl Location {
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// Line and column of the start, both from 1; columns count characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let start = floor_char_boundary(&self.source.text, self.span.start);
        let before = &self.source.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The bytes of the source line in which the location starts, without its line end.
    fn line(&self) -> Range<usize> {
        let text = &self.source.text;
        let start = floor_char_boundary(text, self.span.start);
        let begin = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        begin..begin + text[begin..end].trim_end_matches('\r').len()
    }
}

/// `path:line:col`
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.source.path.display())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused as a whole.
    Error,
    /// It works, but probably not as meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Where a finding stands: in a file's text, or at a file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Text(Location),
    File(PathBuf),
}

impl Place {
    fn order(&self) -> (&Path, usize) {
        match self {
            Self::Text(location) => (&location.source.path, location.span.start),
            Self::File(path) => (path, 0),
        }
    }
}

/// One finding. `Display` prints it as the user sees it, without a line end after the last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    pub hint: Option<String>,
    place: Place,
}

impl Diagnostic {
    /// What to do about it; one sentence without a full stop.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Diagnostic {
    /// `secrets` are those of its source.
    fn write(&self, f: &mut fmt::Formatter<'_>, secrets: Option<&Secrets>) -> fmt::Result {
        match &self.place {
            Place::File(path) => write!(f, "{}: {}: {}", path.display(), self.severity, self.message)?,
            Place::Text(location) => {
                write!(f, "{location}: {}: {}", self.severity, self.message)?;
                let line = location.line();
                if let Some(secrets) = secrets.filter(|_| line.len() <= LONGEST_LINE) {
                    let (number, _) = location.line_and_column();
                    let text = &location.source.text;
                    let marked = location.span.clone();
                    let (shown, first, length) = secrets.shown(text, line, marked);
                    let (margin, before) = (" ".repeat(number.to_string().len()), " ".repeat(first));
                    write!(f, "\n {number} | {shown}\n {margin} | {before}{}", underline(length))?;
                }
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n   hint: {hint}")?;
        }
        Ok(())
    }

    fn source(&self) -> Option<&Arc<Source>> {
        match &self.place {
            Place::Text(location) => Some(&location.source),
            Place::File(_) => None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.source().map(|source| Secrets::of(&source.text));
        self.write(f, secrets.as_ref())
    }
}

fn underline(length: usize) -> String {
    let mut text = String::from("^");
    text.extend(std::iter::repeat_n('~', length.saturating_sub(1)));
    text
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Everything that one check of a configuration found, in the order in which it was found.
#[derive(Debug, Default)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn error(&mut self, at: &Location, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, Place::Text(at.clone()), message.into())
    }

    pub fn warning(&mut self, at: &Location, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, Place::Text(at.clone()), message.into())
    }

    /// An error about a file as a whole, such as one that cannot be read.
    pub fn file_error(&mut self, path: &Path, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, Place::File(path.to_owned()), message.into())
    }

    pub fn file_warning(&mut self, path: &Path, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, Place::File(path.to_owned()), message.into())
    }

    fn push(&mut self, severity: Severity, place: Place, message: String) -> &mut Diagnostic {
        self.diagnostics.push(Diagnostic { severity, message, hint: None, place });
        self.diagnostics.last_mut().expect("one was just pushed")
    }

    /// All that another one found, after what this one did.
    pub fn append(&mut self, mut other: Self) {
        self.diagnostics.append(&mut other.diagnostics);
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    fn number_of(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

/// All findings in the order of their places, each ended by a line end; then a summary when there are any.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Diagnostic> = self.diagnostics.iter().collect();
        sorted.sort_by_key(|diagnostic| diagnostic.place.order());
        // Each source is looked through once, however many findings it has; they follow each other.
        let mut known: Option<(&Arc<Source>, Secrets)> = None;
        let (errors, warnings) = (self.number_of(Severity::Error), self.number_of(Severity::Warning));
        // Errors come before warnings where there is no room for all.
        let mut room = [errors.min(MOST_TOLD), warnings.min(MOST_TOLD.saturating_sub(errors))];
        let untold = errors + warnings - room[0] - room[1];
        for diagnostic in sorted {
            let room = match diagnostic.severity {
                Severity::Error => &mut room[0],
                Severity::Warning => &mut room[1],
            };
            let Some(left) = room.checked_sub(1) else { continue };
            *room = left;
            if let Some(source) = diagnostic.source()
                && !known.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, source))
            {
                known = Some((source, Secrets::of(&source.text)));
            }
            diagnostic.write(f, known.as_ref().map(|(_, secrets)| secrets))?;
            writeln!(f)?;
        }
        if self.diagnostics.is_empty() {
            return Ok(());
        }
        if untold > 0 {
            writeln!(f, "and {untold} more, which are told when these are mended")?;
        }
        let mut summary = String::new();
        count(&mut summary, errors, "error");
        count(&mut summary, warnings, "warning");
        writeln!(f, "{summary}")
    }
}

fn count(summary: &mut String, number: usize, what: &str) {
    if number == 0 {
        return;
    }
    let comma = if summary.is_empty() { "" } else { ", " };
    let plural = if number == 1 { "" } else { "s" };
    write!(summary, "{comma}{number} {what}{plural}").expect("writing to a String cannot fail");
}

/// The candidate that `typed` most likely meant, if any is near enough to be worth saying.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = typed.chars().count();
    let close_enough = (length / 3).max(1);
    // Whatever is typed may be very long.
    let is_as_long = |candidate: &&str| candidate.chars().count().abs_diff(length) <= close_enough;
    candidates
        .into_iter()
        .filter(is_as_long)
        .map(|candidate| (edit_distance(&typed.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= close_enough)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions, and swaps of neighbours (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { path: PathBuf::from("/etc/trivet/vrrp.d/gateway.toml"), text: text.into() })
    }

    #[test]
    fn an_error_shows_file_line_column_the_line_a_caret_and_a_hint() {
        let source = source("interface = \"eth1\"\npriorty = 100\n");
        let mut report = Report::new();
        report
            .error(&Location::new(&source, 19..26), "unknown key 'priorty'")
            .hint("did you mean 'priority'?");
        assert_eq!(
            report.to_string(),
            "/etc/trivet/vrrp.d/gateway.toml:2:1: error: unknown key 'priorty'\n \
             2 | priorty = 100\n   | ^~~~~~~\n   hint: did you mean 'priority'?\n1 error\n"
        );
    }

    #[test]
    fn findings_are_shown_in_the_order_of_the_text_whatever_order_they_were_found_in() {
        let source = source("a = 1\nb = 2\n");
        let mut report = Report::new();
        report.error(&Location::new(&source, 6..7), "second");
        report.error(&Location::new(&source, 0..1), "first");
        let text = report.to_string();
        assert!(text.find("first") < text.find("second"), "{text}");
    }

    #[test]
    fn columns_count_characters_and_a_span_over_several_lines_is_underlined_on_its_first() {
        let source = source("a = 'é' \nservers = [ 1,\n 2 ]\n");
        let location = Location::new(&source, 20..28);
        assert_eq!(location.line_and_column(), (2, 11));
        let mut report = Report::new();
        report.warning(&location, "x");
        assert!(report.to_string().contains(" 2 | servers = [ 1,\n   |           ^~~~\n"), "{report}");
    }

    #[test]
    fn a_location_past_the_end_or_inside_a_character_does_not_panic() {
        let source = source("é");
        for span in [0..9, 1..1, 1..2, 7..9] {
            let mut report = Report::new();
            report.error(&Location::new(&source, span), "x");
            assert!(report.to_string().contains(":1:"));
        }
    }

    #[test]
    fn of_very_many_findings_the_errors_are_told_first_and_the_rest_is_counted() {
        let source = source(&"x\n".repeat(3_000));
        let mut report = Report::new();
        for at in 0..1_500 {
            report.warning(&Location::new(&source, 2 * at..2 * at + 1), "odd");
        }
        for at in 1_500..2_000 {
            report.error(&Location::new(&source, 2 * at..2 * at + 1), "wrong");
        }
        let text = report.to_string();
        let told = |what: &str| text.matches(what).count();
        assert_eq!((told("error: wrong"), told("warning: odd")), (500, 500));
        let end = "\nand 1000 more, which are told when these are mended\n500 errors, 1500 warnings\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_very_long_line_is_not_shown() {
        for (length, is_shown) in [(4_090, true), (4_097, false)] {
            let source = source(&"x".repeat(length));
            let mut report = Report::new();
            report.error(&Location::new(&source, 7..8), "wrong");
            assert_eq!(report.to_string().contains(" 1 | xxx"), is_shown);
            assert!(report.to_string().contains("toml:1:8: error: wrong"));
        }
    }

    #[test]
    fn the_nearest_candidate_is_found_only_when_it_is_near() {
        let keys = ["interface", "priority", "preempt"];
        assert_eq!(nearest("priorty", keys), Some("priority"));
        assert_eq!(nearest("Prioirty", keys), Some("priority"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest(&"priority".repeat(100_000), keys), None);
    }
}
