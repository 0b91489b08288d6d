//! The hub's protocol over HTTP: requests with the token where it belongs, redirects, and what is worth another try.
//!
//! A file's address answers with a redirect to where its bytes are, often on another host, and what is known of the file
//! is in the headers of that redirect. The token goes to the hub's own host only.

use crate::{HubError, Reference, Settings, listing::sha256_of};
use std::{io::Read, time::Duration};
use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, Uri},
};

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 10;
/// Bytes of a page that explains an error, read for nothing but to keep the connection.
const ERROR_BYTES: u64 = 1 << 16;

/// Why a request did not do.
pub(crate) enum Failure {
    /// It may do another time.
    Transient(String),
    /// It will not.
    Final(HubError),
}

/// What the hub says of a file before it is fetched.
pub(crate) struct FileFacts {
    /// What it is called in the cache.
    pub(crate) etag: String,
    pub(crate) n_bytes: Option<u64>,
    /// In lower case.
    pub(crate) sha256: Option<String>,
}

/// Talks to the hub.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    origin: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Client {
        let origin = origin_of(&settings.endpoint).unwrap_or_default();
        let mut config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("wingbeat/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(settings.timeout))
            .timeout_recv_response(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout));
        // A hub on this machine is not behind a proxy.
        if ["://127.0.0.1", "://localhost", "://[::1]"].iter().any(|host| origin.contains(host)) {
            config = config.proxy(None);
        }
        Client {
            agent: config.build().new_agent(),
            endpoint: settings.endpoint.clone(),
            origin,
            token: settings.token.clone(),
        }
    }

    /// The list of a repository's files.
    pub(crate) fn list(&self, reference: &Reference, most_bytes: u64) -> Result<Vec<u8>, Failure> {
        let Reference { repo, .. } = reference;
        let url = format!(
            "{}/api/models/{repo}/revision/{}?blobs=true",
            self.endpoint,
            escaped(reference.revision(), false)
        );
        let (response, _) = self.follow("GET", url, None, repo)?;
        let mut bytes = Vec::new();
        let read = response.into_body().into_reader().take(most_bytes + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::Transient(error.to_string()))?;
        if bytes.len() as u64 > most_bytes {
            return Err(self.nonsense(repo, format!("a list of more than {most_bytes} bytes")));
        }
        Ok(bytes)
    }

    /// What is to be known of a file.
    pub(crate) fn facts(&self, repo: &str, commit: &str, file: &str) -> Result<FileFacts, Failure> {
        let what = format!("{repo}/{file}");
        let (_, headers) = self.follow("HEAD", self.file_url(repo, commit, file), None, &what)?;
        let of = |name| {
            headers.iter().rev().find_map(|headers| Some(headers.get(name)?.to_str().ok()?.to_owned()))
        };
        // Of the hub's own answers and not of where the bytes are: theirs is another.
        let etag = of("x-linked-etag").or_else(|| of("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=128).contains(&etag.len()) || !etag.bytes().all(is_plain) {
            return Err(self.nonsense(&what, "it has no ETag, or one that is none".to_owned()));
        }
        let length = || headers.last()?.get("content-length")?.to_str().ok()?.parse().ok();
        let n_bytes = of("x-linked-size").and_then(|n| n.parse().ok()).or_else(length);
        Ok(FileFacts { sha256: sha256_of(&etag), etag, n_bytes })
    }

    /// A file's bytes from `start` on. Whether they really begin there is the caller's to see.
    pub(crate) fn bytes(
        &self,
        repo: &str,
        commit: &str,
        file: &str,
        start: u64,
    ) -> Result<Response<Body>, Failure> {
        let range = (start > 0).then(|| format!("bytes={start}-"));
        let what = format!("{repo}/{file}");
        Ok(self.follow("GET", self.file_url(repo, commit, file), range.as_deref(), &what)?.0)
    }

    fn file_url(&self, repo: &str, commit: &str, file: &str) -> String {
        format!("{}/{repo}/resolve/{commit}/{}", self.endpoint, escaped(file, true))
    }

    /// Follows redirects; the headers of all answers on the way, those that redirect to other hosts included. 416 is an
    /// answer too.
    fn follow(
        &self,
        method: &str,
        mut url: String,
        range: Option<&str>,
        what: &str,
    ) -> Result<(Response<Body>, Vec<HeaderMap>), Failure> {
        let mut headers: Vec<HeaderMap> = Vec::new();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.request(method, &url, range)?;
            let status = response.status().as_u16();
            match status {
                300..400 => {}
                200..300 | 416 => {
                    headers.push(response.headers().clone());
                    return Ok((response, headers));
                }
                _ => return Err(self.refused(response, what)),
            }
            let location =
                response.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
            let next = self.next_url(&url, location);
            headers.push(response.headers().clone());
            let Some(next) = next else {
                return Err(
                    self.nonsense(what, format!("it redirects to {:?}", crate::listing::short(location)))
                );
            };
            // All that is asked for is known then.
            let is_known = response.headers().contains_key("x-linked-etag");
            if method == "HEAD" && is_known && origin_of(&next).as_deref() != Some(&self.origin) {
                return Ok((response, headers));
            }
            url = next;
        }
        Err(self.nonsense(what, format!("it redirects more than {MOST_REDIRECTS} times")))
    }

    fn request(&self, method: &str, url: &str, range: Option<&str>) -> Result<Response<Body>, Failure> {
        let mut request = if method == "HEAD" { self.agent.head(url) } else { self.agent.get(url) };
        // Lengths and ranges are those of the file as it is.
        request = request.header("Accept-Encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| origin_of(url).as_deref() == Some(&self.origin)) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        request
            .call()
            .map_err(|error| Failure::Transient(format!("{}: {error}", origin_of(url).unwrap_or_default())))
    }

    /// Where a redirect leads; none if that is no address, or a way out of encryption.
    fn next_url(&self, url: &str, location: &str) -> Option<String> {
        let origin = origin_of(url)?;
        let next = match location {
            "" => return None,
            _ if location.starts_with("//") => format!("{}:{location}", origin.split_once(':')?.0),
            _ if location.starts_with('/') => format!("{origin}{location}"),
            _ => location.to_owned(),
        };
        let next_origin = origin_of(&next)?;
        (next_origin.starts_with("https://") || origin.starts_with("http://")).then_some(next)
    }

    /// What a status says.
    fn refused(&self, response: Response<Body>, what: &str) -> Failure {
        let status = response.status().as_u16();
        let header =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (code, message) = (header("x-error-code").to_owned(), header("x-error-message").to_owned());
        let _ =
            std::io::copy(&mut response.into_body().into_reader().take(ERROR_BYTES), &mut std::io::sink());
        if matches!(status, 408 | 425 | 429 | 500..600) {
            return Failure::Transient(format!("{} answers {status}", self.endpoint));
        }
        let repo: String = what.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
        let why = match (code.as_str(), status) {
            ("GatedRepo", _) => format!("the repository is gated: ask for access at {}/{repo}", self.endpoint),
            ("RevisionNotFound", _) => "there is no such revision".to_owned(),
            ("EntryNotFound", _) => "there is no such file".to_owned(),
            (_, 401) if self.token.is_none() => {
                "there is no such repository, or it is private or gated: set HF_TOKEN to a token that may read it".to_owned()
            }
            (_, 401) => "the token is not accepted (HF_TOKEN, or the file that `hf auth login` writes)".to_owned(),
            (_, 403) => "the token may not read this repository".to_owned(),
            (_, 404) => "there is no such repository or file".to_owned(),
            _ if message.is_empty() => "that was not expected".to_owned(),
            _ => crate::listing::short(&message),
        };
        Failure::Final(HubError::Refused {
            what: what.to_owned(),
            endpoint: self.endpoint.clone(),
            status,
            why,
        })
    }

    fn nonsense(&self, what: &str, why: String) -> Failure {
        Failure::Final(HubError::Answer { what: what.to_owned(), endpoint: self.endpoint.clone(), why })
    }
}

/// Pauses between attempts: each is twice as long as the one before.
pub(crate) fn pause(settings: &Settings, attempt: u32) -> Duration {
    settings.retry_pause * 2u32.saturating_pow(attempt.saturating_sub(1).min(6))
}

/// `scheme://host:port` of an address.
fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    Some(format!("{scheme}://{}", uri.authority()?))
}

/// A name as it stands in an address; the `/` of a path stay.
fn escaped(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'/' if is_path => out.push('/'),
            b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
