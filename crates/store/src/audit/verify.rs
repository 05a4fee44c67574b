//! Walking the chain.

use std::iter::{Enumerate, Peekable};

use super::anchor::Anchor;
use super::{Canonical, ChainMac, columns, read};
use crate::error::Error;
use crate::row::Columns;
use crate::store::Store;
use crate::tx::Head;

/// What [`Store::verify_audit_chain`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditChain {
    /// The place at which the log begins: what was before it was pruned.
    pub first: i64,
    /// How many events are in order, from there on.
    pub events: u64,
    /// Where the chain breaks, if it does.
    pub broken: Option<ChainBreak>,
    /// How many marks the log agrees with.
    pub confirmed: u64,
    /// How many marks are of events that were pruned since: nothing can be said of them.
    pub pruned: u64,
    /// The first mark that the log does not agree with.
    pub contradicted: Option<MarkBreak>,
}

/// What somebody has written down of the log: that an event had this mac.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditMark {
    /// The event's place in the log.
    pub seq: i64,
    /// Its mac.
    pub mac: ChainMac,
}

/// Where and how the chain breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainBreak {
    /// The first place in the log where something is wrong.
    pub seq: i64,
    /// What is wrong there.
    pub problem: ChainProblem,
}

/// What can be wrong with the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainProblem {
    /// The event is not there, and later ones are.
    #[error("the event is missing")]
    Missing,
    /// The event, or the one before it, is not what was recorded.
    #[error("the event is not what was recorded")]
    Changed,
    /// The log ends before its recorded end.
    #[error("the log ends here, before its recorded end")]
    CutOff,
    /// There are events after the recorded end.
    #[error("the event comes after the recorded end of the log")]
    Added,
    /// The log should end with this event, and its recorded end is another one.
    #[error("the recorded end of the log is another event")]
    EndDiffers,
    /// The event stands before the place where the log begins.
    #[error("the event comes before the beginning of the log")]
    Early,
    /// The mark which says that everything up to here was pruned was not set by this installation.
    #[error("nobody who may has pruned the log up to here: the mark that says so is forged")]
    AnchorForged,
}

/// Which mark the log contradicts, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkBreak {
    /// Which one of those that were given, from 0.
    pub index: usize,
    /// The mark.
    pub mark: AuditMark,
    /// What is wrong.
    pub problem: MarkProblem,
}

/// How the log can contradict a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkProblem {
    /// The log has another event at this place, or other ones before it.
    #[error("the log has gone another way since: the event there is not the one that was written down")]
    Differs,
    /// The log ends before it.
    #[error("the log ends before it: its tail was cut off, or an older database was put back")]
    Beyond,
    /// An earlier mark is of a later event.
    #[error("it is of an earlier event than the line before it: an older database was put back in between")]
    Backwards,
}

/// Marks on their way past the log.
struct Marks<'m> {
    left: Peekable<Enumerate<&'m mut (dyn Iterator<Item = AuditMark> + Send)>>,
    confirmed: u64,
    pruned: u64,
    contradicted: Option<MarkBreak>,
}

impl<'m> Marks<'m> {
    fn new(marks: &'m mut (dyn Iterator<Item = AuditMark> + Send)) -> Self {
        Self { left: marks.enumerate().peekable(), confirmed: 0, pruned: 0, contradicted: None }
    }

    /// The next one, if it is of an event up to `seq`, and none was contradicted before.
    fn next_to(&mut self, seq: i64) -> Option<(usize, AuditMark)> {
        if self.contradicted.is_some() {
            return None;
        }
        self.left.next_if(|(_, mark)| mark.seq <= seq)
    }

    /// Everything up to `seq` was pruned, and only the mac of that one is known.
    fn begin(&mut self, seq: i64, mac: Option<&ChainMac>) {
        while let Some((index, mark)) = self.next_to(seq) {
            match mac {
                Some(mac) if mark.seq == seq && mark.mac == *mac => self.confirmed += 1,
                Some(_) if mark.seq == seq => self.contradict(index, mark, MarkProblem::Differs),
                _ => self.pruned += 1,
            }
        }
    }

    /// The event at `seq` is in order, and has this mac.
    fn pass(&mut self, seq: i64, mac: &ChainMac) {
        while let Some((index, mark)) = self.next_to(seq) {
            if mark.seq < seq {
                self.contradict(index, mark, MarkProblem::Backwards);
            } else if mark.mac == *mac {
                self.confirmed += 1;
            } else {
                self.contradict(index, mark, MarkProblem::Differs);
            }
        }
    }

    /// The log ends with the event at `seq`.
    fn end(&mut self, seq: i64) {
        if let Some((index, mark)) = self.next_to(i64::MAX) {
            let problem = if mark.seq > seq { MarkProblem::Beyond } else { MarkProblem::Backwards };
            self.contradict(index, mark, problem);
        }
    }

    fn contradict(&mut self, index: usize, mark: AuditMark, problem: MarkProblem) {
        self.contradicted.get_or_insert(MarkBreak { index, mark, problem });
    }
}

impl Store {
    /// Walks the whole log and computes each mac again, and tells `progress` now and then how many events it has seen.
    /// Stops at the first place where something is wrong.
    ///
    /// # Errors
    ///
    /// When the database can't be read. A broken chain is a finding, not an error.
    pub async fn verify_audit_chain(&self, progress: &mut (dyn FnMut(u64) + Send)) -> Result<AuditChain, Error> {
        self.verify_audit_marks(&mut std::iter::empty(), progress).await
    }

    /// The same, and holds the log against what somebody has written down of it, in the order in which they did.
    ///
    /// # Errors
    ///
    /// As [`verify_audit_chain`](Self::verify_audit_chain). A mark that the log contradicts is a finding, too.
    pub async fn verify_audit_marks(
        &self,
        marks: &mut (dyn Iterator<Item = AuditMark> + Send),
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<AuditChain, Error> {
        const ROWS_AT_ONCE: i64 = 1000;
        let mut marks = Marks::new(marks);
        let mut snapshot = self.snapshot().await?;
        let head = Head::read(&mut snapshot).await?;
        let keys = self.audit_keys(&mut snapshot).await?;
        let anchor = match Anchor::find(&mut snapshot).await {
            // What can't be read is not what was written.
            Err(Error::Inconsistent { .. }) => return Ok(broken(0, 0, 0, ChainProblem::AnchorForged, &marks)),
            anchor => anchor?,
        };
        let begin = anchor.map_or(0, |anchor| anchor.seq);
        if anchor.is_some_and(|anchor| !anchor.is_authentic(&keys)) {
            return Ok(broken(begin, begin, begin, ChainProblem::AnchorForged, &marks));
        }
        let row = sqlx::query("SELECT MIN(seq) FROM audit_event").fetch_one(&mut *snapshot).await?;
        if let Some(first) = Columns::of("audit_event", &row).int_if_any()?
            && first <= begin
        {
            return Ok(broken(begin, begin, first, ChainProblem::Early, &marks));
        }
        marks.begin(begin, anchor.as_ref().map(|anchor| &anchor.mac));

        let mut seq = begin;
        let mut mac = anchor.map_or_else(Vec::new, |anchor| anchor.mac.as_bytes().to_vec());
        if begin > head.audit_seq || begin == head.audit_seq && mac != head.audit_mac {
            return Ok(broken(begin, begin, begin, ChainProblem::EndDiffers, &marks));
        }
        loop {
            let rows =
                sqlx::query(concat!("SELECT ", columns!(), " FROM audit_event WHERE seq > $1 ORDER BY seq LIMIT $2"))
                    .bind(seq)
                    .bind(ROWS_AT_ONCE)
                    .fetch_all(&mut *snapshot)
                    .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let next = seq + 1;
                let problem = match read(row) {
                    // What can't be read is not what was written.
                    Err(Error::Inconsistent { .. }) => Some(ChainProblem::Changed),
                    Err(error) => return Err(error),
                    Ok(event) if event.seq != next => Some(ChainProblem::Missing),
                    Ok(event) => {
                        let account = event.account.map(|account| account.to_string());
                        let canonical = Canonical::of(&event, account.as_deref());
                        let computed = keys.of(next).map(|key| canonical.mac(key, &mac));
                        mac = event.mac.as_bytes().to_vec();
                        if computed != Some(*event.mac.as_bytes()) {
                            Some(ChainProblem::Changed)
                        } else if next > head.audit_seq {
                            Some(ChainProblem::Added)
                        } else if next == head.audit_seq && mac != head.audit_mac {
                            Some(ChainProblem::EndDiffers)
                        } else {
                            marks.pass(next, &event.mac);
                            None
                        }
                    }
                };
                if let Some(problem) = problem {
                    return Ok(broken(begin, seq, next, problem, &marks));
                }
                seq = next;
            }
            progress((seq - begin).unsigned_abs());
        }
        if seq < head.audit_seq {
            return Ok(broken(begin, seq, seq + 1, ChainProblem::CutOff, &marks));
        }
        marks.end(seq);
        Ok(found(begin, seq, None, &marks))
    }
}

/// The log begins after `begin`, and everything up to `end` is in order.
fn found(begin: i64, end: i64, broken: Option<ChainBreak>, marks: &Marks<'_>) -> AuditChain {
    let Marks { confirmed, pruned, contradicted, .. } = *marks;
    AuditChain { first: begin + 1, events: (end - begin).unsigned_abs(), broken, confirmed, pruned, contradicted }
}

fn broken(begin: i64, end: i64, seq: i64, problem: ChainProblem, marks: &Marks<'_>) -> AuditChain {
    found(begin, end, Some(ChainBreak { seq, problem }), marks)
}
