//! Tells of the audit log's head outside of the store, so that a tail that is cut off, or an older database that is put
//! back, is seen.
//!
//! The head goes to a file and to an address over HTTP, each on its own: neither waits for the other, and no change waits
//! for either. What could not be told is not kept: the next head stands for everything before it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use countersign_store::{AuditHead, AuditMark, ChainMac, Store};
use countersign_token::feed::Revision;
use countersign_token::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::AuditSettings;
use crate::post::Post;
use crate::ticks::Ticks;

/// How long an address may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A head as one line of JSON, as files and addresses get it.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    installation_id: Option<String>,
    seq: i64,
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seal: Option<String>,
}

/// A line of a file of heads, read again. A line of `countersign audit export` is as good, but has no seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// The event that the log ended with.
    pub mark: AuditMark,
    /// When that was so, or when the event took place.
    pub at: Timestamp,
    /// The head and its seal.
    pub sealed: Option<(AuditHead, ChainMac)>,
}

impl Witnessed {
    /// Reads one line. The error says what is wrong with it.
    pub fn parse(line: &str) -> anyhow::Result<Self> {
        let line: Line = serde_json::from_str(line).context("it is no head")?;
        let mark = AuditMark { seq: line.seq, mac: line.mac.parse()? };
        let at = Timestamp::parse_rfc3339(&line.at)?;
        let sealed = match (line.installation_id, line.revision, line.seal) {
            (Some(installation), Some(revision), Some(seal)) => {
                let (installation, revision) = (installation.parse()?, Revision::new(revision));
                Some((AuditHead { installation, seq: mark.seq, mac: mark.mac, revision, at }, seal.parse()?))
            }
            (None, None, None) => None,
            _ => bail!("it is a part of a head"),
        };
        Ok(Self { mark, at, sealed })
    }
}

fn line(head: &AuditHead, seal: ChainMac) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Line {
        installation_id: Some(head.installation.to_string()),
        seq: head.seq,
        mac: head.mac.to_string(),
        revision: Some(head.revision.get()),
        at: head.at.to_string(),
        seal: Some(seal.to_string()),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Who tells of heads.
pub struct Witness {
    store: Store,
    clock: Clock,
    every: Duration,
    file: Option<PathBuf>,
    post: Option<Post>,
    /// The last event that the file, and the address, have been told of.
    told: [i64; 2],
}

impl Witness {
    /// `None` where nobody is to be told. The file is made if it is missing, so that one that can't be written is said at
    /// the start.
    pub fn new(store: Store, clock: Clock, settings: &AuditSettings) -> anyhow::Result<Option<Self>> {
        let AuditSettings { head_file, head_url, head_interval, .. } = settings;
        if let Some(path) = head_file {
            prepare(path).with_context(|| format!("cannot write audit_head_file, {}", path.display()))?;
        }
        let post = head_url.as_ref().map(Post::to).transpose().context("cannot send to audit_head_url")?;
        if head_file.is_none() && post.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { store, clock, every: *head_interval, file: head_file.clone(), post, told: [0; 2] }))
    }

    /// Tells whenever the head has moved, until `stop`, and once more then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = Ticks::every(self.every, stop);
        while ticks.next().await {
            self.tell().await;
        }
        self.tell().await;
    }

    /// Tells of the head now, if it has moved since those who are told have heard of it.
    pub async fn tell(&mut self) {
        let (head, line) = match self.head().await {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the audit log's head cannot be read; it is told later");
                return;
            }
        };
        let [by_file, by_post] = self.told;
        let written = async {
            let Some(path) = self.file.clone().filter(|_| by_file != head.seq) else { return by_file };
            let line = line.clone();
            let appended = tokio::task::spawn_blocking(move || append(&path, &line)).await;
            match appended.map_err(io::Error::other).flatten() {
                Ok(()) => head.seq,
                Err(error) => {
                    tracing::error!(error = %error, "the audit log's head cannot be written to audit_head_file");
                    by_file
                }
            }
        };
        let sent = async {
            let Some(post) = self.post.as_ref().filter(|_| by_post != head.seq) else { return by_post };
            match post.send("application/json", line.clone().into(), PATIENCE).await {
                Ok(()) => head.seq,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "the audit log's head cannot be sent to audit_head_url");
                    by_post
                }
            }
        };
        self.told = tokio::join!(written, sent).into();
    }

    async fn head(&self) -> anyhow::Result<Option<(AuditHead, Vec<u8>)>> {
        // A line has whole seconds, and the seal is of what it says.
        let now = Timestamp::from_secs(self.clock.now().as_micros().div_euclid(1_000_000));
        let Some(head) = self.store.audit_head(now).await? else { return Ok(None) };
        let seal = self.store.seal_audit_head(&head).await?;
        Ok(Some((head, line(&head, seal)?)))
    }
}

/// Makes the file where it is missing, with its name on the disk, and ends a line that a crash has left half written.
fn prepare(path: &Path) -> io::Result<()> {
    let is_new = !path.try_exists()?;
    let mut file = open(path)?;
    if is_new {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return File::open(directory)?.sync_all();
    }
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    file.write_all(line)?;
    file.sync_all()
}

/// Each time anew, so that the file may be moved away while the server runs.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use countersign_token::id::InstallationId;

    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let head = AuditHead {
            installation: InstallationId::from_bytes([1; 16]),
            seq: 7,
            mac: ChainMac::from_bytes([2; 32]),
            revision: Revision::new(9),
            at: Timestamp::from_secs(1_700_000_000),
        };
        let seal = ChainMac::from_bytes([3; 32]);
        let text = String::from_utf8(line(&head, seal).unwrap()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let mark = AuditMark { seq: 7, mac: head.mac };
        assert_eq!(Witnessed::parse(&text).unwrap(), Witnessed { mark, at: head.at, sealed: Some((head, seal)) });
        let exported = format!(r#"{{"seq":7,"at":"{}","action":"a.b","mac":"{}"}}"#, head.at, head.mac);
        assert_eq!(Witnessed::parse(&exported).unwrap(), Witnessed { mark, at: head.at, sealed: None });
        for wrong in ["", "{}", "7", &text[..40], &text.replace("seal", "deal"), &text.replace("02", "0g")] {
            assert!(Witnessed::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_private_and_a_torn_line_ends() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heads");
        prepare(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        append(&path, b"one\n").unwrap();
        prepare(&path).unwrap();
        append(&path, b"half").unwrap();
        prepare(&path).unwrap();
        append(&path, b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nhalf\ntwo\n");
        assert!(prepare(&directory.path().join("none/heads")).is_err());
    }
}
