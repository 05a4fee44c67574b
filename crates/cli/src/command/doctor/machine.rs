//! What the machine says: files, disk, addresses.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use countersign_server::config::{Settings, TlsFiles};
use countersign_server::store::Database;
use countersign_server::tls::Tls;
use countersign_server::token::digest::Keyring;
use rustix::fs::{Access, access, statvfs};

use super::{Check, Report};

/// With less, the next changes may be refused.
const SPACE_MIN: u64 = 64 << 20;

/// With less, it is time to think of more.
const SPACE_LOW: u64 = 1 << 30;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The directories that are written to, and the room that is left.
pub(super) fn directories(settings: &Settings, report: &mut Report) -> io::Result<()> {
    report.add(data_directory(&settings.data_dir))?;
    let mut place = settings.data_dir.as_path();
    if let Database::Sqlite(path) = &settings.database {
        report.add(database_file(path))?;
        place = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    }
    if place.exists() {
        report.add(space(place))?;
    }
    Ok(())
}

fn mode(path: &Path) -> io::Result<u32> {
    Ok(path.metadata()?.permissions().mode() & 0o777)
}

fn data_directory(path: &Path) -> Check {
    const NAME: &str = "data directory";
    let shown = path.display();
    match mode(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Check::problem(
            NAME,
            format!("{shown} does not exist"),
            "name the right one with --data-dir, or make an installation with `countersign init`",
        ),
        Err(error) => Check::problem(NAME, format!("{shown}: {error}"), "run this as the user that runs the server"),
        Ok(_) if access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() => Check::problem(
            NAME,
            format!("{shown} can't be written by this user"),
            "run this as the user that runs the server; if that is you, see its owner, its mode and its file system",
        ),
        Ok(mode) if mode & 0o077 != 0 => Check::warning(
            NAME,
            format!("{shown} may be entered by others (mode {mode:04o})"),
            format!("chmod 700 {shown}"),
        ),
        Ok(mode) => Check::ok(NAME, format!("{shown}, mode {mode:04o}")),
    }
}

fn database_file(path: &Path) -> Check {
    const NAME: &str = "database file";
    let shown = path.display();
    match mode(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Check::problem(NAME, format!("{shown} does not exist"), "`countersign init` makes an installation")
        }
        Err(error) => Check::problem(NAME, format!("{shown}: {error}"), "run this as the user that runs the server"),
        Ok(_) if access(path, Access::WRITE_OK).is_err() => {
            Check::problem(NAME, format!("{shown} can't be written by this user"), "see its owner and its mode")
        }
        Ok(mode) if mode & 0o077 != 0 => {
            Check::warning(NAME, format!("{shown} is open to others (mode {mode:04o})"), format!("chmod 600 {shown}"))
        }
        Ok(mode) => Check::ok(NAME, format!("{shown}, mode {mode:04o}")),
    }
}

fn space(place: &Path) -> Check {
    match statvfs(place) {
        Ok(disk) => judge_space(disk.f_bavail.saturating_mul(disk.f_frsize), place),
        Err(error) => Check::warning("disk space", format!("{}: {error}", place.display()), "see the file system"),
    }
}

fn judge_space(free: u64, place: &Path) -> Check {
    const NAME: &str = "disk space";
    let message = format!("{} MiB free at {}", free >> 20, place.display());
    if free < SPACE_MIN {
        Check::problem(NAME, message, "make room: on a full disk changes are refused, and verification goes on")
    } else if free < SPACE_LOW {
        Check::warning(NAME, message, "make room soon")
    } else {
        Check::ok(NAME, message)
    }
}

/// The key, if it can be used.
pub(super) fn installation_key(settings: &Settings, report: &mut Report) -> io::Result<Option<Keyring>> {
    const NAME: &str = "installation key";
    let place = &settings.installation_key;
    match place.load() {
        Ok(keys) => {
            let count = if keys.len() == 1 { String::new() } else { format!(", {} keys", keys.len()) };
            report.add(Check::ok(NAME, format!("{place}{count}")))?;
            Ok(Keyring::of(keys))
        }
        Err(error) => {
            let advice = "see docs/operations.md, Backup: nothing that was issued is good without this very key";
            report.add(Check::problem(NAME, format!("{error:#}"), advice))?;
            Ok(None)
        }
    }
}

/// The files of TLS, and every address that a server binds: free, or a server behind it.
pub(super) fn listeners(settings: &Settings, report: &mut Report) -> io::Result<()> {
    for (name, files) in [("management certificate", &settings.tls), ("gate certificate", &settings.gate_tls)] {
        if let Some(files) = files {
            report.add(certificate(name, files))?;
        }
    }
    report.add(listener("management port", settings.listen, settings.tls.is_some()))?;
    report.add(listener("gate port", settings.gate_listen, settings.gate_tls.is_some()))?;
    if let Some(path) = &settings.gate_unix {
        report.add(socket(path))?;
    }
    Ok(())
}

fn certificate(name: &'static str, files: &TlsFiles) -> Check {
    match Tls::load(files) {
        Ok(_) => Check::ok(name, format!("{}, with its key", files.certificate.display())),
        Err(error) => Check::problem(
            name,
            format!("{error:#}"),
            "no server starts with it, and one that runs keeps the old one: see docs/tls.md",
        ),
    }
}

fn listener(name: &'static str, address: SocketAddr, has_tls: bool) -> Check {
    if address.port() == 0 {
        return Check::ok(name, format!("{address}: a free port, whichever"));
    }
    let reached = SocketAddr::new(reachable(address.ip()), address.port());
    match TcpStream::connect_timeout(&reached, PATIENCE) {
        Ok(_) if has_tls => Check::ok(name, format!("{address}: somebody answers there; TLS is not looked into")),
        Ok(stream) => judge(name, &address.to_string(), ask(stream)),
        Err(_) => match TcpListener::bind(address) {
            Ok(_) => Check::ok(name, format!("{address}: free, no server runs there")),
            Err(error) => Check::problem(
                name,
                format!("{address} can't be bound: {error}"),
                "name an address of this machine, and a port that nobody else has",
            ),
        },
    }
}

fn socket(path: &Path) -> Check {
    const NAME: &str = "gate socket";
    let shown = path.display().to_string();
    match UnixStream::connect(path) {
        Ok(stream) => {
            let timed = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
            judge(NAME, &shown, timed.and_then(|()| ready(stream)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Check::ok(NAME, format!("{shown}: free, no server runs there"))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Check::ok(NAME, format!("{shown}: left behind, and replaced at the next start"))
        }
        Err(error) => Check::problem(NAME, format!("{shown}: {error}"), "see its owner and its mode"),
    }
}

/// Where a server that binds `ip` can be reached from here.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn ask(stream: TcpStream) -> io::Result<Option<u16>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    ready(stream)
}

/// The status of `/readyz`; `None` if what answers is no HTTP server.
fn ready(mut stream: impl io::Read + io::Write) -> io::Result<Option<u16>> {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    Ok(status)
}

fn judge(name: &'static str, place: &str, status: io::Result<Option<u16>>) -> Check {
    match status {
        Ok(Some(200)) => Check::ok(name, format!("{place}: a server runs there, and is ready")),
        Ok(Some(503)) => Check::problem(
            name,
            format!("{place}: the server there is not ready, and refuses everything"),
            "it can't read its database: see its log, and the line `database` above",
        ),
        Ok(Some(_) | None) => Check::problem(
            name,
            format!("{place}: another program answers there"),
            "stop it, or give Countersign another address",
        ),
        Err(error) => Check::problem(
            name,
            format!("{place}: whatever answers there does not speak HTTP in time: {error}"),
            "if it is Countersign, see its log; otherwise give Countersign another address",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::Status;

    #[test]
    fn space_is_judged() {
        let check = |free, expected| assert_eq!(judge_space(free, Path::new("/")).status, expected, "{free}");
        check(0, Status::Problem);
        check(SPACE_MIN - 1, Status::Problem);
        check(SPACE_MIN, Status::Warning);
        check(SPACE_LOW - 1, Status::Warning);
        check(SPACE_LOW, Status::Ok);
    }

    #[test]
    fn answers_are_judged() {
        let check = |answer: io::Result<Option<u16>>, expected| {
            assert_eq!(judge("port", "there", answer).status, expected);
        };
        check(Ok(Some(200)), Status::Ok);
        check(Ok(Some(503)), Status::Problem);
        check(Ok(Some(404)), Status::Problem);
        check(Ok(None), Status::Problem);
        check(Err(io::ErrorKind::TimedOut.into()), Status::Problem);
    }
}
