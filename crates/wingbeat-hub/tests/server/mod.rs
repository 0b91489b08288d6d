//! A hub for the tests: a few files served as the real one does, on this machine, with whatever goes wrong on the way.
// Each test program uses some of it.
#![allow(dead_code, unreachable_pub)]

use sha2::{Digest, Sha256};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

pub const REPO: &str = "user/repo";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with one answer that has a file's bytes.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection ends after so many bytes.
    Drop(usize),
    /// Nothing comes after so many bytes.
    Stall(usize),
    /// An HTTP status instead.
    Status(u16),
    /// A byte is another one.
    Flip,
    /// The whole file, whatever range was asked for.
    NoRange,
    /// A range that was not asked for.
    OtherRange,
    /// More bytes than there are, with no length said.
    Long,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Of where the bytes are, not of the hub.
    pub is_cdn: bool,
    pub token: Option<String>,
    pub range: Option<String>,
}

pub struct Hub {
    port: u16,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
pub struct Shared {
    pub files: Vec<(String, Vec<u8>)>,
    /// Instead of the list of the files.
    pub listing: Option<String>,
    /// The only one that is let in.
    pub token: Option<String>,
    /// Of the files' bytes, one an answer.
    pub faults: VecDeque<Fault>,
    /// Statuses of the next answers to anything else.
    pub statuses: VecDeque<u16>,
    /// Instead of a file's true ETag.
    pub etag: Option<String>,
    /// Where files redirect to, instead of their bytes.
    pub location: Option<String>,
    /// The repository's former name, which redirects.
    pub former: Option<String>,
    pub requests: Vec<Request>,
}

impl Hub {
    pub fn start(files: &[(&str, &[u8])]) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let shared = Arc::new(Mutex::new(Shared { files, ..Shared::default() }));
        let of_thread = Arc::clone(&shared);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || answer(stream, port, &shared));
            }
        });
        Hub { port, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, change: impl FnOnce(&mut Shared)) {
        change(&mut self.shared.lock().expect("the lock"));
    }

    /// The requests that came since this was asked last.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.lock().expect("the lock").requests)
    }

    /// Of these, those for a file's bytes.
    pub fn downloads(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.is_cdn && request.method == "GET").collect()
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that look like nothing.
pub fn noise(n: usize) -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..n).map(next).collect()
}

fn answer(stream: TcpStream, port: u16, shared: &Mutex<Shared>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let (mut token, mut range, mut host) = (None, None, String::new());
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "authorization" => token = value.strip_prefix("Bearer ").map(str::to_owned),
            "range" => range = Some(value.to_owned()),
            "host" => host = value.to_owned(),
            _ => {}
        }
    }
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let request = Request { method, path, is_cdn: host.starts_with("localhost"), token, range };
    let mut shared = shared.lock().expect("the lock");
    shared.requests.push(request.clone());
    let fault = if request.is_cdn { shared.faults.pop_front() } else { None };
    let reply = reply(&mut shared, &request, port, fault);
    drop(shared);
    send(stream, &request, reply, fault);
}

struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

fn reply(shared: &mut Shared, request: &Request, port: u16, fault: Option<Fault>) -> Reply {
    let plain = |status, headers: String, body: &[u8]| Reply { status, headers, body: body.to_vec() };
    if request.is_cdn {
        if let Some(Fault::Status(status)) = fault {
            return plain(status, String::new(), b"");
        }
        let name = request.path.trim_start_matches("/cdn/");
        let Some((_, bytes)) = shared.files.iter().find(|(file, _)| file == name) else {
            return plain(404, String::new(), b"");
        };
        let mut bytes = bytes.clone();
        if let (Some(Fault::Flip), Some(byte)) = (fault, bytes.last_mut()) {
            *byte ^= 1;
        }
        let start = request
            .range
            .as_ref()
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        return match (start, fault) {
            (None, _) | (_, Some(Fault::NoRange | Fault::Long)) => plain(200, String::new(), &bytes),
            (Some(start), _) if start >= bytes.len() => plain(416, String::new(), b""),
            (Some(start), fault) => {
                let said = if matches!(fault, Some(Fault::OtherRange)) { 0 } else { start };
                let range = format!("Content-Range: bytes {said}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                plain(206, range, &bytes[start..])
            }
        };
    }
    if let Some(status) = shared.statuses.pop_front() {
        return plain(status, String::new(), b"{\"error\":\"not now\"}");
    }
    if shared.token.is_some() && shared.token != request.token {
        let code = if request.token.is_some() { "GatedRepo" } else { "RepoNotFound" };
        let status = if request.token.is_some() { 403 } else { 401 };
        return plain(status, format!("X-Error-Code: {code}\r\n"), b"{}");
    }
    if let Some(former) = shared.former.as_ref().filter(|former| request.path.contains(former.as_str())) {
        return plain(307, format!("Location: {}\r\n", request.path.replace(former.as_str(), REPO)), b"");
    }
    if request.path.starts_with(&format!("/api/models/{REPO}/revision/")) {
        if !request.path.contains("/main?") && !request.path.contains(&format!("/{COMMIT}?")) {
            return plain(404, "X-Error-Code: RevisionNotFound\r\n".to_owned(), b"{}");
        }
        let body = shared.listing.clone().unwrap_or_else(|| listing(&shared.files));
        return plain(200, String::new(), body.as_bytes());
    }
    let name = request.path.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/"));
    let Some((name, bytes)) = shared.files.iter().find(|(file, _)| Some(file.as_str()) == name) else {
        return plain(404, "X-Error-Code: EntryNotFound\r\n".to_owned(), b"{}");
    };
    if name.ends_with(".json") {
        // A small file comes from the hub itself.
        return plain(
            200,
            format!("ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n", &sha256(bytes)[..40]),
            bytes,
        );
    }
    let etag = shared.etag.clone().unwrap_or_else(|| sha256(bytes));
    let location = shared.location.clone().unwrap_or_else(|| format!("http://localhost:{port}/cdn/{name}"));
    let linked = format!(
        "X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {}\r\nX-Repo-Commit: {COMMIT}\r\nLocation: {location}\r\n",
        bytes.len()
    );
    plain(302, linked, b"")
}

fn listing(files: &[(String, Vec<u8>)]) -> String {
    let file = |(name, bytes): &(String, Vec<u8>)| {
        let size = bytes.len();
        let lfs = match name.ends_with(".json") {
            true => String::new(),
            false => format!(r#","lfs":{{"sha256":"{}","size":{size},"pointerSize":134}}"#, sha256(bytes)),
        };
        format!(r#"{{"rfilename":"{name}","size":{size},"blobId":"x"{lfs}}}"#)
    };
    let files: Vec<String> = files.iter().map(file).collect();
    format!(r#"{{"id":"{REPO}","sha":"{COMMIT}","private":false,"siblings":[{}]}}"#, files.join(","))
}

fn send(mut stream: TcpStream, request: &Request, reply: Reply, fault: Option<Fault>) {
    let Reply { status, headers, mut body } = reply;
    let mut length = format!("Content-Length: {}\r\n", body.len());
    let most = match fault {
        Some(Fault::Drop(n) | Fault::Stall(n)) => n.min(body.len()),
        Some(Fault::Long) => {
            length.clear();
            body.extend_from_slice(&[7; 1000]);
            body.len()
        }
        _ => body.len(),
    };
    let head = format!("HTTP/1.1 {status} X\r\n{headers}{length}Connection: close\r\n\r\n");
    // Whoever hung up does not want it.
    let _ = stream.write_all(head.as_bytes());
    if request.method != "HEAD" {
        let _ = stream.write_all(&body[..most]);
        let _ = stream.flush();
    }
    if let Some(Fault::Stall(_)) = fault {
        thread::sleep(Duration::from_secs(3));
    }
}
