//! What a page of the manual says about keys, out of its mdoc(7) source.

/// A key: `.It Ic name No = Qq Ar example`, and the text up to the next item.
#[derive(Debug)]
pub struct Key {
    pub name: String,
    /// The section or, within "KINDS", the subsection.
    pub section: String,
    /// The key whose table this one is in.
    pub within: Option<String>,
    pub text: String,
}

impl Key {
    /// `100ms to 1d; …`: the limits as the text begins with them.
    pub fn range(&self) -> Option<&str> {
        let (range, _) = self.text.split_once(['.', ';', ':', ','])?;
        let [least, "to", _] = *range.split(' ').collect::<Vec<_>>() else { return None };
        least.starts_with(|c: char| c.is_ascii_digit()).then_some(range)
    }

    /// `default 6s`, as TOML; `default: the server's` has none.
    pub fn default(&self) -> Option<String> {
        let at = self.text.find("default ").or(self.text.find("Default "))?;
        let rest = &self.text[at + "default ".len()..];
        if let Some(quoted) = rest.strip_prefix('"') {
            return Some(format!("\"{}\"", quoted.split('"').next()?));
        }
        let word = rest.split([' ', ';', ',']).next()?.trim_end_matches('.');
        let bare = word.parse::<i64>().is_ok() || ["true", "false"].contains(&word);
        Some(if bare { word.to_owned() } else { format!("\"{word}\"") })
    }
}

/// All keys of a page, and the names of its subsections.
#[derive(Debug, Default)]
pub struct Page {
    pub keys: Vec<Key>,
    pub subsections: Vec<String>,
    section: String,
    /// The open lists, the keys of their last items.
    lists: Vec<Vec<usize>>,
}

impl Page {
    pub fn parse(source: &str) -> Self {
        let mut page = Self::default();
        for line in source.lines() {
            page.take(line);
        }
        page
    }

    fn take(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            ".Sh" => rest.clone_into(&mut self.section),
            ".Ss" => {
                rest.clone_into(&mut self.section);
                self.subsections.extend(rest.split(" , ").map(str::to_owned));
            }
            ".Bl" => self.lists.push(Vec::new()),
            ".El" => drop(self.lists.pop()),
            ".It" => self.begin(rest),
            _ => self.add(&plain(line)),
        }
    }

    /// `Ic a No = … , Ic b No = …`
    fn begin(&mut self, item: &str) {
        let Some((list, outer)) = self.lists.split_last_mut() else { return };
        list.clear();
        let Some(item) = item.strip_prefix("Ic ") else { return };
        let outer = outer.iter().rev().find_map(|list| list.first());
        let within = outer.map(|key| self.keys[*key].name.clone());
        for part in item.split(" , Ic ") {
            list.push(self.keys.len());
            let name = part.split(' ').next().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let (section, within) = (self.section.clone(), within.clone());
            self.keys.push(Key { name, section, within, text: String::new() });
        }
    }

    /// Text belongs to the innermost item.
    fn add(&mut self, text: &str) {
        for key in self.lists.last().into_iter().flatten() {
            let whole = &mut self.keys[*key].text;
            if !whole.is_empty() && !text.starts_with([',', '.', ';', ')']) {
                whole.push(' ');
            }
            whole.push_str(text);
        }
    }
}

/// A line without its macros; `.Qq x` is `"x"`.
fn plain(line: &str) -> String {
    let Some(line) = line.strip_prefix('.') else { return line.to_owned() };
    let mut words = Vec::new();
    let mut quotes = false;
    for word in line.split(' ') {
        match word {
            "Qq" => quotes = true,
            "Ic" | "Ar" | "Pa" | "Xr" | "No" | "Em" | "Dv" | "Va" | "Pq" | "Bq" | "Brq" | "Pp" | "Ql" => {}
            "," | "." | ";" => words.last_mut().into_iter().for_each(|last: &mut String| last.push_str(word)),
            _ if quotes => words.push(format!("\"{word}\"")),
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}
