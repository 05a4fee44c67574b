//! TLS, from the flags to a client that checks the certificate; and what SIGHUP reads again.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::world::{Outcome, Server, World, outcome};

/// Puts a certificate for 127.0.0.1 and its key into the world, and returns the file of the new authority behind it.
fn certify(world: &World, authority: &str) -> PathBuf {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(world.path("certificate.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(world.path("key.pem"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(world.path("key.pem"), Permissions::from_mode(0o600)).unwrap();
    let path = world.path(authority);
    std::fs::write(&path, issuer.pem()).unwrap();
    path
}

/// A client that trusts `authority` and nobody else.
fn lists(world: &World, server: &Server, account: &str, token: &str, authority: &Path) -> Outcome {
    let mut command = world.command(&["service-token", "list", "--account", account]);
    command.env("COUNTERSIGN_URL", &server.management).env("COUNTERSIGN_API_TOKEN", token);
    command.env("SSL_CERT_FILE", authority);
    outcome(&mut command)
}

#[test]
fn certificates_and_the_log_level_are_read_again() {
    let world = World::new();
    let first = world.init();
    let old = certify(&world, "old.pem");
    let config = world.path("countersign.toml");
    std::fs::write(&config, "log_level = \"warn\"\ntls_certificate = \"certificate.pem\"\ntls_key = \"key.pem\"\n")
        .unwrap();
    let server = world.serve_with(&["--config", config.to_str().unwrap()]);
    assert!(server.management.starts_with("https://127.0.0.1:"), "{}", server.management);
    assert!(server.gate.starts_with("http://127.0.0.1:"), "{}", server.gate);
    let lists = |authority: &Path| lists(&world, &server, first.account(), first.api_token(), authority);
    lists(&old).ok();
    assert!(!server.log().contains("service_tokens"), "requests are no warnings: {}", server.log());

    let new = certify(&world, "new.pem");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("warn", "info")).unwrap();
    server.signal("HUP");
    server.says("the certificate was read again");
    lists(&new).ok();
    server.says("service_tokens");
    let refused = lists(&old);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.stderr.contains("certificate"), "{refused:?}");

    // What can't be used is said, and changes nothing.
    std::fs::write(world.path("key.pem"), "garbage").unwrap();
    server.signal("HUP");
    server.says("the certificate cannot be used; the old one stays");
    server.says("there is no key in key.pem");
    std::fs::write(&config, "log_level = \"==\"\n").unwrap();
    server.signal("HUP");
    server.says("the configuration cannot be read again; everything stays as it was");
    std::fs::write(&config, "log_levle = \"debug\"\n").unwrap();
    server.signal("HUP");
    server.says("log_levle");
    lists(&new).ok();

    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    let world = World::new();
    world.init();
    let said = world.run(&["serve", "--tls-certificate", "certificate.pem"]).failed(1);
    assert!(said.contains("tls_certificate is set, and tls_key is not"), "{said}");
    certify(&world, "ca.pem");
    std::fs::set_permissions(world.path("key.pem"), Permissions::from_mode(0o644)).unwrap();
    let gate = ["serve", "--gate-tls-certificate", "certificate.pem", "--gate-tls-key", "key.pem"];
    let said = world.run(&gate).failed(1);
    assert!(said.contains("chmod 640 key.pem"), "{said}");
    let any = ["--listen", "127.0.0.1:0", "--gate-listen", "127.0.0.1:0"];
    let doctor = |more: &[&str]| world.run(&[&["doctor"], &any[..], more].concat());
    let found = doctor(&gate[1..]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains("gate certificate") && found.stdout.contains("chmod 640 key.pem"), "{found:?}");
    std::fs::set_permissions(world.path("key.pem"), Permissions::from_mode(0o640)).unwrap();
    let found = doctor(&["--tls-certificate", "certificate.pem", "--tls-key", "key.pem"]).ok();
    assert!(found.contains("management certificate") && found.contains("certificate.pem, with its key"), "{found}");
}
