//! Programs of others.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Finds a program, and installs its package where that is possible. Without it nothing is measured, which is said for
/// `number`.
pub(crate) fn find(program: &str, number: &str) -> Option<PathBuf> {
    let found = search(program).or_else(|| {
        let installed = rustix::process::geteuid().is_root()
            && Command::new("apt-get")
                .args(["install", "--yes", "--no-install-recommends", program])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
        if installed { search(program) } else { None }
    });
    if found.is_none() {
        println!("not measured {number}: {program} is not installed");
    }
    found
}

/// Finds Envoy, which Debian does not have: the one that the conformance suite runs, installed if need be.
pub(crate) fn find_envoy(number: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let installed = target.join("conformance/envoy/bin/envoy");
    let found = search("envoy").or_else(|| installed.is_file().then(|| installed.clone())).or_else(|| {
        let made = Command::new(root.join("conformance/run"))
            .args(["prepare", "envoy"])
            .env("CARGO_TARGET_DIR", target)
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        (made && installed.is_file()).then_some(installed)
    });
    if found.is_none() {
        println!("not measured {number}: envoy is not installed");
    }
    found
}

fn search(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}
