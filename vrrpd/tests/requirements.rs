//! Which test shows which requirement of RFC 9568: the table in REQUIREMENTS.md is made of `requirements/rfc9568.txt` and
//! of the comments above the tests of this repository. It fails when a requirement has neither a test nor a reason, when a
//! comment names one that does not exist, and when the table is not what it should be (`TRIVET_WRITE=1` writes it).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const CATALOGUE: &str = include_str!("requirements/rfc9568.txt");
const MARK: &str = "// RFC 9568: ";

#[derive(Debug, Default)]
struct Requirement {
    heading: String,
    id: String,
    text: String,
    /// Both a positive and a negative test are asked for.
    both: bool,
    why_not: Option<String>,
}

fn catalogue(text: &str) -> Result<Vec<Requirement>, String> {
    let (mut requirements, mut heading): (Vec<Requirement>, _) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut heading);
        } else if let Some((id, text)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            let (both, text) = text.strip_prefix("± ").map_or((false, text), |text| (true, text));
            if requirements.iter().any(|known| known.id == id) {
                return Err(format!("[{id}] is there twice"));
            }
            let (heading, id, text) = (heading.clone(), id.to_owned(), text.to_owned());
            requirements.push(Requirement { heading, id, text, both, why_not: None });
        } else if let Some(reason) = line.strip_prefix("why not: ") {
            let last = requirements.last_mut().ok_or("a reason without a requirement")?;
            last.why_not = Some(reason.to_owned());
        } else if !line.is_empty() && !line.starts_with('#') {
            return Err(format!("what is this line? {line:?}"));
        }
    }
    Ok(requirements)
}

/// Tests by requirement, "+" or "-" first.
type Shown = BTreeMap<String, Vec<(char, String)>>;

/// What the comments of one file say.
fn collect(name: &str, text: &str, shown: &mut Shown) -> Result<(), String> {
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(claims) = line.trim_start().strip_prefix(MARK) else { continue };
        let place = format!("{name}:{}", number + 1);
        // Attributes and comments may stand between.
        let rest = lines.clone().map(|(_, line)| line.trim_start());
        let above: Vec<&str> =
            rest.take_while(|line| line.starts_with('#') || line.starts_with("//")).collect();
        if !above.iter().any(|line| line.starts_with("#[test]")) {
            return Err(format!("{place}: not above a test"));
        }
        let signature = lines.clone().nth(above.len()).map(|(_, line)| line.trim_start());
        let test = signature.and_then(|line| line.strip_prefix("fn ")).and_then(|line| line.split_once('('));
        let Some((test, _)) = test else { return Err(format!("{place}: not above a test function")) };
        for claim in claims.split_whitespace() {
            let signed = |sign| claim.strip_prefix(sign).map(|id| (sign, id));
            let Some((sign, id)) = signed('+').or_else(|| signed('-')) else {
                return Err(format!("{place}: '{claim}' must begin with + or -"));
            };
            let entry = (sign, format!("`{name}` {}", test.replace('_', " ")));
            shown.entry(id.to_owned()).or_default().push(entry);
        }
    }
    Ok(())
}

/// Everything that is wrong, a line each.
fn mistakes(requirements: &[Requirement], shown: &Shown) -> Vec<String> {
    let mut mistakes = Vec::new();
    for Requirement { id, both, why_not, .. } in requirements {
        let tests = shown.get(id).map_or(&[][..], Vec::as_slice);
        let has = |sign| tests.iter().any(|(other, _)| *other == sign);
        match why_not {
            Some(_) if !tests.is_empty() => {
                mistakes.push(format!("[{id}] has a test and a reason why it has none"));
            }
            Some(_) => {}
            None if tests.is_empty() => mistakes.push(format!("[{id}] has neither a test nor a reason")),
            None if *both && !has('+') => mistakes.push(format!("[{id}] has no positive test")),
            None if *both && !has('-') => mistakes.push(format!("[{id}] has no negative test")),
            None => {}
        }
    }
    let unknown = shown.keys().filter(|id| !requirements.iter().any(|known| known.id == **id));
    mistakes.extend(unknown.map(|id| format!("[{id}] is claimed by a test and is no requirement")));
    mistakes
}

fn table(requirements: &[Requirement], shown: &Shown) -> String {
    let mut text = String::from(
        "# RFC 9568 and the tests that show it\n\n\
         Made by `tests/requirements.rs` of the tests' own comments; `TRIVET_WRITE=1 cargo test -p vrrpd --test requirements` writes\n\
         it anew. **+** shows what must be, **-** what must not.\n",
    );
    let mut heading = "";
    for requirement in requirements {
        if requirement.heading != heading {
            heading = &requirement.heading;
            let _ = write!(text, "\n## {heading}\n\n| | requirement | shown by |\n|---|---|---|\n");
        }
        let tests = shown.get(&requirement.id).into_iter().flatten();
        let mut tests: Vec<String> = tests.map(|(sign, test)| format!("**{sign}** {test}")).collect();
        tests.sort();
        tests.extend(requirement.why_not.iter().map(|reason| format!("no test: {reason}")));
        let _ = writeln!(text, "| {} | {} | {} |", requirement.id, requirement.text, tests.join("<br>"));
    }
    text
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is part of the sources") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

fn collect_all() -> Shown {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace");
    let mut files = Vec::new();
    for folder in ["vrrpd/src", "vrrpd/tests", "tests/scenarios"] {
        rust_files(&root.join(folder), &mut files);
    }
    files.sort();
    let mut shown = Shown::new();
    for file in files.iter().filter(|file| !file.ends_with("tests/requirements.rs")) {
        let name = file.strip_prefix(root).expect("it is below").display().to_string();
        let text = std::fs::read_to_string(file).expect("sources can be read");
        collect(&name, &text, &mut shown).unwrap_or_else(|mistake| panic!("{mistake}"));
    }
    shown
}

#[test]
fn every_requirement_has_a_test_or_a_reason_and_the_table_says_which() {
    let requirements = catalogue(CATALOGUE).unwrap();
    assert!(requirements.len() > 50);
    let shown = collect_all();
    assert_eq!(mistakes(&requirements, &shown), [""; 0]);
    let (path, table) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("REQUIREMENTS.md"), table(&requirements, &shown));
    if std::env::var_os("TRIVET_WRITE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == table,
        "REQUIREMENTS.md is stale: TRIVET_WRITE=1 cargo test -p vrrpd --test requirements"
    );
}

#[test]
fn a_requirement_without_a_test_is_a_mistake_and_so_is_a_test_of_nothing() {
    let requirements =
        catalogue("## H\n[1] a\n[2] ± b\n[3] ± c\n[4] d\nwhy not: e\n[5] f\nwhy not: g\n").unwrap();
    let source = "// RFC 9568: +2 -3 -9\n/// About it.\n#[test]\nfn it_holds() {}\n// RFC 9568: +5\n#[test]\nfn x() {}\n";
    let mut shown = Shown::new();
    collect("x.rs", source, &mut shown).unwrap();
    let expected = [
        "[1] has neither a test nor a reason",
        "[2] has no negative test",
        "[3] has no positive test",
        "[5] has a test and a reason why it has none",
        "[9] is claimed by a test and is no requirement",
    ];
    assert_eq!(mistakes(&requirements, &shown), expected);
    let table = table(&requirements, &shown);
    assert!(table.contains("| 2 | b | **+** `x.rs` it holds |"), "{table}");
    assert!(table.contains("| 4 | d | no test: e |"), "{table}");
}

#[test]
fn a_comment_that_is_not_above_a_test_is_refused() {
    for source in
        ["// RFC 9568: +1\nfn helper() {}\n", "// RFC 9568: +1\n", "// RFC 9568: 1\n#[test]\nfn x() {}\n"]
    {
        assert!(collect("x.rs", source, &mut Shown::new()).is_err(), "{source:?}");
    }
    assert!(catalogue("why not: nothing\n").is_err() && catalogue("[1] a\n[1] b\n").is_err());
}
