//! Clients that ask as fast as they are answered, all on one thread.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::CONNECTIONS;
use crate::cpu;
use crate::figure::percentile;

/// When to stop asking.
pub(crate) enum Until<'s> {
    Passed(Duration),
    Answered(u64),
    Told(&'s AtomicBool),
}

/// Requests of one kind, which take turns and are all answered with the same status.
pub(crate) struct Requests {
    texts: Vec<Box<[u8]>>,
    status: u16,
    next: usize,
}

impl Requests {
    pub(crate) fn new(texts: impl IntoIterator<Item = String>, status: u16) -> Self {
        let texts = texts.into_iter().map(|text| text.into_bytes().into()).collect();
        Self { texts, status, next: 0 }
    }

    pub(crate) fn with_status(&self, status: u16) -> Self {
        Self { texts: self.texts.clone(), status, next: 0 }
    }
}

/// What a while of asking has shown.
pub(crate) struct Outcome {
    pub(crate) answers: u64,
    pub(crate) wall: Duration,
    /// Of the processes that were asked.
    pub(crate) cpu: Duration,
    /// From before a request was sent until its answer was read, in nanoseconds.
    latencies: Vec<u32>,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.answers as f64 / self.wall.as_secs_f64()
    }

    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.answers as f64
    }

    pub(crate) fn latency_micros(&mut self, percent: usize) -> f64 {
        f64::from(percentile(&mut self.latencies, percent)) / 1e3
    }
}

/// Connections that are kept.
pub(crate) struct Clients {
    epoll: OwnedFd,
    connections: Vec<Connection>,
}

struct Connection {
    stream: OwnedFd,
    sent_at: Instant,
    /// What has come of an answer.
    answer: Vec<u8>,
}

impl Clients {
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let connect = |number| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number), epoll::EventFlags::IN).unwrap();
            Connection { stream: stream.into(), sent_at: Instant::now(), answer: Vec::with_capacity(8192) }
        };
        let connections = (0..count as u64).map(connect).collect();
        Self { epoll, connections }
    }

    /// Connects, asks a while for nothing, and then for `time`. The gate ends connections that nobody uses, so that each
    /// round has its own.
    pub(crate) fn round(address: SocketAddr, requests: &mut Requests, time: Duration, processes: &[u32]) -> Outcome {
        let mut clients = Self::connect(address, CONNECTIONS);
        clients.ask(requests, &Until::Answered(100 * CONNECTIONS as u64), processes);
        clients.ask(requests, &Until::Passed(time), processes)
    }

    /// Asks on all connections; a new request goes out when the answer to the one before has come. `processes` are those
    /// whose time is taken.
    pub(crate) fn ask(&mut self, requests: &mut Requests, until: &Until<'_>, processes: &[u32]) -> Outcome {
        let status = format!("HTTP/1.1 {} ", requests.status).into_bytes();
        let mut latencies = Vec::with_capacity(1 << 20);
        let mut sent = 0;
        let mut answers = 0;
        let cpu = cpu::time_of(processes);
        let begin = Instant::now();
        let may_send = |sent: u64, now: Instant| match until {
            Until::Passed(time) => now - begin < *time,
            Until::Answered(count) => sent < *count,
            Until::Told(told) => !told.load(Ordering::Relaxed),
        };
        for connection in &mut self.connections {
            if may_send(sent, begin) {
                connection.send(requests);
                sent += 1;
            }
        }
        let mut events = Vec::with_capacity(self.connections.len().max(1));
        while answers < sent {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None).unwrap();
            for event in &events {
                let connection = &mut self.connections[usize::try_from(event.data.u64()).unwrap()];
                if !connection.take_answer(&status) {
                    continue;
                }
                answers += 1;
                let now = Instant::now();
                latencies.push(u32::try_from((now - connection.sent_at).as_nanos()).unwrap_or(u32::MAX));
                if may_send(sent, now) {
                    connection.send(requests);
                    sent += 1;
                }
            }
        }
        let wall = begin.elapsed();
        Outcome { answers, wall, cpu: cpu::time_of(processes) - cpu, latencies }
    }
}

impl Connection {
    fn send(&mut self, requests: &mut Requests) {
        let request = &requests.texts[requests.next];
        requests.next = (requests.next + 1) % requests.texts.len();
        self.sent_at = Instant::now();
        assert_eq!(rustix::io::write(&self.stream, request).unwrap(), request.len(), "the other side does not read");
    }

    /// Whether the whole answer is here. It has no body.
    fn take_answer(&mut self, status: &[u8]) -> bool {
        let read = rustix::io::read(&self.stream, spare_capacity(&mut self.answer)).unwrap();
        let answer = &self.answer;
        assert!(read > 0, "the connection was closed after {:?}", String::from_utf8_lossy(answer));
        if !answer.ends_with(b"\r\n\r\n") {
            return false;
        }
        assert!(answer.starts_with(status), "not as expected: {}", String::from_utf8_lossy(answer));
        self.answer.clear();
        true
    }
}
