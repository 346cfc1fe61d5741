//! What an http check asks, and what it expects of the answers. Validated by `config/http.rs`: nothing in here can
//! break out of its line of the request.

use std::sync::Arc;

use super::expect::Expectations;
use crate::probe::quote::cut;
use crate::probe::status::StatusSet;

/// How much of a path (and host) names a request in a reason.
const LABEL_LIMIT: usize = 60;

/// What both keepalived and ldirectord can ask with. A probe must not change what it looks at, so there is no POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// All requests of one probe: asked at once, each on a connection of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    requests: Vec<Arc<Request>>,
    /// What names each request in a reason, by number.
    labels: Vec<String>,
}

impl Settings {
    /// # Panics
    /// If there is no request.
    pub fn new(requests: Vec<Request>) -> Self {
        assert!(!requests.is_empty(), "a probe asks something");
        let labels = requests.iter().map(|request| label(request, &requests)).collect();
        Self { requests: requests.into_iter().map(Arc::new).collect(), labels }
    }

    /// At least one.
    pub fn requests(&self) -> &[Arc<Request>] {
        &self.requests
    }

    pub fn label(&self, number: usize) -> &str {
        &self.labels[number]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(vec![Request::default()])
    }
}

/// The path, unless another host is asked for the same one.
fn label(request: &Request, all: &[Request]) -> String {
    let ambiguous = all.iter().any(|other| other.path == request.path && other.host != request.host);
    let host = request.host.as_deref().filter(|_| ambiguous).unwrap_or_default();
    cut(format!("{host}{}", request.path).as_bytes(), LABEL_LIMIT)
}

/// One request, and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// Begins with a slash; may carry a query.
    pub path: String,
    /// The Host header; `None`: the target's address.
    pub host: Option<String>,
    /// More headers, name and value.
    pub headers: Vec<(String, String)>,
    /// Which status codes pass.
    pub status: StatusSet,
    /// What the body must be. Nothing: it is not read.
    pub body: Expectations,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: Method::Get,
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            status: StatusSet::default(),
            body: Expectations::default(),
        }
    }
}
