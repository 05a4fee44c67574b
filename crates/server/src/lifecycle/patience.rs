//! Writing to peers that may never read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A stream whose writes fail once the peer has taken nothing for a time. Where it is asked, one request after the other,
/// its reads fail once no answer was due for a time.
pub(crate) struct Patient<I> {
    io: I,
    /// What has come already, to be read again.
    unread: Bytes,
    patience: Duration,
    /// Runs while a write waits.
    end: Option<Pin<Box<Sleep>>>,
    question: Option<Question>,
}

/// What the peer may take its time for.
struct Question {
    patience: Duration,
    /// Since when nothing is owed to the peer.
    since: Instant,
    /// Is not moved with each question, but when it has run out.
    end: Pin<Box<Sleep>>,
}

impl Question {
    fn new(patience: Duration) -> Self {
        let since = Instant::now();
        Self { patience, since, end: Box::pin(sleep_until(since + patience)) }
    }

    /// Is ready when the peer has taken too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.end.as_mut().poll(cx));
            let end = self.since + self.patience;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.end.as_mut().reset(end);
        }
    }
}

impl<I> Patient<I> {
    pub(crate) fn new(io: I, patience: Duration) -> Self {
        Self { io, unread: Bytes::new(), patience, end: None, question: None }
    }

    /// The same for a peer that is answered at once: within `question`, from the start or the last answer on, its next
    /// request must have come whole.
    pub(crate) fn asked(io: I, patience: Duration, question: Duration) -> Self {
        Self { question: Some(Question::new(question)), ..Self::new(io, patience) }
    }

    /// The same, from which `read` is to be read again before all else.
    pub(crate) fn rereading(self, read: &[u8]) -> Self {
        Self { unread: Bytes::copy_from_slice(read), ..self }
    }

    /// The same without a bound for requests.
    pub(crate) fn unasked(self) -> Self {
        Self { question: None, ..self }
    }

    /// What is written is an answer: now it is the peer's turn.
    fn note_answer(&mut self, written: &Poll<io::Result<usize>>) {
        if let (Poll::Ready(Ok(1..)), Some(question)) = (written, &mut self.question) {
            question.since = Instant::now();
        }
    }

    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.end = None;
            return written;
        }
        let patience = self.patience;
        let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(end.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        // While an answer waits to be taken, that has its own bound.
        if read.is_ready() || self.end.is_some() {
            return read;
        }
        let Some(question) = &mut self.question else { return read };
        ready!(question.poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request has come in time")))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note_answer(&written);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.note_answer(&written);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.io).poll_shutdown(cx);
        self.bounded(cx, closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (mut peer, io) = tokio::io::duplex(8);
        let mut io = Patient::new(io, Duration::from_millis(10));
        io.write_all(&[0; 8]).await.unwrap();
        for _ in 0..2 {
            let error = io.write_all(&[0; 1]).await.expect_err("nobody reads");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            // The time counts anew for each wait.
            peer.read_exact(&mut [0; 8]).await.unwrap();
            io.write_all(&[0; 8]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_peer_that_reads_is_waited_for() {
        let (mut peer, io) = tokio::io::duplex(8);
        let mut io = Patient::new(io, Duration::from_secs(60));
        let mut read = [0; 80];
        let (written, read) = tokio::join!(io.write_all(&[1; 80]), peer.read_exact(&mut read));
        written.unwrap();
        read.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_drips_in_is_given_up() {
        let (mut peer, io) = tokio::io::duplex(8);
        let mut io = Patient::asked(io, Duration::from_secs(60), Duration::from_millis(50));
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        let error = loop {
            tokio::select! {
                biased;
                read = io.read_u8() => match read {
                    Ok(_) => io.flush().await.unwrap(),
                    Err(error) => break error,
                },
                _ = pace.tick() => peer.write_all(&[0]).await.unwrap(),
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_time_for_a_request_counts_from_the_answer_before_it() {
        let (_peer, io) = tokio::io::duplex(8);
        let mut io = Patient::asked(io, Duration::from_secs(60), Duration::ZERO);
        io.question.as_mut().unwrap().patience = Duration::from_secs(60);
        io.write_all(&[0; 8]).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(20), io.read_u8()).await;
        assert!(waiting.is_err(), "the first timer has run out, and that means nothing any more");
        let question = io.question.as_mut().unwrap();
        question.patience = Duration::ZERO;
        question.end.as_mut().reset(Instant::now());
        assert_eq!(io.read_u8().await.expect_err("too late").kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn while_an_answer_waits_no_request_is_due() {
        let (_peer, io) = tokio::io::duplex(8);
        let mut io = Patient::asked(io, Duration::from_secs(60), Duration::ZERO);
        let written = tokio::time::timeout(Duration::from_millis(1), io.write_all(&[0; 9])).await;
        assert!(written.is_err(), "nobody reads");
        assert!(tokio::time::timeout(Duration::from_millis(20), io.read_u8()).await.is_err(), "it can't be asked yet");
        let mut io = io.unasked();
        assert!(tokio::time::timeout(Duration::from_millis(20), io.read_u8()).await.is_err());
    }
}
