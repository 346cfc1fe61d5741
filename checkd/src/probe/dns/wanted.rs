//! A record that is expected in an answer, as a zone file writes it: `192.0.2.1`, `10 mail.example.com.`.

use domain::base::ToName;
use domain::base::iana::Rtype;
use domain::base::scan::IterScanner;
use domain::rdata::ZoneRecordData;

use super::OwnedName;
use crate::probe::quote::cut;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Of a TXT record: the whole text, however it is cut into strings.
    Text(Vec<u8>),
    Data(ZoneRecordData<Vec<u8>, OwnedName>),
}

impl Wanted {
    /// # Errors
    /// What is wrong with the text, as the end of a sentence such as "'web1' is …".
    pub fn parse(record: Rtype, text: &str) -> Result<Self, String> {
        if record == Rtype::TXT {
            let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            return Ok(Self::Text(bare.unwrap_or(text).as_bytes().to_vec()));
        }
        let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_matches('"')).collect();
        let mut scanner = IterScanner::new(words);
        let data = ZoneRecordData::scan(record, &mut scanner);
        let data = data.map_err(|error| format!("no {record} record as a zone file has it: {error}"))?;
        if scanner.is_exhausted() {
            Ok(Self::Data(data))
        } else {
            Err(format!("more than one {record} record as a zone file has it: write [\"…\", \"…\"]"))
        }
    }

    /// Names are the same whatever their case.
    pub(super) fn is<N: ToName>(&self, data: &ZoneRecordData<&[u8], N>) -> bool {
        match (self, data) {
            (Self::Text(text), ZoneRecordData::Txt(found)) => found.text::<Vec<u8>>() == *text,
            (Self::Text(_), _) => false,
            (Self::Data(wanted), found) => wanted == found,
        }
    }

    pub(super) fn quoted(&self) -> String {
        match self {
            Self::Text(text) => format!("'{}'", cut(text, super::answer::QUOTED)),
            Self::Data(data) => cut(data.to_string().as_bytes(), super::answer::QUOTED),
        }
    }
}
